//! Writes a table from front to back, holding only the block being built, the index and the keys' hashes.
//!
//! 1. [`TableWriter::add`] takes entries in cursor order and cuts data blocks at the target size.
//! 2. Each finished block gets its trailer and goes to the output buffer, and that to the sink in large pieces.
//! 3. [`TableWriter::finish`] writes filter, index, properties and footer.
//!
//! Everything held is charged to the budget that the writer was given, before it is held.
//!
//! Not here: making the file durable. Whoever owns the sink syncs it, and its directory.

use std::cmp::Ordering;
use std::io;

use kausal_arena::{Budget, Reservation};
use kausal_index::{EntryRef, Kind, PackedSeqNo, SeqNo, compare_positions};

use crate::block::BlockBuilder;
use crate::error::WriteError;
use crate::filter::FilterBuilder;
use crate::format::{
    BLOCK_BYTES_MAX, BlockHandle, COMPRESSION_NONE, FOOTER_BYTES, Footer, TRAILER_BYTES, put_varint, trailer,
};
use crate::ids::{KeyspaceId, TableId};
use crate::properties::Properties;

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
    /// Size at which a data block is closed, in bytes.
    pub block_bytes: usize,
    /// Bits of the filter per key; 0 writes no filter.
    pub filter_bits_per_key: u32,
    /// Bytes gathered before they go to the sink.
    pub output_bytes: usize,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { block_bytes: 4 << 10, filter_bits_per_key: 10, output_bytes: 256 << 10 }
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
    output: Vec<u8>,
    /// Offset in the file of the first byte of `output`.
    written: u64,
    block: BlockBuilder,
    index: BlockBuilder,
    filter: FilterBuilder,
    properties: Properties,
    last_key: Vec<u8>,
    last_packed: PackedSeqNo,
    charge: Reservation,
}

impl<W: TableSink> TableWriter<W> {
    /// A writer of the table with this identity into `sink`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Memory`] if the budget has no room for the buffers.
    pub fn new(
        sink: W,
        table: TableId,
        keyspace: KeyspaceId,
        options: TableOptions,
        budget: &Budget,
    ) -> Result<Self, WriteError> {
        let charge = budget.reserve(options.output_bytes + 2 * options.block_bytes)?;
        Ok(Self {
            sink,
            table,
            options,
            output: Vec::with_capacity(options.output_bytes),
            written: 0,
            block: BlockBuilder::default(),
            index: BlockBuilder::default(),
            filter: FilterBuilder::default(),
            properties: Properties::new(keyspace, options.filter_bits_per_key),
            last_key: Vec::new(),
            last_packed: PackedSeqNo::new(SeqNo::ZERO, Kind::Delete),
            charge,
        })
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
        let last = (self.last_key.as_slice(), self.last_packed.seqno());
        if !first && compare_positions(last, (entry.key, entry.seqno)) != Ordering::Less {
            return Err(WriteError::OutOfOrder);
        }
        if !self.block.is_empty() && self.block.bytes() + bytes > self.options.block_bytes {
            self.end_block()?;
        }
        if first || self.last_key != entry.key {
            self.filter.add(entry.key);
        }
        self.charge_for(bytes)?;
        let packed = PackedSeqNo::new(entry.seqno, entry.kind);
        self.block.add(entry.key, packed, entry.value);
        self.properties.count(entry);
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.last_packed = packed;
        Ok(())
    }

    /// Entries added so far.
    pub fn entry_count(&self) -> u64 {
        self.properties.entry_count
    }

    /// The last key added.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// What the file's length would be about, if it ended here.
    pub fn estimated_file_bytes(&self) -> u64 {
        let tail = self.index.bytes() + self.filter.memory_bytes(self.options.filter_bits_per_key);
        self.written + (self.output.len() + self.block.bytes() + tail + FOOTER_BYTES) as u64
    }

    /// Ends the table. Returns the sink, which holds the whole file, and what was written.
    ///
    /// # Errors
    ///
    /// [`WriteError`], [`WriteError::Empty`] if there was no entry.
    pub fn finish(mut self) -> Result<(W, TableSummary), WriteError> {
        if self.properties.entry_count == 0 {
            return Err(WriteError::Empty);
        }
        self.end_block()?;
        let filter = std::mem::take(&mut self.filter).finish(self.options.filter_bits_per_key);
        let filter = self.put_block(&filter)?;
        let mut index = std::mem::take(&mut self.index);
        let index = self.put_block(index.finish())?;
        let properties = self.put_block(&self.properties.to_bytes())?;
        let footer = Footer { filter, index, properties, table: self.table };
        let bytes = footer.to_bytes(self.offset());
        self.put(&bytes)?;
        self.flush()?;
        let summary =
            TableSummary { table: self.table, file_bytes: self.written, properties: self.properties };
        Ok((self.sink, summary))
    }

    fn offset(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    /// Writes the data block and its index entry: the position of its last entry, and its handle.
    fn end_block(&mut self) -> Result<(), WriteError> {
        let mut block = std::mem::take(&mut self.block);
        let handle = self.put_block(block.finish());
        block.clear();
        self.block = block;
        let handle = handle?;
        let mut value = Vec::with_capacity(20);
        put_varint(&mut value, handle.offset);
        put_varint(&mut value, handle.len);
        self.index.add(&self.last_key, self.last_packed, &value);
        self.properties.block_count += 1;
        Ok(())
    }

    fn put_block(&mut self, contents: &[u8]) -> Result<BlockHandle, WriteError> {
        let handle = BlockHandle { offset: self.offset(), len: contents.len() as u64 };
        self.put(contents)?;
        self.put(&trailer(self.table, handle.offset, contents, COMPRESSION_NONE))?;
        Ok(handle)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.output.len() + bytes.len() > self.options.output_bytes {
            self.flush()?;
        }
        // What would overflow the buffer all by itself need not be copied into it.
        if bytes.len() > self.options.output_bytes {
            return self.sink_bytes(bytes.len(), |sink, _| sink.append(bytes));
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.sink_bytes(self.output.len(), |sink, output| sink.append(output))?;
        self.output.clear();
        Ok(())
    }

    fn sink_bytes(
        &mut self,
        count: usize,
        append: impl FnOnce(&mut W, &[u8]) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let offset = self.written;
        append(&mut self.sink, &self.output).map_err(|source| WriteError::Io { offset, source })?;
        self.written += count as u64;
        Ok(())
    }

    /// Charges what is held, and what adding `bytes` more may make of it.
    fn charge_for(&mut self, bytes: usize) -> Result<(), WriteError> {
        let blocks = self.block.memory_bytes().max(self.block.bytes() + bytes) + self.index.memory_bytes();
        let keys = self.filter.memory_bytes(self.options.filter_bits_per_key) + self.last_key.capacity();
        let held = self.options.output_bytes + blocks + keys + 4 * TRAILER_BYTES;
        if held > self.charge.bytes() {
            // In steps, so that the budget's lock is not taken for every entry.
            self.charge.resize(held + held / 8)?;
        }
        Ok(())
    }
}
