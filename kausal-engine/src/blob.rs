//! Blob files: values too large to lie beside their keys, one file each.
//!
//! 1. A value longer than the memory plan's limit is streamed into `NNNNNN.blob`, which is synced (and its
//!    directory) before the log record that names it is written. The record's value is a [`BlobRef`].
//! 2. From there on the entry travels like any other through memtable, flush and compaction; only the reference is
//!    copied. Every table's metadata lists the blob files it refers to.
//! 3. A blob file belongs to one entry. When a flush or a compaction drops that entry, the file is marked obsolete
//!    and removed as soon as nobody can read it any more.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KAUSBLOB` |
//! | 8 | 4 | format version, 1, little-endian |
//! | 12 | 4 | chunk size in bytes, 64 KiB |
//! | 16 | 8 | blob id, random |
//! | 24 | 8 | xxh3-64 of bytes 0 to 23 |
//! | 32 | | chunks: up to 64 KiB of the value, then the xxh3-64 of these bytes, keyed with blob id and file offset |
//!
//! The length of the value stands in the reference; the file is exactly as long as that makes it. An empty value
//! is never a blob.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twox_hash::XxHash3_64;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// Bytes of the value under one checksum, and the most of it in memory at once.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

const MAGIC: &[u8; 8] = b"KAUSBLOB";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 32;
const CHECKSUM_BYTES: u64 = 8;

/// Longest value: its length takes 48 bits.
pub const VALUE_BYTES_MAX: u64 = (1 << 48) - 1;

/// What an entry of kind `Blob` has in the place of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) file: FileNumber,
    pub(crate) len: u64,
    pub(crate) id: u64,
}

impl BlobRef {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.file.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// The reference in an entry's value, or `None` if these bytes are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let word =
            |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"));
        let reference = Self { file: FileNumber(word(0)), len: word(8), id: word(16) };
        (reference.len <= VALUE_BYTES_MAX).then_some(reference)
    }

    /// Length of the file that holds the value.
    pub(crate) fn file_bytes(self) -> u64 {
        HEADER_BYTES + self.len + self.len.div_ceil(CHUNK_BYTES as u64) * CHECKSUM_BYTES
    }
}

/// Checksum of a chunk at `offset` of the file of blob `id`: a chunk moved or taken from elsewhere does not match.
fn chunk_checksum(id: u64, offset: u64, chunk: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(id ^ offset.rotate_left(32), chunk)
}

fn header(id: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    header[16..24].copy_from_slice(&id.to_le_bytes());
    let checksum = xxh3_64_with_seed(&header[..24], 0);
    header[24..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// A blob file on disk. The last holder removes it if it has become obsolete.
#[derive(Debug)]
pub(crate) struct BlobFile {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    number: FileNumber,
    obsolete: AtomicBool,
}

impl BlobFile {
    pub(crate) fn new(vfs: &Arc<dyn Vfs>, directory: &Path, number: FileNumber) -> Self {
        let path = file_path(directory, FileKind::Blob(number));
        Self { vfs: Arc::clone(vfs), path, number, obsolete: AtomicBool::new(false) }
    }

    pub(crate) fn number(&self) -> FileNumber {
        self.number
    }

    /// No durable state names the file any more: remove it once nobody reads it.
    pub(crate) fn mark_obsolete(&self) {
        // Release: pairs with the Acquire in `drop`.
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            // A file that stays is removed by the next open, because nothing names it.
            let _ = self.vfs.remove(&self.path);
        }
    }
}

/// Streams `len` bytes of `source` into a new blob file and makes them durable, the file's name excepted.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if `source` has less or more than `len` bytes; [`Error::Io`]. The file is removed.
pub(crate) fn write_blob(
    file: BlobFile,
    id: u64,
    source: &mut dyn Read,
    len: u64,
    chunk: &mut Vec<u8>,
) -> Result<(BlobFile, BlobRef), Error> {
    let written = write_chunks(&file, id, source, len, chunk);
    if let Err(error) = written {
        file.mark_obsolete();
        return Err(error);
    }
    let reference = BlobRef { file: file.number, len, id };
    Ok((file, reference))
}

fn write_chunks(
    blob: &BlobFile,
    id: u64,
    source: &mut dyn Read,
    len: u64,
    chunk: &mut Vec<u8>,
) -> Result<(), Error> {
    let path = &blob.path;
    let file = blob.vfs.open(path, OpenMode::CreateNew).map_err(Error::io("create", path))?;
    file.append(&header(id)).map_err(Error::io("write", path))?;
    let mut offset = HEADER_BYTES;
    let mut left = len;
    while left > 0 {
        let take = left.min(CHUNK_BYTES as u64) as usize;
        chunk.resize(take, 0);
        source.read_exact(chunk).map_err(|error| Error::short_source(error, len, len - left))?;
        let checksum = chunk_checksum(id, offset, chunk);
        chunk.extend_from_slice(&checksum.to_le_bytes());
        file.append(chunk).map_err(Error::io("write", path))?;
        offset += chunk.len() as u64;
        left -= take as u64;
    }
    let mut more = [0];
    match source.read(&mut more) {
        Ok(0) => {}
        Ok(_) => return Err(Error::invalid(format!("the source has more than the {len} bytes announced"))),
        Err(error) => return Err(Error::short_source(error, len, len)),
    }
    file.sync().map_err(Error::io("sync", path))
}

/// Reads a blob's value from front to back, one checked chunk at a time.
#[derive(Debug)]
pub(crate) struct BlobReader {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    reference: BlobRef,
    /// Bytes of the value handed out or in `chunk`.
    read: u64,
    chunk: Vec<u8>,
    /// Bytes of `chunk` handed out.
    taken: usize,
    /// Keeps the file from being removed while it is read.
    _blob: Option<Arc<BlobFile>>,
}

impl BlobReader {
    /// Opens the file and checks header and length.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        directory: &Path,
        reference: BlobRef,
        blob: Option<Arc<BlobFile>>,
    ) -> Result<Self, Error> {
        let path = file_path(directory, FileKind::Blob(reference.file));
        let file = vfs.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
        let len = file.len().map_err(Error::io("read the length of", &path))?;
        if len != reference.file_bytes() {
            let what = Damage::FileLength { expected: reference.file_bytes(), actual: len };
            return Err(Error::corruption(&path, len.min(reference.file_bytes()), what));
        }
        let mut found = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut found, 0).map_err(Error::io("read", &path))?;
        if found != header(reference.id) {
            let version = u32::from_le_bytes(found[8..12].try_into().expect("four bytes"));
            let is_sound = found[24..] == xxh3_64_with_seed(&found[..24], 0).to_le_bytes();
            if is_sound && version > VERSION {
                let what = format!("blob format version {version}");
                return Err(Error::NewerFormat { file: path, what });
            }
            return Err(Error::corruption(&path, 0, Damage::BlobHeader));
        }
        Ok(Self { file, path, reference, read: 0, chunk: Vec::new(), taken: 0, _blob: blob })
    }

    pub(crate) fn len(&self) -> u64 {
        self.reference.len
    }

    /// Whether the value is `expected`. Reads no further than to the first chunk that differs.
    pub(crate) fn equals(mut self, expected: &[u8]) -> Result<bool, Error> {
        if self.reference.len != expected.len() as u64 {
            return Ok(false);
        }
        for expected in expected.chunks(CHUNK_BYTES) {
            self.load()?;
            if self.chunk != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load(&mut self) -> Result<(), Error> {
        let chunk_index = self.read / CHUNK_BYTES as u64;
        let offset = HEADER_BYTES + chunk_index * (CHUNK_BYTES as u64 + CHECKSUM_BYTES);
        let bytes = (self.reference.len - self.read).min(CHUNK_BYTES as u64) as usize;
        self.taken = 0;
        self.chunk.clear();
        if bytes == 0 {
            return Ok(());
        }
        self.chunk.resize(bytes + CHECKSUM_BYTES as usize, 0);
        if let Err(error) = self.file.read_exact_at(&mut self.chunk, offset) {
            self.chunk.clear();
            return Err(Error::io("read", &self.path)(error));
        }
        let (value, stored) = self.chunk.split_at(bytes);
        if stored != chunk_checksum(self.reference.id, offset, value).to_le_bytes() {
            self.chunk.clear();
            return Err(Error::corruption(&self.path, offset, Damage::Checksum));
        }
        self.chunk.truncate(bytes);
        self.read += bytes as u64;
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.chunk.len() {
            self.load().map_err(io::Error::other)?;
        }
        let count = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..count].copy_from_slice(&self.chunk[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
