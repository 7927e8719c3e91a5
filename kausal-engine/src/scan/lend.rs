//! A walk that shows entries where they lie: in blocks of the cache, without copying them.
//!
//! What it is shown to may take its time, and may write: so no memtable is held meanwhile, or a writer could wait for it. One visit
//! goes like this:
//! 1. Within the view, what the memtables have next is copied into a chunk, tombstones included, and the version is counted.
//! 2. Outside of it, that chunk and the version's tables are merged, as far as the chunk is complete. A block of each table is
//!    pinned, or in a buffer of the walk's.
//!
//! The next visit begins behind the last key of this one, in whatever view is current then, so a long walk keeps neither old files
//! nor blocks. Where memory is short, or memtables have range tombstones, which do not fit into a chunk, a visit copies everything
//! as a cursor does.
//!
//! A snapshot sees nothing in a memtable that is older than what it sees of the same key in a table. So a copy may stand in the
//! merge as the newest version that the snapshot could see.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use kausal_index::{BlockIndex, Cursor as EntryCursor, EntryRef, Kind, SeqNo};
use kausal_sstable::{CachedBlocks, TableError};

use super::Cursor;
use super::chunk::Chunk;
use super::fill::{Direction, FillError, Filling, From, Held, Walk, is_hidden, tables, walk_merged};
use super::range::KeyRange;
use crate::blob::BlobRef;
use crate::error::Error;
use crate::read::Cover;
use crate::source::Source;
use crate::version::Version;

/// Keys of one visit at most.
const VISIT_KEYS_MAX: usize = 4096;

/// An entry that a walk shows where it lies, for the length of a call.
#[derive(Clone, Copy, Debug)]
pub struct Lent<'e> {
    key: &'e [u8],
    kind: Kind,
    value: &'e [u8],
}

impl<'e> Lent<'e> {
    /// The key.
    #[inline]
    pub fn key(&self) -> &'e [u8] {
        self.key
    }

    /// The value, unless it is so large that it has to be read by [`Cursor::value_reader`].
    #[inline]
    pub fn value(&self) -> Option<&'e [u8]> {
        (self.kind == Kind::Put).then_some(self.value)
    }

    /// Length of the value, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        match self.kind {
            Kind::Blob => BlobRef::from_bytes(self.value).map(|reference| reference.len),
            _ => Some(self.value.len() as u64),
        }
    }
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// With the range.
    Complete,
    /// `each` wanted no more.
    Stopped,
    /// There may be more behind the last key.
    Partial,
    /// Not at all: memtables hide by ranges what lies in tables.
    Hidden,
}

impl<I: BlockIndex + 'static> Cursor<I> {
    /// Shows `each` the entries of the range in order, where they lie, until it breaks off. Answers whether it has seen all of them.
    ///
    /// What [`seek_to_first`](Self::seek_to_first) and [`next`](Self::next) do, for whoever needs an entry no longer than for a
    /// look at it: entries of tables are not copied, so a walk costs about half. `each` may do whatever it likes, writes
    /// included; as long as it does, the walk keeps a block of each table, and no memtable. The cursor stands nowhere
    /// afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// # use kausal_engine::{KeyRange, Options, StorageEngine};
    /// # let directory = tempfile::tempdir()?;
    /// # let db: StorageEngine = StorageEngine::open(directory.path(), Options::new())?;
    /// # for fruit in ["apple", "fig", "grape"] { db.put(fruit.as_bytes(), b"sweet")?; }
    /// let mut bytes = 0;
    /// let all = db.cursor(KeyRange::all())?.walk(|entry| {
    ///     bytes += entry.key().len();
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(all && bytes == 13);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first). Entries may have been shown before.
    pub fn walk(&mut self, each: impl FnMut(Lent<'_>) -> ControlFlow<()>) -> Result<bool, Error> {
        self.lend(None, each)
    }

    /// [`walk`](Self::walk) over the keys at and after `key`.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first). Entries may have been shown before.
    pub fn walk_from(
        &mut self,
        key: &[u8],
        each: impl FnMut(Lent<'_>) -> ControlFlow<()>,
    ) -> Result<bool, Error> {
        self.lend(Some(key), each)
    }

    fn lend(
        &mut self,
        start: Option<&[u8]>,
        mut each: impl FnMut(Lent<'_>) -> ControlFlow<()>,
    ) -> Result<bool, Error> {
        self.chunk.turn();
        self.fresh.turn();
        // Behind this key the next visit begins, once there was one.
        let mut parked = std::mem::take(&mut self.parked);
        let (mut is_parked, mut is_copying) = (false, false);
        let ended = loop {
            let from = match start {
                _ if is_parked => From::Beyond(&parked),
                Some(key) => From::At(key),
                None => From::Edge,
            };
            let visited =
                if is_copying { self.visit_copies(from, &mut each) } else { self.visit(from, &mut each) };
            if let Some(key) = self.chunk.decided_key() {
                is_parked = true;
                parked.clear();
                parked.extend_from_slice(key);
            }
            is_copying = match visited {
                Ok(Visit::Complete) => break Ok(true),
                Ok(Visit::Stopped) => break Ok(false),
                Ok(Visit::Partial) => false,
                Ok(Visit::Hidden) => true,
                Err(error) if error.is_for_want_of_memory() && !is_copying => true,
                Err(error) => break Err(error.into_error(&self.core)),
            };
            self.fresh.go_on();
        };
        // Nowhere.
        self.chunk.clear();
        (self.place, self.is_last, self.has_failed) = (0, true, false);
        self.parked = parked;
        ended
    }

    /// Shows what lies in tables where it lies.
    fn visit(
        &mut self,
        from: From<'_>,
        each: &mut impl FnMut(Lent<'_>) -> ControlFlow<()>,
    ) -> Result<Visit, FillError> {
        self.chunk.clear();
        let Some((version, is_complete)) = self.copy_fresh(from)? else { return Ok(Visit::Hidden) };
        let (core, keyspace, at) = (&self.core, self.keyspace, self.snapshot.seqno());
        let tree = version.tree(keyspace).ok_or(Error::NoKeyspace { keyspace })?;
        let blocks = || CachedBlocks::new(&*core.plan.cache, &core.walk_buffers);
        let mut held = Held::new();
        if !self.fresh.is_empty() {
            held.push(Source::Memtable(Copies { chunk: &self.fresh, at, place: usize::MAX }));
        }
        held.extend(tables(tree, &blocks));
        let covers: Vec<Cover<'_>> = Cover::of_tables(tree).collect();
        // Of the memtables nothing is known behind the last copy.
        let edge = self.fresh.last_key().filter(|_| !is_complete);
        let chunk = &mut self.chunk;
        let showing = Showing { at, range: &self.range, covers: &covers, edge, chunk, each };
        walk_merged(&mut held, self.range.forward_start(from), &mut self.merge_memory, showing)
    }
}

impl<I: BlockIndex + 'static> Cursor<I> {
    /// Copies what comes next of the memtables. Answers what tables there were then, and whether the memtables have no more; `None`
    /// if they have range tombstones.
    fn copy_fresh(&mut self, from: From<'_>) -> Result<Option<(Arc<Version>, bool)>, FillError> {
        self.fresh.clear();
        let filling = Filling {
            core: &self.core,
            keyspace: self.keyspace,
            at: self.snapshot.seqno(),
            range: &self.range,
            direction: Direction::Forward,
            keeps_tombstones: true,
            chunk: &mut self.fresh,
            merge_memory: &mut self.merge_memory,
        };
        let keyspace = self.keyspace;
        self.core.read_view(|view| {
            let mut parts = view.memtables().filter_map(|memtable| memtable.keyspace(keyspace));
            if parts.any(|part| !part.range_tombstones().is_empty()) {
                return Ok(None);
            }
            let is_complete = filling.fill_from_memtables(view, from)?;
            Ok(Some((Arc::clone(&view.version), is_complete)))
        })
    }

    /// Copies a chunk, and shows that.
    #[cold]
    fn visit_copies(
        &mut self,
        from: From<'_>,
        each: &mut impl FnMut(Lent<'_>) -> ControlFlow<()>,
    ) -> Result<Visit, FillError> {
        self.chunk.go_on();
        self.fetch(Direction::Forward, from)?;
        for place in 0..self.chunk.len() {
            let Some((key, (kind, value))) = self.chunk.key(place).zip(self.chunk.value(place)) else {
                break;
            };
            if each(Lent { key, kind, value }).is_break() {
                return Ok(Visit::Stopped);
            }
        }
        Ok(if self.is_last { Visit::Complete } else { Visit::Partial })
    }
}

/// Shows what a merge has.
struct Showing<'w, 'v, F> {
    at: SeqNo,
    range: &'w KeyRange,
    covers: &'w [Cover<'v>],
    /// The last key that the merge has all of; `None` if it is complete.
    edge: Option<&'w [u8]>,
    /// Remembers which key was decided last.
    chunk: &'w mut Chunk,
    each: &'w mut F,
}

impl<F: FnMut(Lent<'_>) -> ControlFlow<()>> Walk for Showing<'_, '_, F> {
    type End = Visit;

    fn walk<C>(self, merge: &mut C, stands: Option<bool>) -> Result<Visit, FillError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let Self { at, range, covers, edge, chunk, each } = self;
        let end = if edge.is_none() { Visit::Complete } else { Visit::Partial };
        if !stands.map_or_else(|| merge.seek_to_first(), Ok)? {
            return Ok(end);
        }
        let (mut left, mut ended) = (VISIT_KEYS_MAX, end);
        merge.walk(|entry| {
            if !range.admits_from_above(entry.key) {
                ended = Visit::Complete;
                return false;
            }
            if edge.is_some_and(|edge| edge < entry.key) {
                return false;
            }
            if entry.seqno > at || chunk.is_decided(entry.key) {
                return true;
            }
            if left == 0 {
                ended = Visit::Partial;
                return false;
            }
            left -= 1;
            chunk.pass(entry.key);
            if entry.kind == Kind::Delete || is_hidden(covers, entry, at) {
                return true;
            }
            if each(Lent { key: entry.key, kind: entry.kind, value: entry.value }).is_break() {
                ended = Visit::Stopped;
            }
            ended != Visit::Stopped
        })?;
        Ok(ended)
    }
}

/// A walk over copies of what memtables had, each the newest version that the snapshot sees.
struct Copies<'c> {
    chunk: &'c Chunk,
    at: SeqNo,
    /// Past the last one, nowhere.
    place: usize,
}

impl Copies<'_> {
    /// Stands at `place`, if that is one.
    fn stand(&mut self, place: Option<usize>) -> Result<bool, Infallible> {
        self.place = place.unwrap_or(usize::MAX);
        Ok(self.place < self.chunk.len())
    }

    /// How many copies come before (`key`, `at`), or are that.
    fn count_before(&self, key: &[u8], at: SeqNo, or_same: bool) -> usize {
        let is_before = |place: usize| match self.chunk.key(place).cmp(&Some(key)) {
            Ordering::Less => true,
            Ordering::Equal => self.at > at || or_same && self.at == at,
            Ordering::Greater => false,
        };
        let (mut low, mut high) = (0, self.chunk.len());
        while low < high {
            let middle = low.midpoint(high);
            (low, high) = if is_before(middle) { (middle + 1, high) } else { (low, middle) };
        }
        low
    }
}

impl EntryCursor for Copies<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.stand(Some(0))
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.stand(self.chunk.len().checked_sub(1))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand(Some(self.count_before(key, at, false)))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand(self.count_before(key, at, true).checked_sub(1))
    }

    #[inline]
    fn next(&mut self) -> Result<bool, Infallible> {
        self.stand(Some(self.place.saturating_add(1)))
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        let is_there = self.place < self.chunk.len();
        self.stand(self.place.checked_sub(1).filter(|_| is_there))
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let (key, (kind, value)) = self.chunk.key(self.place).zip(self.chunk.value(self.place))?;
        Some(EntryRef { key, seqno: self.at, kind, value })
    }
}
