//! Data blocks that are lent from a mapping of their file: no frame, no copy, and one check for each.
//!
//! 1. A table that is told to ([`Table::map`]) takes the mapping that its source offers, and memory for a *mark* for each data
//!    block: one bit.
//! 2. Who wants a data block asks here first. If it is marked, its contents are lent from the mapping.
//! 3. If it is not, its checksum is computed where it lies. If that holds, it is marked. If not, that is the error of a block that
//!    was read, and the next one who wants the block finds the same.
//! 4. A compressed block has no mark and is fetched from the block source, as all blocks of other tables are.
//!
//! What is damaged after it was marked is not seen before the table is opened again, as with any store that maps its files. The
//! code that looks into blocks takes nothing for granted: damage may give an error or a wrong answer then, nothing worse.
//!
//! Invariants:
//! 1. A block is marked only when its own bytes were checked and are its contents as they are.
//! 2. No two data blocks of a table have the same mark.
//!
//! Not here: making mappings. Who brings the file does that, and vouches for it ([`FileBytes`]).

use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use kausal_arena::sync::{AtomicU64, Ordering};

use crate::compression::RAW;
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind, TRAILER_BYTES};
use crate::prefetch;
use crate::reader::Table;

/// The bytes of a whole file, which stay where they are and as they are for as long as this or a clone of it lives.
///
/// # Examples
///
/// ```
/// # use kausal_sstable::FileBytes;
/// let bytes = FileBytes::from_owner(vec![1, 2, 3]);
/// assert_eq!(&bytes[1..], [2, 3]);
/// ```
#[derive(Clone)]
pub struct FileBytes(Bytes);

impl FileBytes {
    /// The bytes that `owner` shows. It lives as long as they are in use.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self(Bytes::from_owner(owner))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FileBytes").field("len", &self.len()).finish()
    }
}

/// Which mark a data block has, if it has one.
pub(crate) type Mark = Option<usize>;

const BITS: usize = u64::BITS as usize;

/// A mapping of a table's file, and which of its data blocks were found good in it.
pub(crate) struct MappedBlocks {
    bytes: FileBytes,
    marks: Box<[AtomicU64]>,
}

impl MappedBlocks {
    /// Bytes that marks for `count` blocks take.
    pub(crate) fn memory_bytes(count: usize) -> usize {
        count.div_ceil(BITS) * size_of::<AtomicU64>()
    }

    /// The blocks of a file with these bytes, of which none has been looked at.
    pub(crate) fn new(bytes: FileBytes, count: usize) -> Self {
        Self { bytes, marks: (0..count.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The contents of the data block at `handle`; none if they cannot be lent from here.
    #[inline]
    pub(crate) fn contents(
        &self,
        file: &TableFile,
        handle: BlockHandle,
        mark: Mark,
    ) -> Result<Option<&[u8]>, TableError> {
        let Some((mark, contents)) = mark.zip(self.bytes.get(range(handle))) else { return Ok(None) };
        if self.is_marked(mark) { Ok(Some(contents)) } else { self.check(file, handle, mark) }
    }

    /// The contents of the data block at `handle`, if it was found good before.
    #[inline]
    pub(crate) fn marked(&self, handle: BlockHandle, mark: Mark) -> &[u8] {
        let marked = mark.is_some_and(|mark| self.is_marked(mark));
        self.bytes.get(range(handle)).filter(|_| marked).unwrap_or_default()
    }

    /// Asks for the last lines of the data block at `handle`, if it can be lent from here. Answers whether it can.
    #[inline]
    pub(crate) fn ask_for_end(&self, handle: BlockHandle, mark: Mark) -> bool {
        let contents = mark.and_then(|_| self.bytes.get(range(handle)));
        contents.inspect(|contents| prefetch::end(contents)).is_some()
    }

    #[inline]
    fn is_marked(&self, mark: usize) -> bool {
        // Relaxed, here and below: a mark publishes nothing. What it speaks of, the bytes of the file, was there before the table
        // was opened and never changes, so whoever sees the mark sees the bytes that were checked.
        self.marks[mark / BITS].load(Ordering::Relaxed) & (1 << (mark % BITS)) != 0
    }

    /// Checks the block where it lies.
    #[cold]
    fn check(&self, file: &TableFile, handle: BlockHandle, mark: usize) -> Result<Option<&[u8]>, TableError> {
        let stored_bytes = file.stored_bytes(handle)?;
        let start = handle.offset as usize;
        let Some(stored) = self.bytes.get(start..start + stored_bytes) else { return Ok(None) };
        // Not to be believed yet. But if it says so, the source checks the block anyway.
        if stored[stored_bytes - TRAILER_BYTES + 1] != RAW {
            return Ok(None);
        }
        let Some(contents) = file.check(handle, BlockKind::Data, stored)?.raw() else { return Ok(None) };
        self.marks[mark / BITS].fetch_or(1 << (mark % BITS), Ordering::Relaxed);
        Ok(Some(contents))
    }

    /// Blocks that were found good.
    fn marked_count(&self) -> u64 {
        self.marks.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}

/// Where the contents of a raw block lie. Of a handle that no file has, nowhere.
#[inline]
fn range(handle: BlockHandle) -> Range<usize> {
    let start = handle.offset as usize;
    start..start.saturating_add(handle.len as usize)
}

impl Table {
    /// From now on lends data blocks that are not compressed from a mapping of the file, if the source offers one
    /// ([`TableSource::mapping`](crate::TableSource::mapping)), and answers whether it does. Each is checked when it is first
    /// wanted; the others, and those that a source [does not want so](crate::BlockSource::WANTS_MAPPED), are read as before.
    ///
    /// A bit for each data block is charged to where the other parts are that stay in memory; the pages of the file are not.
    /// Reading from a mapping has no way to report that the disk fails: the system ends the process by a signal.
    ///
    /// # Errors
    ///
    /// [`TableError::Memory`] if there is no room for the marks. The table reads as before then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use kausal_arena::Budget;
    /// # use kausal_index::{EntryRef, Kind, SeqNo};
    /// # use kausal_sstable::{
    /// #     BlockBuffer, FileBytes, FileNumber, KeyspaceId, Table, TableId, TableOptions, TableSource, TableWriter,
    /// # };
    /// # let budget = Budget::root("tables", 4 << 20);
    /// # let mut writer =
    /// #     TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, TableOptions::default(), &budget).unwrap();
    /// # let seqno = SeqNo::new(1).unwrap();
    /// # writer.add(EntryRef { key: b"apple", seqno, kind: Kind::Put, value: b"red" }).unwrap();
    /// # let (file, _) = writer.finish().unwrap();
    /// struct InMemory(FileBytes);
    ///
    /// impl TableSource for InMemory {
    ///     fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    ///         buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
    ///         Ok(())
    ///     }
    ///     fn len(&self) -> std::io::Result<u64> {
    ///         Ok(self.0.len() as u64)
    ///     }
    ///     fn mapping(&self) -> Option<FileBytes> {
    ///         Some(self.0.clone())
    ///     }
    /// }
    ///
    /// let source = Arc::new(InMemory(FileBytes::from_owner(file)));
    /// let mut table = Table::open(source, FileNumber(1), None, &budget).unwrap();
    /// assert!(table.map().unwrap());
    /// let mut unused = BlockBuffer::new(&budget).unwrap();
    /// assert_eq!(table.get(b"apple", SeqNo::MAX, &mut unused).unwrap().unwrap().value, b"red");
    /// assert_eq!(table.mapped_block_count(), 1);
    /// ```
    pub fn map(&mut self) -> Result<bool, TableError> {
        let properties = self.properties();
        if self.mapped.is_some() || properties.compressed_block_count == properties.block_count {
            return Ok(self.mapped.is_some());
        }
        let Some(bytes) = self.table_file().source.mapping() else { return Ok(false) };
        if bytes.len() as u64 != self.table_file().len {
            return Ok(false);
        }
        let count = self.segments().iter().map(|segment| segment.marks().end).max().unwrap_or(0);
        self.grow_charge(MappedBlocks::memory_bytes(count))?;
        self.mapped = Some(MappedBlocks::new(bytes, count));
        Ok(true)
    }

    /// Bytes of the mapping that data blocks are lent from; none if they are read.
    pub fn mapped_bytes(&self) -> Option<u64> {
        self.mapped.as_ref().map(|mapped| mapped.bytes.len() as u64)
    }

    /// Data blocks that were checked in the mapping and are lent from it. O(data blocks / 64).
    pub fn mapped_block_count(&self) -> u64 {
        self.mapped.as_ref().map_or(0, MappedBlocks::marked_count)
    }

    /// Whether `bytes`, which a look-up or a walk lent, lie in the mapping, and so in no block of the source.
    #[inline]
    pub fn is_in_mapping(&self, bytes: &[u8]) -> bool {
        let lies_in = |mapping: &[u8]| {
            let (mapping, bytes) = (mapping.as_ptr_range(), bytes.as_ptr_range());
            mapping.start <= bytes.start && bytes.end <= mapping.end
        };
        self.mapped.as_ref().is_some_and(|mapped| lies_in(&mapped.bytes))
    }

    /// The contents of a data block, if they are lent from the mapping; else the source fetches it.
    #[inline]
    pub(crate) fn lent(&self, handle: BlockHandle, mark: Mark) -> Result<Option<&[u8]>, TableError> {
        match &self.mapped {
            None => Ok(None),
            Some(mapped) => mapped.contents(self.table_file(), handle, mark),
        }
    }
}
