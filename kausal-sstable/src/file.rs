//! A table's file, and the two steps from its bytes to a block that is believed: check, decompress.
//!
//! No length from the file is believed beyond the file's own length.

use std::io;
use std::sync::Arc;

use kausal_arena::Reservation;

use crate::compression::{self, Decompressor, Dictionary};
use crate::error::{Damage, TableError};
use crate::format::{BLOCK_BYTES_MAX, BlockHandle, BlockKind, TRAILER_BYTES, check_block};
use crate::ids::{FileNumber, TableId};
use crate::mapped::FileBytes;

/// The bytes of a table file.
pub trait TableSource: Send + Sync {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// As the system gives them; [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length of the file in bytes.
    ///
    /// # Errors
    ///
    /// As the system gives them.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// As the system gives them.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// A read-only mapping of the whole file, if there can be one. By default there is none.
    fn mapping(&self) -> Option<FileBytes> {
        None
    }

    /// Says that `bytes` from `offset` on are about to be looked at in the [mapping](Self::mapping), so that they may be on their
    /// way from the disk. A hint, which does nothing by default.
    fn will_need(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }
}

impl TableSource for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// A file with what is needed to read, check and decompress its blocks. What a [`BlockSource`](crate::BlockSource) is
/// given.
pub struct TableFile {
    pub(crate) source: Arc<dyn TableSource>,
    pub(crate) number: FileNumber,
    pub(crate) table: TableId,
    pub(crate) len: u64,
    pub(crate) dictionary: Option<Dictionary>,
}

/// A block as it is stored, its checksum and kind found good.
#[derive(Clone, Copy, Debug)]
pub struct StoredBlock<'a> {
    /// What is stored, without the trailer.
    pub stored: &'a [u8],
    /// Length of the contents.
    pub contents_bytes: usize,
    /// Where it came from, for errors.
    offset: u64,
    code: u8,
}

/// What is known of a checked block beside its bytes, while their owner makes room for the contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredShape {
    pub(crate) contents_bytes: usize,
    pub(crate) code: u8,
    offset: u64,
}

impl StoredShape {
    /// The block again; `stored` are the very bytes that were checked.
    pub(crate) fn of(self, stored: &[u8]) -> StoredBlock<'_> {
        let Self { contents_bytes, code, offset } = self;
        StoredBlock { stored, contents_bytes, offset, code }
    }
}

impl<'a> StoredBlock<'a> {
    /// The contents, if they are stored as they are.
    pub fn raw(&self) -> Option<&'a [u8]> {
        (self.code == compression::RAW).then_some(self.stored)
    }

    pub(crate) fn shape(&self) -> StoredShape {
        StoredShape { contents_bytes: self.contents_bytes, code: self.code, offset: self.offset }
    }
}

impl TableFile {
    /// Number of the file.
    pub fn number(&self) -> FileNumber {
        self.number
    }

    /// Identity of the table.
    pub fn table(&self) -> TableId {
        self.table
    }

    pub(crate) fn corrupt(&self, offset: u64, what: Damage) -> TableError {
        TableError::Corruption { file: self.number, offset, what }
    }

    pub(crate) fn no_memory(&self, source: kausal_arena::AllocError) -> TableError {
        TableError::Memory { file: self.number, source }
    }

    /// Bytes from a block's first to its trailer's last, if they lie within the file.
    ///
    /// # Errors
    ///
    /// [`TableError::Corruption`] if they do not.
    pub fn stored_bytes(&self, handle: BlockHandle) -> Result<usize, TableError> {
        let available = self.len.saturating_sub(handle.offset).saturating_sub(TRAILER_BYTES as u64);
        if handle.len > available || handle.len > BLOCK_BYTES_MAX as u64 {
            let what = Damage::BlockBounds { bytes: handle.len, available };
            return Err(self.corrupt(handle.offset.min(self.len), what));
        }
        Ok(handle.len as usize + TRAILER_BYTES)
    }

    /// Fills `buffer` from `offset` on. Nothing of it is to be believed before [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// [`TableError::Io`].
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), TableError> {
        let (file, len) = (self.number, buffer.len() as u64);
        self.source.read_exact_at(buffer, offset).map_err(|source| TableError::Io {
            file,
            offset,
            len,
            source,
        })
    }

    /// Checks `bytes`, which were read where `handle` says, trailer included.
    ///
    /// # Errors
    ///
    /// [`TableError::Corruption`] if checksum, kind or compressed length are not sound; [`TableError::NotBuilt`] if the
    /// block needs a compression that this build does not have.
    pub fn check<'a>(
        &self,
        handle: BlockHandle,
        kind: BlockKind,
        bytes: &'a [u8],
    ) -> Result<StoredBlock<'a>, TableError> {
        let offset = handle.offset;
        let corrupt = |what| self.corrupt(offset, what);
        let (len, code) = check_block(self.table, offset, kind, bytes).map_err(corrupt)?;
        let stored = &bytes[..len];
        let contents_bytes = compression::contents_bytes(code, stored).map_err(corrupt)?;
        if !cfg!(feature = "zstd") && code >= compression::ZSTD {
            return Err(TableError::NotBuilt { file: self.number, what: "the feature zstd" });
        }
        Ok(StoredBlock { stored, contents_bytes, offset, code })
    }

    /// Decompresses a block that is not [raw](StoredBlock::raw) into `contents`, which has `contents_bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`TableError::Corruption`].
    pub fn decompress(
        &self,
        block: StoredBlock<'_>,
        decompressor: &mut Decompressor,
        contents: &mut [u8],
    ) -> Result<(), TableError> {
        let dictionary = self.dictionary.as_ref();
        let done = decompressor.decompress(block.code, block.stored, dictionary, contents);
        done.map_err(|what| self.corrupt(block.offset, what))
    }

    /// Reads a block that stays: its contents, charged to `charge` before there is memory for them.
    pub(crate) fn load(
        &self,
        handle: BlockHandle,
        kind: BlockKind,
        charge: &mut Reservation,
    ) -> Result<Box<[u8]>, TableError> {
        let bytes = self.stored_bytes(handle)?;
        let before = charge.bytes();
        let mut grow = |bytes| charge.resize(before + bytes).map_err(|source| self.no_memory(source));
        grow(bytes)?;
        let mut stored = vec![0; bytes];
        self.read(&mut stored, handle.offset)?;
        let block = self.check(handle, kind, &stored)?;
        if block.raw().is_some() {
            stored.truncate(bytes - TRAILER_BYTES);
            return Ok(stored.into_boxed_slice());
        }
        grow(bytes + block.contents_bytes)?;
        let mut contents = vec![0; block.contents_bytes];
        self.decompress(block, &mut Decompressor::default(), &mut contents)?;
        grow(contents.len())?;
        Ok(contents.into_boxed_slice())
    }
}
