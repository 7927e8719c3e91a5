//! `CURRENT`: the small file that names the manifest and says how much of it to trust.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::planted::is_planted;
use crate::vfs::{OpenMode, Vfs};
use crate::wal::PreviousLog;

const MAGIC: [u8; 8] = *b"KAUSCURR";
const VERSION: u32 = 1;
const BYTES: usize = 64;

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) database_id: u64,
    pub(crate) manifest: FileNumber,
    /// Every byte of the manifest below this was synced; at a clean close, its length.
    pub(crate) trusted: u64,
    /// The newest log and its length, if the database was closed cleanly. A log with a larger number is what is left of
    /// an open that crashed.
    pub(crate) clean_log: Option<PreviousLog>,
}

impl Current {
    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::from(self.clean_log.is_some()).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.database_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.manifest.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.trusted.to_le_bytes());
        if let Some(log) = self.clean_log {
            bytes[40..48].copy_from_slice(&log.number.0.to_le_bytes());
            bytes[48..56].copy_from_slice(&log.len.to_le_bytes());
        }
        let checksum = xxh3_64_with_seed(&bytes[..56], 0);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the file; `None` if there is none, so there is no database.
    pub(crate) fn read(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Self>, Error> {
        let path = file_path(directory, FileKind::Current);
        let file = match vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let len = file.len().map_err(Error::io("read the length of", &path))?;
        if len != BYTES as u64 {
            let what = Damage::FileLength { expected: BYTES as u64, actual: len };
            return Err(Error::corruption(&path, 0, what));
        }
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
        let word =
            |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"));
        if bytes[..8] != MAGIC || word(56) != xxh3_64_with_seed(&bytes[..56], 0) {
            return Err(Error::corruption(&path, 0, Damage::Current));
        }
        let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(Error::NewerFormat { file: path, what: format!("CURRENT version {version}") });
        }
        Ok(Some(Self {
            database_id: word(16),
            manifest: FileNumber(word(24)),
            trusted: word(32),
            clean_log: (bytes[12] == 1)
                .then_some(PreviousLog { number: FileNumber(word(40)), len: word(48) }),
        }))
    }

    /// Replaces the file, durably.
    pub(crate) fn write(self, vfs: &dyn Vfs, directory: &Path) -> Result<(), Error> {
        let temporary = file_path(directory, FileKind::CurrentTemporary);
        match vfs.remove(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &temporary)(error));
            }
            _ => {}
        }
        let file = vfs.open(&temporary, OpenMode::CreateNew).map_err(Error::io("create", &temporary))?;
        file.append(&self.to_bytes()).map_err(Error::io("write", &temporary))?;
        let path = file_path(directory, FileKind::Current);
        if is_planted("rename_before_sync") {
            vfs.rename(&temporary, &path).map_err(Error::io("replace", &path))?;
            vfs.sync_dir(directory).map_err(Error::io("sync", directory))?;
            return file.sync().map_err(Error::io("sync", &path));
        }
        file.sync().map_err(Error::io("sync", &temporary))?;
        vfs.rename(&temporary, &path).map_err(Error::io("replace", &path))?;
        vfs.sync_dir(directory).map_err(Error::io("sync", directory))
    }
}
