//! A walk that shows entries where they lie: in blocks of the cache, without copying them.
//!
//! What it is shown to may take its time, and may write: so no memtable is held meanwhile, or a writer could wait for it. A visit
//! merges copies of what the memtables have next, a few at a time (`fresh`), with the tables of one version. A block of each table is
//! pinned, or in a buffer of the walk's.
//!
//! The next visit begins behind the last key of this one, in whatever view is current then, so a long walk keeps neither old files
//! nor blocks. Where memory is short, or memtables have range tombstones, a visit copies everything as a cursor does.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use kausal_index::{BlockIndex, Cursor as EntryCursor, Kind, SeqNo};
use kausal_sstable::{CachedBlocks, TableError};

use super::Cursor;
use super::chunk::Chunk;
use super::fill::{Direction, FillError, From, Held, Walk, is_hidden, tables, walk_merged};
use super::fresh::Memtables;
use super::range::KeyRange;
use crate::blob::BlobRef;
use crate::error::Error;
use crate::read::Cover;
use crate::source::Source;

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
    /// look at it: entries of tables are not copied, so a walk costs half to three quarters. `each` may do whatever it likes, writes
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
        self.fresh.begin_walk();
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
        let (core, keyspace, at) = (&self.core, self.keyspace, self.snapshot.seqno());
        let edge = OnceCell::new();
        let memtables = Memtables { core, keyspace, at, range: &self.range, edge: &edge };
        let Some((version, is_complete)) = memtables.copy(&mut self.fresh, from)? else {
            return Ok(Visit::Hidden);
        };
        let copies = memtables.walk(&mut self.fresh, &version, is_complete);
        let tree = version.tree(keyspace).ok_or(Error::NoKeyspace { keyspace })?;
        let blocks = || CachedBlocks::new(&*core.plan.cache, &core.walk_buffers);
        let mut held = Held::new();
        if !copies.is_empty() {
            held.push(Source::Memtable(copies));
        }
        held.extend(tables(tree, &blocks));
        let covers: Vec<Cover<'_>> = Cover::of_tables(tree).collect();
        let chunk = &mut self.chunk;
        let showing = Showing { at, range: &self.range, covers: &covers, edge: &edge, chunk, each };
        walk_merged(&mut held, self.range.forward_start(from), &mut self.merge_memory, showing)
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
    /// The last key that the merge has all of, once it is known that this is not the last of all.
    edge: &'w OnceCell<Vec<u8>>,
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
        if !stands.map_or_else(|| merge.seek_to_first(), Ok)? {
            return Ok(Visit::Complete);
        }
        let (mut left, mut ended) = (VISIT_KEYS_MAX, None);
        merge.walk(|entry| {
            if !range.admits_from_above(entry.key) {
                ended = Some(Visit::Complete);
                return false;
            }
            if edge.get().is_some_and(|edge| edge.as_slice() < entry.key) {
                return false;
            }
            if entry.seqno > at || chunk.is_decided(entry.key) {
                return true;
            }
            if left == 0 {
                ended = Some(Visit::Partial);
                return false;
            }
            left -= 1;
            chunk.pass(entry.key);
            if entry.kind == Kind::Delete || is_hidden(covers, entry, at) {
                return true;
            }
            if each(Lent { key: entry.key, kind: entry.kind, value: entry.value }).is_break() {
                ended = Some(Visit::Stopped);
            }
            ended.is_none()
        })?;
        Ok(ended.unwrap_or(if edge.get().is_none() { Visit::Complete } else { Visit::Partial }))
    }
}
