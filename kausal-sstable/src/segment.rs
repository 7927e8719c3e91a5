//! A segment: a run of data blocks with a filter and an index of their own.
//!
//! Large tables are many segments, so that a writer holds the hashes of one segment only, and a reader that keeps no
//! indexes fetches small ones. A small table is one segment.

use std::ops::Range;

use kausal_arena::Reservation;

use crate::cache::FrameHint;
use crate::error::{Damage, TableError};
use crate::file::TableFile;
use crate::filter::ResidentFilter;
use crate::format::{BlockHandle, BlockKind, word};
use crate::index::{IndexBlock, IndexShape};
use crate::mapped::Mark;

/// Where the parts of a segment lie, and those that are resident.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Where the first data block begins. The last one ends where the filter begins.
    pub(crate) start: u64,
    pub(crate) filter_handle: BlockHandle,
    pub(crate) index_handle: BlockHandle,
    /// What its data blocks are marked by where the table is mapped.
    marks: Range<usize>,
    resident: Option<Resident>,
}

/// The parts of a segment that stay in memory: contents of its filter and its index.
#[derive(Debug)]
struct Resident {
    filter: ResidentFilter,
    index: Box<[u8]>,
    index_shape: IndexShape,
    index_samples: Box<[u64]>,
    /// Where the cache had each data block last.
    places: Box<[FrameHint]>,
}

impl Segment {
    /// The segments that a root names. They begin at the file's beginning and end at `end`, without a gap.
    pub(crate) fn all(root: &IndexBlock<'_>, end: u64) -> Result<Vec<Self>, Damage> {
        let (mut start, mut marks_end) = (0, 0);
        let mut segments = Vec::with_capacity(root.count());
        for place in 0..root.count() {
            let value = root.value(place);
            let [filter, index, segment_end] = [0, 8, 16].map(|offset| word(value, offset));
            let filter_handle = BlockHandle::between(filter, index).ok_or(Damage::Root)?;
            let index_handle = BlockHandle::between(index, segment_end).ok_or(Damage::Root)?;
            if filter <= start {
                return Err(Damage::Root);
            }
            // As many data blocks as the index has room to name, also where it is not in memory.
            let marks = marks_end..marks_end + IndexBlock::blocks_max(index_handle.len);
            marks_end = marks.end;
            segments.push(Self { start, filter_handle, index_handle, marks, resident: None });
            start = segment_end;
        }
        if start == end { Ok(segments) } else { Err(Damage::Root) }
    }

    /// Reads filter and index, and keeps them.
    pub(crate) fn make_resident(
        &mut self,
        file: &TableFile,
        charge: &mut Reservation,
    ) -> Result<(), TableError> {
        let filter = self.load_filter(file, charge)?;
        let index = file.load(self.index_handle, BlockKind::Index, charge)?;
        let block = IndexBlock::of_segment(&index);
        let block = block.map_err(|what| file.corrupt(self.index_handle.offset, what))?;
        let beside = block.samples_count() * size_of::<u64>() + block.count() * size_of::<FrameHint>();
        let grown = charge.bytes() + beside;
        charge.resize(grown).map_err(|error| file.no_memory(error))?;
        let (index_shape, index_samples) = (block.shape(), block.samples());
        let places = (0..block.count()).map(|_| FrameHint::new()).collect();
        self.resident = Some(Resident { filter, index, index_shape, index_samples, places });
        Ok(())
    }

    /// Reads the filter and takes it to memory where it can lie as a look-up wants it.
    fn load_filter(&self, file: &TableFile, charge: &mut Reservation) -> Result<ResidentFilter, TableError> {
        let before = charge.bytes();
        let block = file.load(self.filter_handle, BlockKind::Filter, charge)?;
        let bytes = ResidentFilter::memory_bytes(block.len());
        let grown = charge.bytes() + bytes;
        charge.resize(grown).map_err(|error| file.no_memory(error))?;
        let filter = ResidentFilter::new(&block);
        let filter = filter.map_err(|what| file.corrupt(self.filter_handle.offset, what))?;
        drop(block);
        charge.resize(before + bytes).map_err(|error| file.no_memory(error))?;
        Ok(filter)
    }

    /// The filter, if it is resident.
    #[inline]
    pub(crate) fn filter(&self) -> Option<&ResidentFilter> {
        self.resident.as_ref().map(|resident| &resident.filter)
    }

    /// The index, if it is resident.
    #[inline]
    pub(crate) fn index(&self) -> Option<IndexBlock<'_>> {
        let resident = self.resident.as_ref()?;
        let index = IndexBlock::with(&resident.index, resident.index_shape, &resident.index_samples);
        Some(index.beside(&resident.places))
    }

    /// Where the cache had the data block at `place` last, if that is kept: it is where the index is.
    #[inline]
    pub(crate) fn place(&self, place: usize) -> Option<&FrameHint> {
        self.resident.as_ref()?.places.get(place)
    }

    /// The marks of the segment's data blocks.
    pub(crate) fn marks(&self) -> Range<usize> {
        self.marks.clone()
    }

    /// What the data block at `place` is marked by. None if the index is compressed, and names more than it would have room for.
    #[inline]
    pub(crate) fn mark(&self, place: usize) -> Mark {
        let mark = self.marks.start + place;
        (mark < self.marks.end).then_some(mark)
    }

    /// The data block at `place` of this segment, whose index is `index`. It lies before the filter.
    pub(crate) fn data_block(&self, index: &IndexBlock<'_>, place: usize) -> Result<BlockHandle, Damage> {
        let handle = index.data_block(place, self.start)?;
        if handle.end() <= self.filter_handle.offset { Ok(handle) } else { Err(Damage::Index) }
    }
}
