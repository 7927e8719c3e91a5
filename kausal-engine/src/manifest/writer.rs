//! Begins a manifest and appends edits to it, each durable before it counts.
//!
//! 1. An edit is appended as one record and synced. Only then does it count.
//! 2. An edit that finds the disk full is taken back: what there is of its record is cut off, and that is synced, so that
//!    nothing of the edit is left to be found by the next open. The manifest is as it was, and the edit may be tried again.
//! 3. After any other failure, and if the cut fails, nobody knows what the file holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, is_disk_full};
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::manifest::{Current, VersionEdit};
use crate::vfs::{OpenMode, Vfs, VfsFile};
use crate::wal::PreviousLog;

pub(super) const MAGIC: [u8; 8] = *b"KAUSMANI";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const RECORD_HEADER_BYTES: usize = 16;

/// From this length on the engine begins a new manifest.
const BYTES_MAX: u64 = 4 << 20;

pub(super) fn header(database_id: u64, number: FileNumber) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&database_id.to_le_bytes());
    bytes[24..32].copy_from_slice(&number.0.to_le_bytes());
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..32]);
    bytes[32..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(super) fn record_checksum(
    database_id: u64,
    number: FileNumber,
    offset: u64,
    len: [u8; 8],
    payload: &[u8],
) -> u64 {
    let seed = database_id ^ number.0.rotate_left(40) ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(&len);
    hasher.update(payload);
    hasher.digest()
}

/// The writer of the current manifest.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    database_id: u64,
    number: FileNumber,
    len: u64,
}

impl ManifestWriter {
    /// Begins manifest `number` with the whole state, and makes it the current one. A crash at any step leaves the
    /// old state or the new one. If the disk is full the old one is still the current one.
    pub(crate) fn begin(
        vfs: &Arc<dyn Vfs>,
        directory: &Path,
        database_id: u64,
        number: FileNumber,
        state: &VersionEdit,
    ) -> Result<Self, Error> {
        let path = file_path(directory, FileKind::Manifest(number));
        let file = vfs.open(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
        let (vfs, directory) = (Arc::clone(vfs), directory.to_owned());
        let mut writer = Self { vfs, directory, file, path, database_id, number, len: 0 };
        let begun = writer.make_current(state);
        if begun.as_ref().is_err_and(Error::is_disk_full) {
            // Nothing names it. If it stays, the next open removes it.
            let _ = writer.vfs.remove(&writer.path);
        }
        begun.map(|()| writer)
    }

    fn make_current(&mut self, state: &VersionEdit) -> Result<(), Error> {
        let header = header(self.database_id, self.number);
        self.file.append(&header).map_err(Error::io("write", &self.path))?;
        self.len = header.len() as u64;
        self.append(state)?;
        // The name before the file that refers to it.
        self.vfs.sync_dir(&self.directory).map_err(Error::io("sync", &self.directory))?;
        self.current(None).write(&*self.vfs, &self.directory)
    }

    /// Appends an edit and syncs.
    ///
    /// # Errors
    ///
    /// One that [is for a full disk](Error::is_disk_full): nothing of the edit is there. After any other nobody knows whether
    /// the edit counts.
    pub(crate) fn append(&mut self, edit: &VersionEdit) -> Result<(), Error> {
        let payload = edit.to_bytes();
        let mut len = [0; 8];
        len[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let checksum = record_checksum(self.database_id, self.number, self.len, len, &payload);
        let mut record = Vec::with_capacity(RECORD_HEADER_BYTES + payload.len());
        record.extend_from_slice(&len);
        record.extend_from_slice(&checksum.to_le_bytes());
        record.extend_from_slice(&payload);
        if let Err(error) = self.file.append(&record) {
            if is_disk_full(&error) {
                self.cut()?;
            }
            return Err(Error::io("write", &self.path)(error));
        }
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        self.len += record.len() as u64;
        Ok(())
    }

    /// Cuts off what there is of a record behind the last whole one, durably: whatever the record would have named may be
    /// removed after that.
    fn cut(&self) -> Result<(), Error> {
        self.file.truncate(self.len).map_err(Error::io("cut the end of", &self.path))?;
        self.file.sync().map_err(Error::io("sync", &self.path))
    }

    /// Whether it is time to begin a new one.
    pub(crate) fn is_full(&self) -> bool {
        self.len > BYTES_MAX
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Seals the manifest: from here on every byte of it and of the newest log counts as synced.
    pub(crate) fn close(&self, log: PreviousLog) -> Result<(), Error> {
        self.current(Some(log)).write(&*self.vfs, &self.directory)
    }

    fn current(&self, clean_log: Option<PreviousLog>) -> Current {
        let Self { database_id, number: manifest, len: trusted, .. } = *self;
        Current { database_id, manifest, trusted, clean_log }
    }
}
