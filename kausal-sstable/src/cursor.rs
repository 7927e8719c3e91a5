//! An ordered walk over one table.
//!
//! 1. A cursor stands at a segment, at a block in it, and at an entry in the block, whose contents its source holds.
//! 2. A seek asks root, index and block in turn. A separator may lie behind its block's last entry, so a seek that
//!    finds nothing in the block ends at the first entry of the next.
//! 3. From the third block on that follows the one before, the source is told how much will be wanted behind it: 16
//!    KiB, then twice as much each time, up to a limit.
//!
//! A block that lies in the mapping of a [mapped](Table::map) table is lent from there, and the source fetches none.
//!
//! Bounds are heeded by every movement: outside of them the cursor stands nowhere.

use kausal_index::{Cursor, EntryRef, SeqNo};

use crate::block::{Block, Position, Shape};
use crate::buffer::BlockBuffer;
use crate::cache::FrameHint;
use crate::error::{Damage, TableError};
use crate::format::{BlockHandle, BlockKind};
use crate::index::IndexBlock;
use crate::prefetch;
use crate::reader::Table;
use crate::source::BlockSource;

mod staged;

use staged::Stage;

const AHEAD_BYTES_FIRST: u64 = 16 << 10;
/// Where reading ahead ends unless the cursor is told otherwise: twice as much is not faster, only larger.
const AHEAD_BYTES_MAX: u64 = 128 << 10;

/// An ordered walk over one table.
#[derive(Debug)]
pub struct TableCursor<'table, S = BlockBuffer> {
    table: &'table Table,
    source: S,
    /// Holds the index of a segment, where indexes are not resident.
    index_source: Option<S>,
    /// The segment whose index `index_source` holds.
    index_of: Option<usize>,
    segment: usize,
    /// Place of the block in the segment.
    block: usize,
    /// The block stood in, once it is there.
    loaded: Option<BlockHandle>,
    /// Its contents if they are lent from the table's mapping; else they are in `source`.
    lent: Option<&'table [u8]>,
    /// The contents of the block after it, if they are lent too and were checked before; else empty.
    lent_next: &'table [u8],
    /// How far into the file a walk over lent blocks has asked for what it will need.
    asked_to: u64,
    /// Of the loaded block, if there is one.
    shape: Shape,
    position: Position,
    lower: Option<Box<[u8]>>,
    upper: Option<Box<[u8]>>,
    /// Blocks loaded one after the other since the last seek.
    run: u32,
    ahead_max: u64,
    stage: Stage,
}

impl<'table, S: BlockSource> TableCursor<'table, S> {
    pub(crate) fn new(table: &'table Table, mut source: S) -> Self {
        source.forget();
        Self {
            table,
            source,
            index_source: None,
            index_of: None,
            segment: 0,
            block: 0,
            loaded: None,
            lent: None,
            lent_next: &[],
            asked_to: 0,
            shape: Shape::default(),
            position: Position::default(),
            lower: None,
            upper: None,
            run: 0,
            ahead_max: AHEAD_BYTES_MAX,
            stage: Stage::default(),
        }
    }

    /// Shows only keys at or after `lower` and before `upper` from the next movement on.
    pub fn set_bounds(&mut self, lower: Option<&[u8]>, upper: Option<&[u8]>) {
        self.lower = lower.map(Into::into);
        self.upper = upper.map(Into::into);
    }

    /// Limits what is read ahead of a walk, in bytes; 0 reads block by block. Default 128 KiB.
    pub fn set_read_ahead(&mut self, bytes_max: u64) {
        self.ahead_max = bytes_max;
    }

    /// Ends the walk, and gives back the source.
    pub fn into_source(self) -> S {
        self.source
    }

    fn clear(&mut self) -> bool {
        self.position.clear();
        false
    }

    /// Runs `work` with the index of the segment stood in.
    fn with_index<T>(
        &mut self,
        work: impl FnOnce(&IndexBlock<'_>) -> Result<T, Damage>,
    ) -> Result<T, TableError> {
        let segment = &self.table.segments()[self.segment];
        let file = self.table.table_file();
        let damage = |what| file.corrupt(segment.index_handle.offset, what);
        if let Some(index) = segment.index() {
            return work(&index).map_err(damage);
        }
        let source = match &mut self.index_source {
            Some(source) => source,
            empty => empty.insert(self.source.sibling().map_err(|error| file.no_memory(error))?),
        };
        if self.index_of != Some(self.segment) {
            self.index_of = None;
            source.fetch(file, segment.index_handle, BlockKind::Index, 0)?;
            self.index_of = Some(self.segment);
        }
        IndexBlock::of_segment(source.bytes()).and_then(|index| work(&index)).map_err(damage)
    }

    /// What is wanted behind the next block.
    fn ahead(&self) -> u64 {
        match self.run {
            0..=2 => 0,
            run => (AHEAD_BYTES_FIRST << (run - 3).min(16)).min(self.ahead_max),
        }
    }

    /// Where the block at `place` of the segment stood in lies.
    #[inline]
    fn handle(&mut self, place: usize) -> Result<BlockHandle, TableError> {
        let (table, segment) = (self.table, self.segment);
        self.with_index(|index| table.segments()[segment].data_block(index, place))
    }

    /// Where the cache had the block at `place` of the segment stood in last, if that is kept.
    #[inline]
    fn hint(&self, place: usize) -> Option<&'table FrameHint> {
        let table = self.table;
        table.segments()[self.segment].place(place)
    }

    /// Fetches the block at `place` of the segment stood in, unless it is there already.
    fn load(&mut self, place: usize) -> Result<(), TableError> {
        let table = self.table;
        let handle = self.handle(place)?;
        self.block = place;
        if self.loaded != Some(handle) {
            self.loaded = None;
            self.position.clear();
            self.fetch(handle, self.ahead())?;
            let block = Block::new(contents(self.lent, &self.source));
            self.shape = block.map_err(|what| table.table_file().corrupt(handle.offset, what))?.shape();
            self.loaded = Some(handle);
        }
        Ok(())
    }

    /// Has the contents of the block at `handle`, whose place is `self.block`, from the mapping or from the source.
    #[inline]
    fn fetch(&mut self, handle: BlockHandle, ahead: u64) -> Result<(), TableError> {
        let (table, place) = (self.table, self.block);
        if S::WANTS_MAPPED && table.mapped.is_some() {
            return self.lend(handle, ahead);
        }
        self.source.fetch_hinted(table.table_file(), handle, BlockKind::Data, ahead, self.hint(place))
    }

    /// [`fetch`](Self::fetch) in a mapped table.
    fn lend(&mut self, handle: BlockHandle, ahead: u64) -> Result<(), TableError> {
        let (table, place) = (self.table, self.block);
        if ahead == 0 {
            self.asked_to = 0;
        } else if self.asked_to < handle.end() {
            table.table_file().source.will_need(handle.offset, ahead);
            self.asked_to = handle.offset.saturating_add(ahead);
        }
        (self.lent, self.lent_next) = (None, &[]);
        self.lent = table.lent(handle, table.segments()[self.segment].mark(place))?;
        if self.lent.is_some() {
            return Ok(());
        }
        self.source.fetch_hinted(table.table_file(), handle, BlockKind::Data, ahead, self.hint(place))
    }

    /// Says that the walk will want the block at `place` of the segment stood in after this one.
    fn fetch_soon(&mut self, place: usize) -> Result<(), TableError> {
        let table = self.table;
        let handle = self.handle(place)?;
        if self.lent.is_some()
            && let Some(mapped) = &table.mapped
        {
            self.lent_next = mapped.marked(handle, table.segments()[self.segment].mark(place));
            if !self.lent_next.is_empty() {
                prefetch::both_ends(self.lent_next);
            }
            return Ok(());
        }
        self.source.fetch_soon(table.table_file(), handle, self.hint(place));
        // Its header is looked at when the next one is entered.
        self.approach_behind(2, 0)
    }

    /// Looks or moves in the loaded block; answers what `movement` does.
    #[inline]
    fn in_block<T>(
        &mut self,
        movement: impl FnOnce(&Block<'_>, &mut Position) -> Result<T, Damage>,
    ) -> Result<T, TableError> {
        let block = Block::with(contents(self.lent, &self.source), self.shape);
        movement(&block, &mut self.position).map_err(|what| {
            self.position.clear();
            let offset = self.loaded.map_or(0, |handle| handle.offset);
            self.table.table_file().corrupt(offset, what)
        })
    }

    /// Stands on the first entry of the segment at `place` or a later one.
    fn enter_front(&mut self, place: usize) -> Result<bool, TableError> {
        if place >= self.table.segments().len() {
            return Ok(self.clear());
        }
        self.segment = place;
        self.load(0)?;
        self.in_block(|block, position| block.seek_to_first(position))
    }

    /// Stands on the last entry of the segment before `place`.
    fn enter_back(&mut self, place: usize) -> Result<bool, TableError> {
        let Some(before) = place.checked_sub(1) else { return Ok(self.clear()) };
        self.segment = before;
        let count = self.with_index(|index| Ok(index.count()))?;
        self.load(count - 1)?;
        self.in_block(|block, position| block.seek_to_last(position))
    }

    /// Asks for the header and the end of the block that lies `blocks` behind the one stood in, if the segment has it, and for lines
    /// `stride` bytes apart at its beginning, if that is not 0.
    #[inline]
    fn approach_behind(&mut self, blocks: usize, stride: usize) -> Result<(), TableError> {
        let place = self.block + blocks;
        // There is a hint for each block of the segment, or for none.
        if let Some(hint) = self.hint(place) {
            let handle = self.handle(place)?;
            // Where nothing is known it is found out when it is fetched.
            let _ = self.source.approach_hinted(handle, hint, stride);
        }
        Ok(())
    }

    /// Stands on the first entry of the block after the one stood in.
    fn next_block(&mut self) -> Result<bool, TableError> {
        self.run = self.run.saturating_add(1);
        let count = self.with_index(|index| Ok(index.count()))?;
        if self.block + 1 >= count {
            return self.enter_front(self.segment + 1);
        }
        self.load(self.block + 1)?;
        // A walk that ends in its second block does not want a third.
        if self.run > 1 && self.block + 1 < count {
            self.fetch_soon(self.block + 1)?;
        }
        self.in_block(|block, position| block.seek_to_first(position))
    }

    /// Stands on the last entry of the block before the one stood in.
    fn prev_block(&mut self) -> Result<bool, TableError> {
        self.run = 0;
        let Some(before) = self.block.checked_sub(1) else { return self.enter_back(self.segment) };
        self.load(before)?;
        self.in_block(|block, position| block.seek_to_last(position))
    }

    fn seek_unbounded(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        self.stage = Stage::Done;
        let Some(place) = self.locate(key, at)? else { return Ok(false) };
        self.load(place)?;
        if self.in_block(|block, position| block.seek(position, key, at))? {
            return Ok(true);
        }
        self.next_block()
    }

    /// Enters the segment that may hold (`key`, `at`) or what follows it, and answers the block's place there; none behind
    /// the table's end. Stands nowhere until then.
    fn locate(&mut self, key: &[u8], at: SeqNo) -> Result<Option<usize>, TableError> {
        self.run = 0;
        self.position.clear();
        let segment = self.table.first_segment(key, at)?;
        if segment >= self.table.segments().len() {
            return Ok(None);
        }
        self.segment = segment;
        let place = self
            .with_index(|index| index.seek(key, at).map(|place| (place < index.count()).then_some(place)))?;
        // The root says that the segment ends at or after the position.
        let Some(place) = place else { return self.with_index(|_| Err(Damage::Index)) };
        Ok(Some(place))
    }

    /// What a step of one entry did not do by itself: a key to be put together, the next block, the bound.
    #[inline(never)]
    fn next_in_full(&mut self, stepped: bool) -> Result<bool, TableError> {
        if !self.position.is_valid() {
            return Ok(false);
        }
        let stands =
            stepped || self.in_block(|block, position| block.next(position))? || self.next_block()?;
        Ok(self.heed_upper(stands))
    }

    /// [`walk`](Cursor::walk) entry by entry, as each of them may be the first behind the bound.
    fn walk_to_bound(&mut self, mut each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, TableError> {
        while let Some(entry) = self.entry() {
            if !each(entry) {
                return Ok(true);
            }
            self.next()?;
        }
        Ok(false)
    }

    fn prev_unbounded(&mut self) -> Result<bool, TableError> {
        if self.in_block(|block, position| block.prev(position))? {
            return Ok(true);
        }
        self.prev_block()
    }

    /// Nowhere, if the entry stood on is at or behind the upper bound.
    #[inline]
    fn heed_upper(&mut self, stands: bool) -> bool {
        let Some(upper) = self.upper.as_deref().filter(|_| stands) else { return stands };
        let is_inside = self.entry().is_some_and(|entry| entry.key < upper);
        if is_inside { true } else { self.clear() }
    }

    fn heed_lower(&mut self, stands: bool) -> bool {
        let Some(lower) = self.lower.as_deref().filter(|_| stands) else { return stands };
        let is_inside = self.entry().is_some_and(|entry| lower <= entry.key);
        if is_inside { true } else { self.clear() }
    }

    /// Stands on the last entry before (`key`, the newest version of it).
    fn seek_before(&mut self, key: &[u8]) -> Result<bool, TableError> {
        if self.seek_unbounded(key, SeqNo::MAX)? { self.prev_unbounded() } else { self.last_unbounded() }
    }

    fn last_unbounded(&mut self) -> Result<bool, TableError> {
        self.run = 0;
        self.position.clear();
        self.enter_back(self.table.segments().len())
    }
}

impl<S: BlockSource> Cursor for TableCursor<'_, S> {
    type Error = TableError;

    fn seek_to_first(&mut self) -> Result<bool, TableError> {
        let stands = match self.lower.take() {
            Some(lower) => {
                let stands = self.seek_unbounded(&lower, SeqNo::MAX);
                self.lower = Some(lower);
                stands?
            }
            None => {
                self.run = 0;
                self.position.clear();
                self.enter_front(0)?
            }
        };
        Ok(self.heed_upper(stands))
    }

    fn seek_to_last(&mut self) -> Result<bool, TableError> {
        let stands = match self.upper.take() {
            Some(upper) => {
                let stands = self.seek_before(&upper);
                self.upper = Some(upper);
                stands?
            }
            None => self.last_unbounded()?,
        };
        Ok(self.heed_lower(stands))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        if self.lower.as_deref().is_some_and(|lower| key < lower) {
            return self.seek_to_first();
        }
        let stands = self.seek_unbounded(key, at)?;
        Ok(self.heed_upper(stands))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        if self.upper.as_deref().is_some_and(|upper| upper <= key) {
            return self.seek_to_last();
        }
        let stands = if !self.seek_unbounded(key, at)? {
            self.last_unbounded()?
        } else if self.entry().is_some_and(|entry| entry.cmp_position(key, at).is_eq()) {
            true
        } else {
            self.prev_unbounded()?
        };
        Ok(self.heed_lower(stands))
    }

    #[inline]
    fn next(&mut self) -> Result<bool, TableError> {
        let stepped = Block::with(contents(self.lent, &self.source), self.shape).step(&mut self.position);
        if stepped && self.upper.is_none() { Ok(true) } else { self.next_in_full(stepped) }
    }

    fn walk(&mut self, mut each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, TableError> {
        if self.upper.is_some() {
            return self.walk_to_bound(each);
        }
        loop {
            // What the block is, is looked up once for all its entries.
            let block = Block::with(contents(self.lent, &self.source), self.shape);
            let soon = if self.lent.is_some() { self.lent_next } else { self.source.soon() };
            if !block.walk(&mut self.position, soon, &mut each) {
                return Ok(true);
            }
            if !self.next_in_full(false)? {
                return Ok(false);
            }
        }
    }

    fn prev(&mut self) -> Result<bool, TableError> {
        if !self.position.is_valid() {
            return Ok(false);
        }
        let stands = self.prev_unbounded()?;
        Ok(self.heed_lower(stands))
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        self.position.entry(contents(self.lent, &self.source))
    }
}

/// The contents of the block stood in: `lent`, or what `source` holds.
#[inline]
fn contents<'a, S: BlockSource>(lent: Option<&'a [u8]>, source: &'a S) -> &'a [u8] {
    match lent {
        Some(lent) if S::WANTS_MAPPED => lent,
        _ => source.bytes(),
    }
}
