//! Verifies a whole table: every byte under a checksum that matches, every promise of the format kept.

use std::cmp::Ordering;

use kausal_arena::Budget;
use kausal_index::{EntryRef, Kind, SeqNo, compare_positions};

use crate::block::{Block, Position};
use crate::buffer::BlockBuffer;
use crate::compression::RAW;
use crate::error::{Damage, TableError};
use crate::filter::{self, KeyHash};
use crate::format::{BlockHandle, BlockKind};
use crate::index::IndexBlock;
use crate::properties::Properties;
use crate::reader::Table;
use crate::source::BlockSource;

/// What is read ahead: all of it will be wanted.
const AHEAD_BYTES: u64 = 256 << 10;

/// What a verification went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Data blocks read.
    pub block_count: u64,
    /// Entries seen.
    pub entry_count: u64,
    /// Of these, references to blob files.
    pub blob_count: u64,
}

impl Table {
    /// Reads all segments, whatever of them is resident, and checks that blocks follow each other without a gap,
    /// entries are strictly ordered, separators lie between the blocks they separate, tags and filters admit every
    /// key, and the properties are what was counted. `each` sees every blob reference's value. What lies behind the
    /// segments was checked when the table was opened.
    ///
    /// # Errors
    ///
    /// The first [`TableError`] found.
    pub fn verify(&self, budget: &Budget, each: impl FnMut(&[u8])) -> Result<Verified, TableError> {
        let buffer = || BlockBuffer::new(budget).map_err(|error| self.table_file().no_memory(error));
        let mut verifier = Verifier {
            table: self,
            data: buffer()?,
            filter: buffer()?,
            position: Position::default(),
            counted: self.properties().uncounted(),
            last: Place::default(),
            separator: Place::default(),
            each,
        };
        let mut index = buffer()?;
        for place in 0..self.segments().len() {
            verifier.segment(place, &mut index)?;
        }
        verifier.end()?;
        let Properties { block_count, entry_count, blob_count, .. } = verifier.counted;
        Ok(Verified { block_count, entry_count, blob_count })
    }
}

/// A key and a sequence number, if there was one yet.
#[derive(Debug, Default)]
struct Place {
    key: Vec<u8>,
    seqno: Option<SeqNo>,
}

impl Place {
    fn set(&mut self, key: &[u8], seqno: SeqNo) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.seqno = Some(seqno);
    }

    /// Whether this place is before that of `key` and `seqno`; no place at all is before everything.
    fn is_before(&self, key: &[u8], seqno: SeqNo) -> bool {
        let order = |own| compare_positions((&self.key, own), (key, seqno));
        self.seqno.is_none_or(|own| order(own) == Ordering::Less)
    }
}

struct Verifier<'table, F> {
    table: &'table Table,
    data: BlockBuffer,
    filter: BlockBuffer,
    position: Position,
    counted: Properties,
    /// The last entry seen.
    last: Place,
    /// The last separator seen.
    separator: Place,
    each: F,
}

impl<F: FnMut(&[u8])> Verifier<'_, F> {
    fn corrupt(&self, offset: u64, what: Damage) -> TableError {
        self.table.table_file().corrupt(offset, what)
    }

    /// Reads a segment's filter, index and data blocks.
    fn segment(&mut self, place: usize, index: &mut BlockBuffer) -> Result<(), TableError> {
        let table = self.table;
        let (file, segment) = (table.table_file(), &table.segments()[place]);
        let (filter_handle, index_handle) = (segment.filter_handle, segment.index_handle);
        self.filter.fetch(file, filter_handle, BlockKind::Filter, 0)?;
        filter::check(self.filter.bytes()).map_err(|what| self.corrupt(filter_handle.offset, what))?;
        index.fetch(file, index_handle, BlockKind::Index, 0)?;
        let damage = |what| file.corrupt(index_handle.offset, what);
        let index = IndexBlock::of_segment(index.bytes()).map_err(damage)?;
        let mut end = segment.start;
        for place in 0..index.count() {
            let handle = segment.data_block(&index, place).map_err(damage)?;
            self.data_block(handle)?;
            end = handle.end();
            let seqno = index.separator(place, &mut self.separator.key).map_err(damage)?;
            self.separator.seqno = Some(seqno);
            // The other side is looked at when the next block has been read.
            if self.last.seqno.is_some_and(|last| self.separator.is_before(&self.last.key, last)) {
                return Err(damage(Damage::Index));
            }
        }
        if end != filter_handle.offset {
            return Err(self.corrupt(end, Damage::Index));
        }
        let mut key = Vec::new();
        let seqno = table.root().separator(place, &mut key).map_err(|what| table.root_damage(what))?;
        if (key, Some(seqno)) != (self.separator.key.clone(), self.separator.seqno) {
            return Err(table.root_damage(Damage::Root));
        }
        self.counted.index_bytes += filter_handle.len + index_handle.len;
        self.counted.segment_count += 1;
        Ok(())
    }

    /// Reads a data block and looks at every entry.
    fn data_block(&mut self, handle: BlockHandle) -> Result<(), TableError> {
        let file = self.table.table_file();
        let damage = |what| file.corrupt(handle.offset, what);
        self.position.clear();
        self.data.fetch(file, handle, BlockKind::Data, AHEAD_BYTES)?;
        let block = Block::new(self.data.bytes()).map_err(damage)?;
        if !block.is_tight() {
            return Err(damage(Damage::Block));
        }
        let compressed = self.data.code() != RAW;
        self.counted.count_block(self.data.bytes().len(), handle.len as usize, compressed);
        for place in 0..block.count() {
            block.load(&mut self.position, place).map_err(damage)?;
            let entry = self.position.entry(self.data.bytes()).ok_or_else(|| damage(Damage::Block))?;
            let EntryRef { key, seqno, kind, value } = entry;
            let is_ordered = self.last.is_before(key, seqno) && self.separator.is_before(key, seqno);
            if !is_ordered || seqno == SeqNo::ZERO {
                return Err(damage(Damage::Order));
            }
            self.last.set(key, seqno);
            let hash = KeyHash::of(key);
            if !block.has_tag(place, hash) {
                return Err(damage(Damage::Block));
            }
            let prefix_bytes = self.counted.filter_prefix_bytes as usize;
            let prefix = key.get(..prefix_bytes).filter(|_| prefix_bytes > 0);
            let is_admitted = filter::may_hold(self.filter.bytes(), hash)
                && prefix.is_none_or(|prefix| filter::may_hold(self.filter.bytes(), KeyHash::of(prefix)));
            if !is_admitted {
                return Err(self.corrupt(handle.offset, Damage::FilterDenies));
            }
            if kind == Kind::Blob {
                (self.each)(value);
            }
            self.counted.count(entry);
        }
        Ok(())
    }

    /// Compares what was counted with the properties.
    fn end(&mut self) -> Result<(), TableError> {
        for fragment in self.table.range_tombstones().iter() {
            self.counted.range_tombstone_count += 1;
            self.counted.count_seqno(fragment.seqno);
        }
        self.counted.key_max = std::mem::take(&mut self.last.key);
        if self.counted != *self.table.properties() {
            return Err(self.corrupt(self.table.footer().properties.offset, Damage::PropertiesMismatch));
        }
        Ok(())
    }
}
