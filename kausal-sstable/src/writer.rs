//! Writes a table from front to back, holding only the block being built, what its segment's index and filter need,
//! and the root.
//!
//! 1. [`TableWriter::add`] takes entries in cursor order and cuts data blocks at the target size.
//! 2. Each finished block is compressed if that pays, gets its trailer and goes to the output buffer, and that to the
//!    sink in large pieces.
//! 3. A segment ends at so many keys: its filter and index are written behind its data, and the root gets a line.
//! 4. [`TableWriter::finish`] writes dictionary, range tombstones, root, properties and footer.
//!
//! Everything held is charged to the budget that the writer was given, before it is held. A writer that has finished leaves
//! its memory, charged as it is, to the next one: tables come and go, buffers of many sizes with each would leave holes
//! between what the allocator keeps for longer.
//!
//! Not here: making the file durable. Whoever owns the sink syncs it, and its directory.

use std::cmp::Ordering;
use std::io;

use kausal_arena::{Budget, Reservation};
use kausal_index::{EntryRef, KeyspaceId, Kind, PackedSeqNo, RangeTombstone, SeqNo, compare_positions};

use crate::align;
use crate::block::{BlockBuilder, copy_short};
use crate::compression::{Compression, Compressor, RAW};
use crate::error::WriteError;
use crate::filter::{FilterBuilder, KeyHash};
use crate::format::{
    BLOCK_BYTES_MAX, BlockHandle, BlockKind, FOOTER_BYTES, Footer, FooterOffsets, TRAILER_BYTES, seal,
};
use crate::growth::{self, grown};
use crate::ids::TableId;
use crate::index::{IndexBuilder, separator};
use crate::properties::Properties;
use crate::range_tombstones::RangeTombstonesBuilder;

/// Bytes of an entry in a block beside key and value: two short lengths, the sequence number, offset and tag.
const ENTRY_BYTES: usize = 13;
/// Bytes of a line in an index or a root beside its separator.
const LINE_BYTES: usize = 64;
/// The memory for a longer block is not kept for the next table.
const LONG_BLOCK_BYTES: usize = 32 << 10;
/// A segment ends when the lines of its index have this size, however few its keys are: with what all lines begin with, that is
/// what a reader fetches to look one up.
const INDEX_BYTES_MAX: usize = 16 << 10;
/// Ends of data blocks are counted from the segment's beginning in 32 bits. A last block of up to 2^30 bytes still
/// fits.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// Takes the bytes of a table in order.
pub trait TableSink {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    ///
    /// As the system gives them; the table is lost then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl TableSink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Settings of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Size at which a data block is closed, in bytes before compression.
    pub block_bytes: usize,
    /// How data blocks are compressed.
    pub compression: Compression,
    /// Bits of the filter per key; 0 writes no filter.
    pub filter_bits_per_key: u32,
    /// Length of key prefixes that the filter holds besides whole keys; 0 is none.
    pub filter_prefix_bytes: u32,
    /// Keys (and prefixes) after which a segment ends. Bounds the writer's memory: 8 bytes and the filter's bits for
    /// each.
    pub segment_keys: usize,
    /// The time, in microseconds since 1970, for the properties; 0 if nobody asks.
    pub created_micros: u64,
    /// Bytes gathered before they go to the sink.
    pub output_bytes: usize,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            block_bytes: 4 << 10,
            compression: Compression::None,
            filter_bits_per_key: 10,
            filter_prefix_bytes: 0,
            segment_keys: 16 << 10,
            created_micros: 0,
            output_bytes: 256 << 10,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// Identity of the table.
    pub table: TableId,
    /// Length of the file.
    pub file_bytes: u64,
    /// Counts and bounds.
    pub properties: Properties,
}

/// Writes one table.
///
/// # Examples
///
/// ```
/// use kausal_arena::Budget;
/// use kausal_index::{EntryRef, Kind, SeqNo};
/// use kausal_sstable::{KeyspaceId, TableId, TableOptions, TableWriter};
///
/// let budget = Budget::root("flush", 1 << 20);
/// let mut writer =
///     TableWriter::new(Vec::new(), TableId(7), KeyspaceId(0), TableOptions::default(), &budget).unwrap();
/// let seqno = SeqNo::new(1).unwrap();
/// writer.add(EntryRef { key: b"apple", seqno, kind: Kind::Put, value: b"red" }).unwrap();
/// let (file, summary) = writer.finish().unwrap();
/// assert_eq!(file.len() as u64, summary.file_bytes);
/// ```
#[derive(Debug)]
pub struct TableWriter<W> {
    sink: W,
    table: TableId,
    options: TableOptions,
    /// Offset in the file of the first byte of the output.
    written: u64,
    compressor: Compressor,
    dictionary: Option<Vec<u8>>,
    /// Where the current segment began.
    segment_start: u64,
    range_tombstones: RangeTombstonesBuilder,
    properties: Properties,
    last_packed: PackedSeqNo,
    /// Length of the longest key.
    key_bytes_max: usize,
    /// Size up to which the current block is charged for.
    block_charged: usize,
    /// What the contents of the current block may have to end in a page of the file.
    room_in_page: usize,
    memory: WriterMemory,
}

/// The memory of a writer that has finished, for the next one: with it a writer of no larger blocks and segments allocates next
/// to nothing. It stays charged to the budget that it was made with.
#[derive(Debug)]
pub struct WriterMemory {
    output: Vec<u8>,
    block: BlockBuilder,
    index: IndexBuilder,
    filter: FilterBuilder,
    root: IndexBuilder,
    /// Contents of a filter, an index or the root on their way to the output.
    contents: Vec<u8>,
    last_key: Vec<u8>,
    separator: Vec<u8>,
    /// Of the last table, if the next one is compressed likewise.
    compressor: Option<Compressor>,
    charge: Reservation,
}

impl WriterMemory {
    /// Nothing yet; what a writer needs will be charged to `budget`.
    pub fn new(budget: &Budget) -> Self {
        Self {
            output: Vec::new(),
            block: BlockBuilder::default(),
            index: IndexBuilder::default(),
            filter: FilterBuilder::default(),
            root: IndexBuilder::default(),
            contents: Vec::new(),
            last_key: Vec::new(),
            separator: Vec::new(),
            compressor: None,
            charge: Reservation::empty(budget),
        }
    }

    /// Bytes charged.
    pub fn charged_bytes(&self) -> usize {
        self.charge.bytes()
    }

    fn clear(&mut self) {
        self.output.clear();
        self.block.clear();
        self.index.clear();
        self.filter.clear();
        self.root.clear();
        self.last_key.clear();
    }

    fn compressor(
        &mut self,
        compression: Compression,
        dictionary: Option<&[u8]>,
    ) -> Result<Compressor, WriteError> {
        match self.compressor.take() {
            Some(kept) if kept.is_for(compression, dictionary) => Ok(kept),
            _ => Compressor::new(compression, dictionary),
        }
    }
}

impl<W: TableSink> TableWriter<W> {
    /// A writer of the table with this identity into `sink`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Memory`] if the budget has no room for the buffers, [`WriteError::Compression`].
    pub fn new(
        sink: W,
        table: TableId,
        keyspace: KeyspaceId,
        options: TableOptions,
        budget: &Budget,
    ) -> Result<Self, WriteError> {
        Self::with_dictionary(sink, table, keyspace, options, None, budget)
    }

    /// A writer that compresses with this dictionary, and stores it in the table. Any bytes that occur often in the
    /// entries are a dictionary; Zstandard's tools make good ones from samples.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`WriteError::Compression`] also if there is a dictionary but not
    /// [`Compression::Zstd`], or Zstandard refuses it.
    pub fn with_dictionary(
        sink: W,
        table: TableId,
        keyspace: KeyspaceId,
        options: TableOptions,
        dictionary: Option<&[u8]>,
        budget: &Budget,
    ) -> Result<Self, WriteError> {
        Self::with_memory(sink, table, keyspace, options, dictionary, WriterMemory::new(budget))
    }

    /// A writer in the memory of an earlier one, or of none; with a dictionary or without.
    ///
    /// # Errors
    ///
    /// As [`with_dictionary`](Self::with_dictionary).
    pub fn with_memory(
        sink: W,
        table: TableId,
        keyspace: KeyspaceId,
        options: TableOptions,
        dictionary: Option<&[u8]>,
        mut memory: WriterMemory,
    ) -> Result<Self, WriteError> {
        memory.clear();
        if memory.charge.bytes() < options.output_bytes {
            memory.charge.resize(options.output_bytes)?;
        }
        let mut writer = Self {
            sink,
            table,
            options,
            written: 0,
            compressor: memory.compressor(options.compression, dictionary)?,
            dictionary: None,
            segment_start: 0,
            range_tombstones: RangeTombstonesBuilder::default(),
            properties: Properties::new(keyspace, &options),
            last_packed: PackedSeqNo::new(SeqNo::ZERO, Kind::Delete),
            key_bytes_max: 0,
            block_charged: 0,
            room_in_page: 0,
            memory,
        };
        writer.room_in_page = align::room(0, options.block_bytes);
        writer.charge_for(options.block_bytes, dictionary.map_or(0, <[u8]>::len))?;
        writer.dictionary = dictionary.map(with_room_for_trailer);
        writer.memory.output.reserve_exact(options.output_bytes);
        Ok(writer)
    }

    /// Adds the next entry.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; after [`WriteError::Io`] the table is lost.
    pub fn add(&mut self, entry: EntryRef<'_>) -> Result<(), WriteError> {
        let bytes = entry.payload_bytes();
        if bytes > BLOCK_BYTES_MAX / 2 {
            return Err(WriteError::EntryTooLarge { bytes, max: BLOCK_BYTES_MAX / 2 });
        }
        let first = self.properties.entry_count == 0;
        let last = (self.memory.last_key.as_slice(), self.last_packed.seqno());
        if !first && compare_positions(last, (entry.key, entry.seqno)) != Ordering::Less {
            return Err(WriteError::OutOfOrder);
        }
        let mut block_bytes = self.memory.block.bytes() + bytes + ENTRY_BYTES;
        if self.ends_before(block_bytes) && !self.memory.block.is_empty() {
            self.end_block(Some(entry.key))?;
            block_bytes = self.memory.block.bytes() + bytes + ENTRY_BYTES;
        }
        if block_bytes > self.block_charged || entry.key.len() > self.key_bytes_max {
            self.key_bytes_max = self.key_bytes_max.max(entry.key.len());
            self.charge_for(block_bytes, 0)?;
        }
        let hash = KeyHash::of(entry.key);
        if self.options.filter_bits_per_key > 0 {
            self.memory.filter.add(hash);
            let prefix_bytes = self.options.filter_prefix_bytes as usize;
            if let Some(prefix) = entry.key.get(..prefix_bytes).filter(|prefix| !prefix.is_empty()) {
                self.memory.filter.add_prefix(KeyHash::of(prefix));
            }
        }
        let packed = PackedSeqNo::new(entry.seqno, entry.kind);
        self.memory.block.add(entry.key, hash, packed, entry.value);
        self.properties.count(entry);
        replace(&mut self.memory.last_key, entry.key);
        self.last_packed = packed;
        Ok(())
    }

    /// Adds the next fragment of a range tombstone. Fragments have an order of their own, independent of the entries':
    /// start ascending, then sequence number descending, and none begins within another's range unless it is of the
    /// same range.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfOrder`], [`WriteError::Memory`].
    pub fn add_range_tombstone(&mut self, fragment: RangeTombstone<'_>) -> Result<(), WriteError> {
        let bytes = fragment.start.len() + fragment.end.len() + 32;
        if self.range_tombstones.bytes() + bytes > BLOCK_BYTES_MAX {
            return Err(WriteError::EntryTooLarge { bytes, max: BLOCK_BYTES_MAX });
        }
        self.charge_for(self.block_charged, 2 * (self.range_tombstones.bytes() + bytes))?;
        if !self.range_tombstones.add(fragment) {
            return Err(WriteError::OutOfOrder);
        }
        self.properties.count_seqno(fragment.seqno);
        Ok(())
    }

    /// Entries added so far.
    pub fn entry_count(&self) -> u64 {
        self.properties.entry_count
    }

    /// The last key added.
    pub fn last_key(&self) -> &[u8] {
        &self.memory.last_key
    }

    /// What the file's length would be about, if it ended here.
    pub fn estimated_file_bytes(&self) -> u64 {
        let filter = self.memory.filter.block_bytes_with(2, self.options.filter_bits_per_key);
        let tail = self.range_tombstones.bytes() + self.memory.root.bytes() + FOOTER_BYTES;
        self.offset() + (self.memory.block.bytes() + self.memory.index.bytes() + filter + tail) as u64
    }

    /// Ends the table. Returns the sink, which holds the whole file, and what was written.
    ///
    /// # Errors
    ///
    /// [`WriteError`], [`WriteError::Empty`] if there was neither an entry nor a range tombstone.
    pub fn finish(self) -> Result<(W, TableSummary), WriteError> {
        self.finish_with_memory().map(|(sink, summary, _)| (sink, summary))
    }

    /// [`finish`](Self::finish), with the memory for the next writer.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub fn finish_with_memory(mut self) -> Result<(W, TableSummary, WriterMemory), WriteError> {
        let range_tombstone_count = self.range_tombstones.count();
        if self.properties.entry_count == 0 && range_tombstone_count == 0 {
            return Err(WriteError::Empty);
        }
        if !self.memory.block.is_empty() {
            self.end_block(None)?;
        }
        if self.memory.block.memory_bytes() > LONG_BLOCK_BYTES {
            self.memory.block = BlockBuilder::default();
        }
        if self.memory.index.count() > 0 {
            self.end_segment()?;
        }
        self.properties.range_tombstone_count = range_tombstone_count as u64;
        self.properties.key_max = self.memory.last_key.clone();
        let mut offsets: FooterOffsets = [0; 4];
        offsets[0] = self.offset();
        if let Some(mut dictionary) = self.dictionary.take() {
            self.put_block(BlockKind::Dictionary, RAW, &mut dictionary)?;
        }
        offsets[1] = self.offset();
        if range_tombstone_count > 0 {
            let mut fragments = std::mem::take(&mut self.range_tombstones);
            self.put_block(BlockKind::RangeTombstones, RAW, fragments.finish())?;
        }
        offsets[2] = self.offset();
        let mut contents = std::mem::take(&mut self.memory.contents);
        self.memory.root.finish(&mut contents);
        self.put_block(BlockKind::Root, RAW, &mut contents)?;
        self.memory.contents = contents;
        offsets[3] = self.offset();
        let mut properties = self.properties.to_bytes();
        self.put_block(BlockKind::Properties, RAW, &mut properties)?;
        let footer = Footer::to_bytes(offsets, self.table, self.offset());
        self.put(&footer)?;
        self.flush()?;
        let summary =
            TableSummary { table: self.table, file_bytes: self.written, properties: self.properties };
        if self.dictionary.is_none() {
            self.memory.compressor = Some(self.compressor);
        }
        Ok((self.sink, summary, self.memory))
    }

    fn offset(&self) -> u64 {
        self.written + self.memory.output.len() as u64
    }

    /// Writes the data block and its line in the index. `next` is the key that the next block begins with.
    fn end_block(&mut self, next: Option<&[u8]>) -> Result<(), WriteError> {
        let mut block = std::mem::take(&mut self.memory.block);
        let padding = if next.is_some() { self.padding(block.bytes()) } else { 0 };
        let contents = block.finish(padding);
        let contents_bytes = contents.len();
        let handle = match self.compressor.compress(contents) {
            Some((code, mut stored)) => {
                let handle = self.put_block(BlockKind::Data, code, &mut stored);
                self.compressor.give_back(stored);
                handle
            }
            None => self.put_block(BlockKind::Data, RAW, contents),
        };
        block.clear();
        self.memory.block = block;
        let handle = handle?;
        let is_compressed = self.compressor.was_compressed();
        self.properties.count_block(contents_bytes, handle.len as usize, is_compressed);

        let mut seqno = self.last_packed.seqno();
        match next.filter(|&next| next != self.memory.last_key) {
            Some(next) => {
                separator(&self.memory.last_key, next, &mut self.memory.separator);
                seqno = SeqNo::ZERO;
            }
            None => growth::replace(&mut self.memory.separator, &self.memory.last_key),
        }
        let end = (handle.end() - self.segment_start) as u32;
        self.memory.index.add((&self.memory.separator, seqno), &end.to_le_bytes());
        let is_full = self.memory.filter.count() >= self.options.segment_keys
            || self.memory.index.line_bytes() >= INDEX_BYTES_MAX
            || u64::from(end) >= SEGMENT_BYTES_MAX;
        if is_full {
            self.end_segment()?;
        }
        self.room_in_page = align::room(self.offset(), self.options.block_bytes);
        self.charge_for(self.options.block_bytes, 0)
    }

    /// Whether blocks are to end where pages of the file do.
    fn is_aligning(&self) -> bool {
        self.options.compression == Compression::None && self.options.block_bytes >= align::PAGE_BYTES
    }

    /// Whether the block ends before an entry with which its contents would have `next` bytes.
    fn ends_before(&self, next: usize) -> bool {
        let is_full = next > self.options.block_bytes;
        is_full || self.is_aligning() && align::ends(self.memory.block.bytes(), next, self.room_in_page)
    }

    /// Zeros that bring the end of a block of `bytes` to the end of a page.
    fn padding(&self, bytes: usize) -> usize {
        if self.is_aligning() { align::padding(self.offset() + (bytes + TRAILER_BYTES) as u64) } else { 0 }
    }

    /// Writes filter and index of the segment, and its line in the root. Its last separator is in `separator`.
    fn end_segment(&mut self) -> Result<(), WriteError> {
        let mut contents = std::mem::take(&mut self.memory.contents);
        self.memory.filter.finish(self.options.filter_bits_per_key, &mut contents);
        let filter = self.put_block(BlockKind::Filter, RAW, &mut contents)?;
        let seqno = self.memory.index.last_seqno();
        self.memory.index.finish(&mut contents);
        let index = self.put_block(BlockKind::Index, RAW, &mut contents)?;
        self.memory.contents = contents;
        let mut value = [0; 24];
        for (place, word) in [filter.offset, index.offset, index.end()].into_iter().enumerate() {
            value[8 * place..8 * place + 8].copy_from_slice(&word.to_le_bytes());
        }
        self.memory.root.add((&self.memory.separator, seqno), &value);
        self.properties.index_bytes += filter.len + index.len;
        self.properties.segment_count += 1;
        self.segment_start = index.end();
        Ok(())
    }

    /// Appends the trailer to what is to be stored, and writes both.
    fn put_block(
        &mut self,
        kind: BlockKind,
        compression: u8,
        stored: &mut Vec<u8>,
    ) -> Result<BlockHandle, WriteError> {
        let handle = BlockHandle { offset: self.offset(), len: stored.len() as u64 };
        seal(stored, self.table, handle.offset, kind, compression);
        self.put(stored)?;
        Ok(handle)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.memory.output.len() + bytes.len() > self.options.output_bytes {
            self.flush()?;
        }
        if bytes.len() <= self.options.output_bytes {
            self.memory.output.extend_from_slice(bytes);
            return Ok(());
        }
        // What would overflow the buffer all by itself need not be copied into it.
        let offset = self.written;
        self.sink.append(bytes).map_err(|source| WriteError::Io { offset, source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let offset = self.written;
        self.sink.append(&self.memory.output).map_err(|source| WriteError::Io { offset, source })?;
        self.written += self.memory.output.len() as u64;
        self.memory.output.clear();
        Ok(())
    }

    /// Charges what is held, what a block of `block_bytes` may make of it until it ends, and `more`.
    fn charge_for(&mut self, block_bytes: usize, more: usize) -> Result<(), WriteError> {
        // The entries of a block are at least `ENTRY_BYTES` long; vectors that are full grow to twice their size.
        let entries = self.options.block_bytes / ENTRY_BYTES + 1;
        let (memory, key_bytes) = (&self.memory, self.key_bytes_max);
        let block = grown(block_bytes) + grown(key_bytes) + 8 * entries;
        // At the end there are the properties and both bounds; a long block has gone then.
        let (block, bounds) = (block.max(memory.block.memory_bytes()), 3 * key_bytes);
        let block =
            if block <= LONG_BLOCK_BYTES { block + bounds } else { block.max(LONG_BLOCK_BYTES + bounds) };
        let bits = self.options.filter_bits_per_key;
        let filter = memory.filter.memory_bytes_with(2 * entries);
        // An index may grow by a line that is as long as a key, and then so may the root.
        let line = key_bytes + LINE_BYTES;
        let index = memory.index.memory_bytes_with(line) + memory.root.memory_bytes_with(line);
        // One of them at a time.
        let contents = (memory.filter.block_bytes_with(2 * entries, bits))
            .max(memory.index.bytes() + line)
            .max(memory.root.bytes() + line)
            .max(memory.contents.capacity());
        let keys = memory.last_key.capacity().max(grown(key_bytes))
            + memory.separator.capacity().max(grown(key_bytes))
            + key_bytes;
        let held = self.options.output_bytes.max(memory.output.capacity())
            + block
            + self.compressor.memory_bytes(block_bytes.max(memory.block.bytes()))
            + self.dictionary.as_ref().map_or(0, Vec::capacity)
            + filter
            + index
            + contents
            + keys
            + self.range_tombstones.memory_bytes()
            + more
            + align::PADDING_BYTES_MAX
            + 4 * TRAILER_BYTES;
        if held > self.memory.charge.bytes() {
            // In steps, so that the budget's lock is not taken for every block.
            let charge = &mut self.memory.charge;
            charge.resize(held + held / 16).or_else(|_| charge.resize(held))?;
        }
        self.block_charged = block_bytes;
        Ok(())
    }
}

/// Puts `key` in the place of another, which as a rule has its length: a copy without a call where that is short.
#[inline]
fn replace(last: &mut Vec<u8>, key: &[u8]) {
    if last.len() != key.len() || !copy_short(last, key) {
        growth::replace(last, key);
    }
}

fn with_room_for_trailer(bytes: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(bytes.len() + TRAILER_BYTES);
    copy.extend_from_slice(bytes);
    copy
}
