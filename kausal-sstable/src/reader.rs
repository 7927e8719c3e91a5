//! Reads a table: opens it, looks one key up, lends what is resident to the cursors.
//!
//! 1. Opening reads the footer, checks it against what the manifest expects, then reads properties, filter and
//!    index, each checked before it is believed. Filter and index stay resident, charged to a budget.
//! 2. A look-up asks key range, filter and index, in this order, and reads one block, or two where the versions
//!    of the key go on in the next.
//!
//! No length from the file is believed beyond the file's own length.

use std::fmt;
use std::io;
use std::sync::Arc;

use kausal_arena::{Budget, Reservation};
use kausal_index::{EntryRef, SeqNo};

use crate::block::{BlockCursor, Position};
use crate::buffer::BlockBuffer;
use crate::cursor::TableCursor;
use crate::error::{Damage, TableError};
use crate::filter::{self, KeyHash};
use crate::format::{BlockHandle, FOOTER_BYTES, Footer, TRAILER_BYTES, check_block, take_varint};
use crate::ids::{FileNumber, TableId};
use crate::properties::Properties;

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

/// A file with what is needed to read and check its blocks.
pub(crate) struct TableFile {
    source: Arc<dyn TableSource>,
    pub(crate) number: FileNumber,
    pub(crate) table: TableId,
    len: u64,
}

impl TableFile {
    pub(crate) fn corrupt(&self, offset: u64, what: Damage) -> TableError {
        TableError::Corruption { file: self.number, offset, what }
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), TableError> {
        let (file, len) = (self.number, buffer.len() as u64);
        self.source.read_exact_at(buffer, offset).map_err(|source| TableError::Io {
            file,
            offset,
            len,
            source,
        })
    }

    /// Length of a block's contents, if block and trailer lie within the file.
    pub(crate) fn check_bounds(&self, handle: BlockHandle) -> Result<usize, TableError> {
        let available = self.len.saturating_sub(handle.offset).saturating_sub(TRAILER_BYTES as u64);
        if handle.len > available || handle.len > crate::format::BLOCK_BYTES_MAX as u64 {
            let what = Damage::BlockBounds { bytes: handle.len, available };
            return Err(self.corrupt(handle.offset.min(self.len), what));
        }
        Ok(handle.len as usize)
    }

    /// Reads a block that stays: its contents, charged to `charge` before they are read.
    fn load(&self, handle: BlockHandle, charge: &mut Reservation) -> Result<Box<[u8]>, TableError> {
        let len = self.check_bounds(handle)?;
        let grown = charge.bytes() + len + TRAILER_BYTES;
        charge.resize(grown).map_err(|source| TableError::Memory { file: self.number, source })?;
        let mut block = vec![0; len + TRAILER_BYTES];
        self.read(&mut block, handle.offset)?;
        check_block(self.table, handle.offset, &block).map_err(|what| self.corrupt(handle.offset, what))?;
        block.truncate(len);
        Ok(block.into_boxed_slice())
    }
}

/// An open table. `Send + Sync`; look-ups share nothing that is written.
pub struct Table {
    file: TableFile,
    footer: Footer,
    properties: Properties,
    filter: Box<[u8]>,
    index: Box<[u8]>,
    charge: Reservation,
}

impl Table {
    /// Opens and checks a table. `expected` is the identity and length that the manifest has for it.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn open(
        source: Arc<dyn TableSource>,
        file: FileNumber,
        expected: Option<(TableId, u64)>,
        budget: &Budget,
    ) -> Result<Self, TableError> {
        let io = |source| TableError::Io { file, offset: 0, len: 0, source };
        let len = source.len().map_err(io)?;
        let corrupt = |offset, what| TableError::Corruption { file, offset, what };
        if let Some((_, bytes)) = expected.filter(|&(_, bytes)| bytes != len) {
            return Err(corrupt(len.min(bytes), Damage::FileLength { expected: bytes, actual: len }));
        }
        let shortest = FOOTER_BYTES as u64;
        let offset = len
            .checked_sub(shortest)
            .ok_or_else(|| corrupt(0, Damage::FileLength { expected: shortest, actual: len }))?;
        let mut bytes = [0; FOOTER_BYTES];
        source.read_exact_at(&mut bytes, offset).map_err(|source| TableError::Io {
            file,
            offset,
            len: shortest,
            source,
        })?;
        let footer = Footer::from_bytes(file, offset, &bytes)?;
        if let Some((expected, _)) = expected.filter(|&(table, _)| table != footer.table) {
            return Err(corrupt(offset + 48, Damage::ForeignTable { expected, actual: footer.table }));
        }
        let file = TableFile { source, number: file, table: footer.table, len };
        let number = file.number;
        let mut charge = budget
            .reserve(size_of::<Self>())
            .map_err(|source| TableError::Memory { file: number, source })?;
        let filter = file.load(footer.filter, &mut charge)?;
        filter::check(&filter).map_err(|what| file.corrupt(footer.filter.offset, what))?;
        let index = file.load(footer.index, &mut charge)?;
        BlockCursor::new(&index).map_err(|what| file.corrupt(footer.index.offset, what))?;
        let properties = Properties::from_bytes(&file.load(footer.properties, &mut charge)?)
            .map_err(|what| file.corrupt(footer.properties.offset, what))?;
        Ok(Self { file, footer, properties, filter, index, charge })
    }

    /// Number of the file.
    pub fn file(&self) -> FileNumber {
        self.file.number
    }

    /// Counts and bounds.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Identity, and where filter, index and properties lie.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Bytes held in memory while the table is open.
    pub fn resident_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// The newest entry of `key` at or below `at`, tombstones included; lent from `buffer`.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn get<'b>(
        &self,
        key: &[u8],
        at: SeqNo,
        buffer: &'b mut BlockBuffer,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        self.get_hashed(key, KeyHash::of(key), at, buffer)
    }

    /// [`get`](Self::get) with the key's hash at hand.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn get_hashed<'b>(
        &self,
        key: &[u8],
        hash: KeyHash,
        at: SeqNo,
        buffer: &'b mut BlockBuffer,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        let in_range = *self.properties.key_min <= *key && *key <= *self.properties.key_max;
        if !in_range || !filter::may_hold(&self.filter, hash) {
            return Ok(None);
        }
        // The index names each block's last position: the first block whose last is at or after the one looked for
        // holds it, if any does.
        let Some(handle) = self.find_block(key, at, &mut buffer.position)? else { return Ok(None) };
        buffer.load(&self.file, handle)?;
        let (contents, position) = buffer.parts();
        let damage = |what| self.file.corrupt(handle.offset, what);
        let found =
            BlockCursor::new(contents).and_then(|block| block.seek(position, key, at)).map_err(damage)?;
        if !found {
            // The index promised an entry at or after the position.
            return Err(damage(Damage::Index));
        }
        Ok(buffer.position.entry(buffer.contents()).filter(|entry| entry.key == key))
    }

    /// A cursor over all entries. Its block buffer is charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`TableError::Memory`].
    pub fn cursor(&self, budget: &Budget) -> Result<TableCursor<'_>, TableError> {
        let file = self.file.number;
        let buffer = BlockBuffer::new(budget).map_err(|source| TableError::Memory { file, source })?;
        Ok(TableCursor::new(self, buffer))
    }

    pub(crate) fn table_file(&self) -> &TableFile {
        &self.file
    }

    pub(crate) fn may_hold(&self, hash: KeyHash) -> bool {
        filter::may_hold(&self.filter, hash)
    }

    pub(crate) fn index(&self) -> Result<BlockCursor<'_>, TableError> {
        BlockCursor::new(&self.index).map_err(|what| self.index_damage(what))
    }

    pub(crate) fn index_damage(&self, what: Damage) -> TableError {
        self.file.corrupt(self.footer.index.offset, what)
    }

    /// The block that holds the first entry at or after (`key`, `at`). Uses `position` as a scratch.
    fn find_block(
        &self,
        key: &[u8],
        at: SeqNo,
        position: &mut Position,
    ) -> Result<Option<BlockHandle>, TableError> {
        let found = self.index()?.seek(position, key, at).map_err(|what| self.index_damage(what))?;
        if found { self.handle_at(position).map(Some) } else { Ok(None) }
    }

    /// The handle in the index entry that `position` stands on. It must lie before the filter.
    pub(crate) fn handle_at(&self, position: &Position) -> Result<BlockHandle, TableError> {
        let entry = position.entry(&self.index).ok_or_else(|| self.index_damage(Damage::Index))?;
        let mut value = entry.value;
        let handle = take_varint(&mut value)
            .zip(take_varint(&mut value))
            .map(|(offset, len)| BlockHandle { offset, len })
            .filter(|handle| value.is_empty() && handle.end() <= self.footer.filter.offset);
        handle.ok_or_else(|| self.index_damage(Damage::Index))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Table").field("file", &self.file.number).finish_non_exhaustive()
    }
}
