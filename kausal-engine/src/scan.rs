//! Cursors over the database: what a snapshot sees, in key order, forward and backward.
//!
//! A cursor pins nothing between calls. It fetches a chunk of entries in one visit to the current view, copies them into
//! its own buffer, and parks at a key; the next chunk begins there, in whatever view is current then. The cursor's
//! snapshot makes all of them the same moment. Chunks grow from 16 entries, so a short scan reads little and a long
//! one seeks rarely.
//!
//! While it fetches it holds a block of every table of level 0 and of every level below. Where there is no memory for
//! that, the chunk ends early; if it is empty, it is filled `narrow`ly: a walk is not refused for want of more than a
//! look-up needs.

mod narrow;
mod range;
mod value;

pub use range::KeyRange;
pub use value::ValueReader;

use std::convert::Infallible;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::Arc;

use kausal_arena::Reservation;
use kausal_index::{BlockIndex, Cursor as EntryCursor, EntryRef, Kind, SeqNo};
use kausal_sstable::{BlockSource, CachedBlocks, MergeMemory, MergingCursor, RunCursor, TableError};
use smallvec::SmallVec;

use crate::blob::BlobRef;
use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::planted::is_planted;
use crate::read::{Cover, View};
use crate::snapshot::Snapshot;
use crate::source::{Source, seek_together};

/// A chunk ends at this many bytes, or entries.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Memory of the first chunk: a short walk asks for no more.
const CHUNK_BYTES_MIN: usize = 4 << 10;
const CHUNK_ENTRIES_MIN: usize = 16;
const CHUNK_ENTRIES_MAX: usize = 1024;

/// Sources of a merge that need no allocation for their list: memtables, a due level 0 and every level below.
const SOURCES_INLINE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// Where a chunk begins.
#[derive(Clone, Copy)]
enum From<'k> {
    Edge,
    /// At this key or beyond it.
    At(&'k [u8]),
    /// Beyond this key.
    Beyond(&'k [u8]),
}

/// One entry of a chunk: its key in the chunk's bytes, and its value behind that.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: u32,
    middle: u32,
    end: u32,
    kind: Kind,
}

impl Item {
    #[inline]
    fn key(self) -> Range<usize> {
        self.start as usize..self.middle as usize
    }

    #[inline]
    fn value(self) -> Range<usize> {
        self.middle as usize..self.end as usize
    }
}

/// The key whose newest version was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    None,
    /// It is that of the chunk's last item.
    Kept,
    /// It is gone, and lies apart.
    Apart,
}

/// An owned, `'static` walk over a snapshot.
pub struct Cursor<I: BlockIndex> {
    core: Arc<Core<I>>,
    keyspace: KeyspaceId,
    snapshot: Snapshot,
    range: KeyRange,
    direction: Direction,
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// The item stood on; beyond the end, nowhere.
    place: usize,
    /// Whether the chunk reaches the end of the range in its direction.
    is_last: bool,
    /// Whether the last move ended with an error: only a seek can be right then.
    has_failed: bool,
    entries_max: usize,
    /// Kept from chunk to chunk, so that a warm cursor allocates nothing: the key whose newest version was seen last and is gone,
    /// the key that the next chunk begins behind, and what a merge needs.
    decided: Vec<u8>,
    parked: Vec<u8>,
    merge_memory: MergeMemory,
    charge: Reservation,
}

impl<I: BlockIndex + 'static> Cursor<I> {
    pub(crate) fn new(
        core: &Arc<Core<I>>,
        keyspace: KeyspaceId,
        snapshot: Snapshot,
        range: KeyRange,
    ) -> Result<Self, Error> {
        let charge = core.plan.cursors.reserve(0)?;
        Ok(Self {
            core: Arc::clone(core),
            keyspace,
            snapshot,
            range,
            direction: Direction::Forward,
            bytes: Vec::new(),
            items: Vec::new(),
            place: 0,
            is_last: true,
            has_failed: false,
            entries_max: CHUNK_ENTRIES_MIN,
            decided: Vec::new(),
            parked: Vec::new(),
            merge_memory: MergeMemory::default(),
            charge,
        })
    }

    /// Stands on the first key of the range. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::MemoryBudget`].
    pub fn seek_to_first(&mut self) -> Result<bool, Error> {
        self.entries_max = CHUNK_ENTRIES_MIN;
        self.fetch(Direction::Forward, From::Edge)
    }

    /// Stands on the last key of the range. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_to_last(&mut self) -> Result<bool, Error> {
        self.entries_max = CHUNK_ENTRIES_MIN;
        self.fetch(Direction::Backward, From::Edge)
    }

    /// Stands on the first key of the range at or after `key`. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.entries_max = CHUNK_ENTRIES_MIN;
        self.fetch(Direction::Forward, From::At(key))
    }

    /// Stands on the last key of the range at or before `key`. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.entries_max = CHUNK_ENTRIES_MIN;
        self.fetch(Direction::Backward, From::At(key))
    }

    /// Moves to the following key. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    #[expect(clippy::should_implement_trait, reason = "a cursor lends; it is no Iterator")]
    #[inline]
    pub fn next(&mut self) -> Result<bool, Error> {
        if self.direction == Direction::Forward && self.place + 1 < self.items.len() {
            self.place += 1;
            return Ok(true);
        }
        self.step(Direction::Forward)
    }

    /// Moves to the preceding key. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn prev(&mut self) -> Result<bool, Error> {
        self.step(Direction::Backward)
    }

    /// The key stood on.
    pub fn key(&self) -> Option<&[u8]> {
        self.items.get(self.place).map(|item| &self.bytes[item.key()])
    }

    /// The value stood on, unless it is so large that it has to be read by [`value_reader`](Self::value_reader).
    pub fn value(&self) -> Option<&[u8]> {
        let item = self.items.get(self.place).filter(|item| item.kind == Kind::Put)?;
        Some(&self.bytes[item.value()])
    }

    /// Length of the value stood on, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        let item = self.items.get(self.place)?;
        match item.kind {
            Kind::Blob => BlobRef::from_bytes(&self.bytes[item.value()]).map(|reference| reference.len),
            _ => Some(item.value().len() as u64),
        }
    }

    /// Reads the value stood on from front to back, however large.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::InvalidArgument`] if the cursor stands nowhere.
    pub fn value_reader(&self) -> Result<ValueReader, Error> {
        let item = self.items.get(self.place).ok_or_else(|| Error::invalid("the cursor stands nowhere"))?;
        let value = &self.bytes[item.value()];
        match item.kind {
            Kind::Blob => self.core.read_view(|view| self.core.open_blob(view, value)).map(ValueReader::blob),
            _ => Ok(ValueReader::inline(value.to_vec())),
        }
    }

    fn step(&mut self, direction: Direction) -> Result<bool, Error> {
        if self.has_failed {
            return Err(Error::invalid("the cursor stands nowhere since its last move failed: seek first"));
        }
        if self.place >= self.items.len() {
            return Ok(false);
        }
        if direction == self.direction && self.place + 1 < self.items.len() {
            self.place += 1;
            return Ok(true);
        }
        if direction == self.direction && self.is_last {
            self.place = self.items.len();
            return Ok(false);
        }
        let mut parked = std::mem::take(&mut self.parked);
        parked.clear();
        parked.extend_from_slice(&self.bytes[self.items[self.place].key()]);
        if direction == self.direction {
            self.entries_max = (2 * self.entries_max).min(CHUNK_ENTRIES_MAX);
        } else {
            self.entries_max = CHUNK_ENTRIES_MIN;
        }
        let fetched = self.fetch(direction, From::Beyond(&parked));
        self.parked = parked;
        fetched
    }

    fn fetch(&mut self, direction: Direction, from: From<'_>) -> Result<bool, Error> {
        self.direction = direction;
        self.items.clear();
        self.bytes.clear();
        self.place = 0;
        self.is_last = true;
        let core = Arc::clone(&self.core);
        if is_planted("cursor_keeps_view") {
            std::mem::forget(core.view());
        }
        let filled = core.read_view(|view| self.fill(view, from));
        self.has_failed = filled.is_err();
        filled.map_err(|error| {
            // A part of a chunk is no place to go on from.
            self.items.clear();
            match error {
                FillError::Table(error) => core.table_error(error),
                FillError::Engine(error) => error,
            }
        })?;
        Ok(!self.items.is_empty())
    }

    /// Keeps what comes next of all that the snapshot sees in `view`.
    fn fill(&mut self, view: &View<I>, from: From<'_>) -> Result<(), FillError> {
        match self.fill_from_merge(view, from) {
            Err(error) if error.is_for_want_of_memory() => {}
            filled => return filled,
        }
        // What is in the chunk was complete before memory ran out.
        self.is_last = self.items.is_empty();
        if self.items.is_empty() { self.fill_narrowly(view, from) } else { Ok(()) }
    }

    /// Walks the merge of everything in `view`.
    fn fill_from_merge(&mut self, view: &View<I>, from: From<'_>) -> Result<(), FillError> {
        let core = Arc::clone(&self.core);
        let blocks = || CachedBlocks::new(&*core.plan.cache, &core.walk_buffers);
        let covers = view.covers(self.keyspace);
        // One by one into their place: a list of twelve that is moved about costs more than a seek.
        let mut held = SmallVec::<[_; SOURCES_INLINE]>::new();
        for source in sources(view, self.keyspace, &blocks)? {
            held.push(source?);
        }
        let stands = self.begin(&mut held, from)?;
        if let [source] = &mut held[..] {
            return self.fill_from(source, &covers, stands, from);
        }
        let mut merge = MergingCursor::with_memory(&mut held[..], std::mem::take(&mut self.merge_memory));
        let stands = stands.map(|_| merge.begin_forward());
        let filled = self.fill_from(&mut merge, &covers, stands, from);
        self.merge_memory = merge.into_memory();
        filled
    }

    /// Goes to where a chunk forward begins with every source by itself, unless that is the beginning of all. Answers whether
    /// the first of them stands on anything.
    fn begin<M, S>(
        &self,
        sources: &mut [Source<'_, M, S>],
        from: From<'_>,
    ) -> Result<Option<bool>, TableError>
    where
        M: EntryCursor<Error = Infallible>,
        S: BlockSource,
    {
        if self.direction == Direction::Backward {
            return Ok(None);
        }
        let Some((key, at)) = self.forward_start(from) else { return Ok(None) };
        seek_together(sources, key, at)?;
        Ok(Some(sources.first().is_some_and(|source| source.entry().is_some())))
    }

    /// Where a chunk forward begins, unless that is the beginning of all.
    fn forward_start<'s>(&'s self, from: From<'s>) -> Option<(&'s [u8], SeqNo)> {
        Some(match (from, &self.range.lower) {
            (From::At(key), _) if self.range.admits_from_below(key) => (key, SeqNo::MAX),
            // No entry has number zero, so this is behind every version of the key.
            (From::Beyond(key), _) => (key, SeqNo::ZERO),
            (_, Bound::Included(key)) => (key.as_slice(), SeqNo::MAX),
            (_, Bound::Excluded(key)) => (key.as_slice(), SeqNo::ZERO),
            (_, Bound::Unbounded) => return None,
        })
    }

    fn fill_from<C>(
        &mut self,
        merge: &mut C,
        covers: &[Cover<'_>],
        stands: Option<bool>,
        from: From<'_>,
    ) -> Result<(), FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        match self.direction {
            Direction::Forward => {
                let more = stands.map_or_else(|| merge.seek_to_first(), Ok)?;
                self.fill_forward(merge, covers, more)
            }
            Direction::Backward => {
                let more = self.seek_backward(merge, from)?;
                self.fill_backward(merge, covers, more)
            }
        }
    }

    fn seek_backward<C>(&self, merge: &mut C, from: From<'_>) -> Result<bool, TableError>
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

    fn fill_forward<C>(&mut self, merge: &mut C, covers: &[Cover<'_>], more: bool) -> Result<(), FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        if !more {
            return Ok(());
        }
        let at = self.snapshot.seqno();
        let mut decided = Decided::None;
        let mut refused = None;
        merge.walk(|entry| {
            if !self.range.admits_from_above(entry.key) {
                return false;
            }
            if entry.seqno > at || self.is_decided(decided, entry.key) {
                return true;
            }
            if self.is_full() {
                self.is_last = false;
                return false;
            }
            if entry.kind == Kind::Delete || is_hidden(covers, entry, at) {
                decided = Decided::Apart;
                self.decided.clear();
                self.decided.extend_from_slice(entry.key);
                return true;
            }
            match self.push(entry) {
                Ok(true) => decided = Decided::Kept,
                Ok(false) => {
                    self.is_last = false;
                    return false;
                }
                Err(error) => {
                    refused = Some(error);
                    return false;
                }
            }
            true
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Whether a newer version of `key` was met, which is right before it.
    #[inline]
    fn is_decided(&self, decided: Decided, key: &[u8]) -> bool {
        match decided {
            Decided::None => false,
            Decided::Kept => self.items.last().is_some_and(|item| is_same(&self.bytes[item.key()], key)),
            Decided::Apart => is_same(&self.decided, key),
        }
    }

    /// Versions come oldest first here, so a key is decided when the next one begins.
    fn fill_backward<C>(
        &mut self,
        merge: &mut C,
        covers: &[Cover<'_>],
        mut more: bool,
    ) -> Result<(), FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let at = self.snapshot.seqno();
        let mut newest: Option<kausal_index::Entry> = None;
        while more {
            let Some(entry) = merge.entry() else { break };
            if newest.as_ref().is_some_and(|newest| newest.key != entry.key)
                && (!self.decide(covers, newest.take())? || self.is_full())
            {
                self.is_last = false;
                return Ok(());
            }
            if !self.range.admits_from_below(entry.key) {
                break;
            }
            if entry.seqno <= at {
                newest = Some(entry.to_owned());
            }
            more = merge.prev()?;
        }
        self.is_last = self.decide(covers, newest)?;
        Ok(())
    }

    /// Keeps the newest version of a key if it is a value. Answers `false` if the chunk has to end before it.
    fn decide(
        &mut self,
        covers: &[Cover<'_>],
        newest: Option<kausal_index::Entry>,
    ) -> Result<bool, FillError> {
        let Some(entry) = newest else { return Ok(true) };
        let is_there =
            entry.kind != Kind::Delete && !is_hidden(covers, entry.as_ref(), self.snapshot.seqno());
        if is_there { self.push(entry.as_ref()) } else { Ok(true) }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.entries_max || self.bytes.len() >= CHUNK_BYTES_MAX
    }

    /// Copies an entry into the chunk. Answers `false` if memory is so short that the chunk has to end before it.
    #[inline]
    fn push(&mut self, entry: EntryRef<'_>) -> Result<bool, FillError> {
        let start = self.bytes.len();
        let end = start + entry.payload_bytes();
        if end > self.bytes.capacity() && !self.make_room(end)? {
            return Ok(false);
        }
        match <&[u8; 16]>::try_from(entry.key) {
            // Without a call.
            Ok(key) => self.bytes.extend_from_slice(key),
            Err(_) => self.bytes.extend_from_slice(entry.key),
        }
        let middle = self.bytes.len() as u32;
        self.bytes.extend_from_slice(entry.value);
        // An entry beside its key is shorter than a memtable's region, of which offsets are as short.
        let (start, end) = (start as u32, end as u32);
        self.items.push(Item { start, middle, end, kind: entry.kind });
        Ok(true)
    }

    /// Room for `needed` bytes of a chunk, charged. Answers `false` if memory is so short that the chunk has to end here.
    #[cold]
    fn make_room(&mut self, needed: usize) -> Result<bool, FillError> {
        let items = (self.items.capacity() + CHUNK_ENTRIES_MIN) * size_of::<Item>();
        let roomy = needed.max(2 * self.bytes.capacity()).max(CHUNK_BYTES_MIN);
        // Others may hold what a long chunk would need: a short one walks on all the same.
        let capacity = if self.charge.resize(roomy + items).is_ok() {
            roomy
        } else {
            match self.charge.resize(needed + items) {
                Ok(()) => needed,
                Err(_) if !self.items.is_empty() => return Ok(false),
                Err(error) => return Err(Error::from(error).into()),
            }
        };
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(true)
    }
}

/// Whether two keys are equal. Neighbours mostly differ in their first or last bytes, which are compared without a call.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let ends = |key: &[u8]| Some((*key.first_chunk::<8>()?, *key.last_chunk::<8>()?));
    match (ends(left), ends(right)) {
        // Of a key of sixteen bytes these are all.
        (Some(left_ends), Some(right_ends)) => left_ends == right_ends && (left.len() <= 16 || left == right),
        _ => left == right,
    }
}

/// Whether a range tombstone at or below `at` is newer than the entry it covers.
fn is_hidden(covers: &[Cover<'_>], entry: EntryRef<'_>, at: SeqNo) -> bool {
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
fn sources<'v, I: BlockIndex, S: BlockSource>(
    view: &'v View<I>,
    keyspace: KeyspaceId,
    blocks: impl Fn() -> S + Copy,
) -> Result<impl Iterator<Item = Result<Source<'v, impl EntryCursor<Error = Infallible>, S>, Error>>, Error> {
    let tree = view.version.tree(keyspace).ok_or(Error::NoKeyspace { keyspace })?;
    let parts = view.memtables().filter_map(move |memtable| memtable.keyspace(keyspace));
    let memtables = parts.filter(|part| !part.is_empty()).map(|part| Ok(Source::Memtable(part.cursor()?)));
    let fresh =
        tree.level(0).tables().iter().map(move |table| Ok(Source::Table(table.cursor_from(blocks()))));
    let deeper = tree.levels()[1..].iter().filter(|level| !level.tables().is_empty());
    let runs = deeper.map(move |level| Ok(Source::Run(RunCursor::from_source(level.tables(), blocks()))));
    Ok(memtables.chain(fresh).chain(runs))
}

/// A table's error on its way to get its path.
enum FillError {
    Table(TableError),
    Engine(Error),
}

impl FillError {
    fn is_for_want_of_memory(&self) -> bool {
        matches!(self, Self::Table(TableError::Memory { .. }) | Self::Engine(Error::MemoryBudget(_)))
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

impl<I: BlockIndex> fmt::Debug for Cursor<I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cursor").field("snapshot", &self.snapshot.seqno()).finish_non_exhaustive()
    }
}
