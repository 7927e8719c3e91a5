//! Filling a chunk: what comes next of all that a snapshot sees in a view, copied.
//!
//! It holds a block of every table of level 0 and of every level below while it does. Where there is no memory for that,
//! the chunk ends early; if it is empty, it is filled `narrow`ly.

use std::convert::Infallible;
use std::ops::Bound;

use kausal_index::{BlockIndex, Cursor as EntryCursor, EntryRef, Kind, SeqNo};
use kausal_sstable::{
    BlockCache, BlockSource, BufferPool, CachedBlocks, MergeMemory, MergingCursor, RunCursor, TableError,
};
use smallvec::SmallVec;

use super::chunk::Chunk;
use super::range::KeyRange;
use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::read::{Cover, View};
use crate::source::{Source, seek_together};
use crate::version::Tree;

/// Sources of a merge that need no allocation for their list: memtables, a due level 0 and every level below.
const SOURCES_INLINE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// Where a chunk begins.
#[derive(Clone, Copy)]
pub(super) enum From<'k> {
    Edge,
    /// At this key or beyond it.
    At(&'k [u8]),
    /// Beyond this key.
    Beyond(&'k [u8]),
}

/// A chunk that is being filled.
pub(super) struct Filling<'c, I: BlockIndex> {
    pub(super) core: &'c Core<I>,
    pub(super) keyspace: KeyspaceId,
    /// The snapshot's moment.
    pub(super) at: SeqNo,
    pub(super) range: &'c KeyRange,
    pub(super) direction: Direction,
    /// Forward only.
    pub(super) keeps_tombstones: bool,
    /// Empty at first.
    pub(super) chunk: &'c mut Chunk,
    pub(super) merge_memory: &'c mut MergeMemory,
}

impl<I: BlockIndex + 'static> Filling<'_, I> {
    /// Keeps what comes next of all that the snapshot sees in `view`. Answers whether that reaches the end of the range.
    pub(super) fn fill(mut self, view: &View<I>, from: From<'_>) -> Result<bool, FillError> {
        match self.fill_from_merge(view, from) {
            Err(error) if error.is_for_want_of_memory() => {}
            filled => return filled,
        }
        // What is in the chunk was complete before memory ran out.
        if self.chunk.is_empty() { self.fill_narrowly(view, from) } else { Ok(false) }
    }

    /// Walks the merge of everything in `view`.
    fn fill_from_merge(&mut self, view: &View<I>, from: From<'_>) -> Result<bool, FillError> {
        let core = self.core;
        let blocks = || CachedBlocks::new(&*core.plan.cache, &core.walk_buffers);
        let covers = view.covers(self.keyspace);
        // One by one into their place: a list of twelve that is moved about costs more than a seek.
        let mut held = Held::new();
        for source in sources(view, self.keyspace, &blocks)? {
            held.push(source?);
        }
        self.fill_from(&mut held, &covers, from)
    }

    /// Keeps what comes next, forward, in the memtables of `view` alone, tombstones included. Answers whether that is all they have
    /// in the range.
    pub(super) fn fill_from_memtables(mut self, view: &View<I>, from: From<'_>) -> Result<bool, FillError> {
        let mut held = Held::<_, CachedBlocks<&BlockCache, &BufferPool>>::new();
        for source in memtables(view, self.keyspace) {
            held.push(source?);
        }
        if held.is_empty() {
            return Ok(true);
        }
        self.fill_from(&mut held, &[], from)
    }

    fn fill_from<M, S>(
        &mut self,
        held: &mut Held<'_, M, S>,
        covers: &[Cover<'_>],
        from: From<'_>,
    ) -> Result<bool, FillError>
    where
        M: EntryCursor<Error = Infallible>,
        S: BlockSource,
    {
        let range = self.range;
        let is_forward = self.direction == Direction::Forward;
        let start = if is_forward { range.forward_start(from) } else { None };
        let mut memory = std::mem::take(self.merge_memory);
        let filled = walk_merged(held, start, &mut memory, Fill { filling: self, covers, from });
        *self.merge_memory = memory;
        filled
    }

    pub(super) fn seek_backward<C>(&self, merge: &mut C, from: From<'_>) -> Result<bool, TableError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let start = match from {
            From::At(key) if self.range.admits_from_above(key) => {
                return merge.seek_for_prev(key, SeqNo::ZERO);
            }
            // A version at the largest number would be the first of its key: strictly before the key begins.
            From::Beyond(key) => return seek_before(merge, key),
            _ => &self.range.upper,
        };
        match start {
            Bound::Included(key) => merge.seek_for_prev(key, SeqNo::ZERO),
            Bound::Excluded(key) => seek_before(merge, key),
            Bound::Unbounded => merge.seek_to_last(),
        }
    }

    fn fill_forward<C>(&mut self, merge: &mut C, covers: &[Cover<'_>], more: bool) -> Result<bool, FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        if !more {
            return Ok(true);
        }
        let (at, range, keeps_tombstones) = (self.at, self.range, self.keeps_tombstones);
        let chunk = &mut *self.chunk;
        let (mut is_last, mut refused) = (true, None);
        merge.walk(|entry| {
            if !range.admits_from_above(entry.key) {
                return false;
            }
            if entry.seqno > at || chunk.is_decided(entry.key) {
                return true;
            }
            if entry.kind == Kind::Delete && !keeps_tombstones || is_hidden(covers, entry, at) {
                chunk.pass(entry.key);
                return true;
            }
            match chunk.push(entry) {
                Ok(is_in) => {
                    is_last = is_in && !chunk.is_full();
                    is_last
                }
                Err(error) => {
                    refused = Some(error);
                    false
                }
            }
        })?;
        refused.map_or(Ok(is_last), Err)
    }

    /// Versions come oldest first here, so a key is decided when the next one begins.
    fn fill_backward<C>(
        &mut self,
        merge: &mut C,
        covers: &[Cover<'_>],
        mut more: bool,
    ) -> Result<bool, FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let at = self.at;
        let mut newest: Option<kausal_index::Entry> = None;
        while more {
            let Some(entry) = merge.entry() else { break };
            if newest.as_ref().is_some_and(|newest| newest.key != entry.key)
                && (!self.decide(covers, newest.take())? || self.chunk.is_full())
            {
                return Ok(false);
            }
            if !self.range.admits_from_below(entry.key) {
                break;
            }
            if entry.seqno <= at {
                newest = Some(entry.to_owned());
            }
            more = merge.prev()?;
        }
        self.decide(covers, newest)
    }

    /// Keeps the newest version of a key if it is a value. Answers `false` if the chunk has to end before it.
    fn decide(
        &mut self,
        covers: &[Cover<'_>],
        newest: Option<kausal_index::Entry>,
    ) -> Result<bool, FillError> {
        let Some(entry) = newest else { return Ok(true) };
        let is_there = entry.kind != Kind::Delete && !is_hidden(covers, entry.as_ref(), self.at);
        if is_there { self.chunk.push(entry.as_ref()) } else { Ok(true) }
    }
}

/// Fills a chunk from a merge.
struct Fill<'f, 'c, 'v, I: BlockIndex> {
    filling: &'f mut Filling<'c, I>,
    covers: &'f [Cover<'v>],
    from: From<'f>,
}

impl<I: BlockIndex + 'static> Walk for Fill<'_, '_, '_, I> {
    type End = bool;

    fn walk<C>(self, merge: &mut C, stands: Option<bool>) -> Result<bool, FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let Self { filling, covers, from } = self;
        match filling.direction {
            Direction::Forward => {
                let more = stands.map_or_else(|| merge.seek_to_first(), Ok)?;
                filling.fill_forward(merge, covers, more)
            }
            Direction::Backward => {
                let more = filling.seek_backward(merge, from)?;
                filling.fill_backward(merge, covers, more)
            }
        }
    }
}

/// What is done with a merge, or with the only source there is.
pub(super) trait Walk {
    type End;

    /// `stands` says whether `merge` was sought to where the walk begins, and if it was, whether anything is there.
    fn walk<C>(self, merge: &mut C, stands: Option<bool>) -> Result<Self::End, FillError>
    where
        C: EntryCursor<Error = TableError>;
}

/// The sources of a merge.
pub(super) type Held<'v, M, S> = SmallVec<[Source<'v, M, S>; SOURCES_INLINE]>;

/// Seeks `start` with each of `held`, if there is one, and lets `walk` go on from there.
#[inline]
pub(super) fn walk_merged<M, S, W>(
    held: &mut Held<'_, M, S>,
    start: Option<(&[u8], SeqNo)>,
    memory: &mut MergeMemory,
    walk: W,
) -> Result<W::End, FillError>
where
    M: EntryCursor<Error = Infallible>,
    S: BlockSource,
    W: Walk,
{
    if let Some((key, at)) = start {
        seek_together(held, key, at)?;
    }
    if let [source] = &mut held[..] {
        let stands = start.map(|_| source.entry().is_some());
        return walk.walk(source, stands);
    }
    let mut merge = MergingCursor::with_memory(&mut held[..], std::mem::take(memory));
    let stands = start.map(|_| merge.begin_forward());
    let walked = walk.walk(&mut merge, stands);
    *memory = merge.into_memory();
    walked
}

/// Whether a range tombstone at or below `at` is newer than the entry it covers.
#[inline]
pub(super) fn is_hidden(covers: &[Cover<'_>], entry: EntryRef<'_>, at: SeqNo) -> bool {
    covers.iter().filter_map(|cover| cover.covering(entry.key, at)).any(|seqno| seqno > entry.seqno)
}

/// The last entry of all keys before `key`.
fn seek_before<C: kausal_index::Cursor>(merge: &mut C, key: &[u8]) -> Result<bool, C::Error> {
    let mut stands = merge.seek_for_prev(key, SeqNo::MAX)?;
    while stands && merge.entry().is_some_and(|entry| entry.key == key) {
        stands = merge.prev()?;
    }
    Ok(stands)
}

/// Cursors over everything in `view` that may hold entries of the keyspace, the newest first, each made when it is asked for.
pub(super) fn sources<'v, I: BlockIndex, S: BlockSource>(
    view: &'v View<I>,
    keyspace: KeyspaceId,
    blocks: impl Fn() -> S + Copy,
) -> Result<impl Iterator<Item = Result<Source<'v, impl EntryCursor<Error = Infallible>, S>, Error>>, Error> {
    let tree = view.version.tree(keyspace).ok_or(Error::NoKeyspace { keyspace })?;
    Ok(memtables(view, keyspace).chain(tables(tree, blocks).map(Ok)))
}

/// Those of them that are memtables.
fn memtables<'v, I: BlockIndex, S: BlockSource>(
    view: &'v View<I>,
    keyspace: KeyspaceId,
) -> impl Iterator<Item = Result<Source<'v, impl EntryCursor<Error = Infallible>, S>, Error>> {
    let parts = view.memtables().filter_map(move |memtable| memtable.keyspace(keyspace));
    parts.filter(|part| !part.is_empty()).map(|part| Ok(Source::Memtable(part.cursor()?)))
}

/// Cursors over everything in `tree`, the newest first.
pub(super) fn tables<'v, M, S: BlockSource>(
    tree: &'v Tree,
    blocks: impl Fn() -> S + Copy,
) -> impl Iterator<Item = Source<'v, M, S>> {
    let fresh = tree.level(0).tables().iter().map(move |table| Source::Table(table.cursor_from(blocks())));
    let deeper = tree.deeper().filter(|level| !level.tables().is_empty());
    fresh.chain(deeper.map(move |level| Source::Run(RunCursor::from_source(level.tables(), blocks()))))
}

/// A table's error on its way to get its path.
pub(super) enum FillError {
    Table(TableError),
    Engine(Error),
}

impl FillError {
    pub(super) fn is_for_want_of_memory(&self) -> bool {
        matches!(self, Self::Table(TableError::Memory { .. }) | Self::Engine(Error::MemoryBudget(_)))
    }

    /// What the caller gets to see.
    pub(super) fn into_error<I: BlockIndex>(self, core: &Core<I>) -> Error {
        match self {
            Self::Table(error) => core.table_error(error),
            Self::Engine(error) => error,
        }
    }
}

impl std::convert::From<TableError> for FillError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl std::convert::From<Error> for FillError {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}
