//! Cursors over the database: what a snapshot sees, in key order, forward and backward.
//!
//! A cursor pins nothing between calls. It fetches a chunk of entries in one visit to the current view, copies them into
//! its own buffer, and parks at a key; the next chunk begins there, in whatever view is current then. The cursor's
//! snapshot makes all of them the same moment. Chunks grow, so a short scan reads little and a long one seeks rarely; the
//! first one is as long as the walks before it were, 16 entries at most.
//!
//! 1. `chunk`: what was copied. 2. `fill`: how it gets there. 3. `narrow`: the same where memory is short: a walk is not refused
//!    for want of more than a look-up needs. 4. `lend`: a walk that shows entries where they lie, beside
//!    copies of those in memtables, `fresh`.

mod chunk;
mod fill;
mod fresh;
mod lend;
mod narrow;
mod range;
mod value;

pub use lend::Lent;
pub use range::KeyRange;
pub use value::ValueReader;

use std::fmt;
use std::sync::Arc;

use kausal_index::{BlockIndex, Kind};
use kausal_sstable::MergeMemory;

use self::chunk::Chunk;
use self::fill::{Direction, Filling, From};
use self::fresh::Fresh;
use crate::blob::BlobRef;
use crate::core::Core;
use crate::engine::DefaultIndex;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::planted::is_planted;
use crate::snapshot::Snapshot;

/// An owned, `'static` walk over a snapshot.
pub struct Cursor<I: BlockIndex = DefaultIndex> {
    core: Arc<Core<I>>,
    keyspace: KeyspaceId,
    snapshot: Snapshot,
    range: KeyRange,
    direction: Direction,
    chunk: Chunk,
    /// The entry of the chunk stood on; beyond the end, nowhere.
    place: usize,
    /// Whether the chunk reaches the end of the range in its direction.
    is_last: bool,
    /// Whether the last move ended with an error: only a seek can be right then.
    has_failed: bool,
    /// Kept from chunk to chunk, so that a warm cursor allocates nothing: the key that the next chunk begins behind, what a
    /// merge needs, and what memtables have where entries are lent.
    parked: Vec<u8>,
    merge_memory: MergeMemory,
    fresh: Fresh,
}

impl<I: BlockIndex + 'static> Cursor<I> {
    pub(crate) fn new(
        core: &Arc<Core<I>>,
        keyspace: KeyspaceId,
        snapshot: Snapshot,
        range: KeyRange,
    ) -> Result<Self, Error> {
        let charge = || core.plan.cursors.reserve(0);
        Ok(Self {
            core: Arc::clone(core),
            keyspace,
            snapshot,
            range,
            direction: Direction::Forward,
            chunk: Chunk::new(charge()?),
            place: 0,
            is_last: true,
            has_failed: false,
            parked: Vec::new(),
            merge_memory: MergeMemory::default(),
            fresh: Fresh::new(charge()?),
        })
    }

    /// Stands on the first key of the range. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::MemoryBudget`].
    pub fn seek_to_first(&mut self) -> Result<bool, Error> {
        self.chunk.begin_walk(self.place);
        self.fetch(Direction::Forward, From::Edge)
    }

    /// Stands on the last key of the range. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_to_last(&mut self) -> Result<bool, Error> {
        self.chunk.begin_walk(self.place);
        self.fetch(Direction::Backward, From::Edge)
    }

    /// Stands on the first key of the range at or after `key`. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.chunk.begin_walk(self.place);
        self.fetch(Direction::Forward, From::At(key))
    }

    /// Stands on the last key of the range at or before `key`. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.chunk.begin_walk(self.place);
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
        if self.direction == Direction::Forward && self.place + 1 < self.chunk.len() {
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
        self.chunk.key(self.place)
    }

    /// The value stood on, unless it is so large that it has to be read by [`value_reader`](Self::value_reader).
    pub fn value(&self) -> Option<&[u8]> {
        let (kind, value) = self.chunk.value(self.place)?;
        (kind == Kind::Put).then_some(value)
    }

    /// Length of the value stood on, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        match self.chunk.value(self.place)? {
            (Kind::Blob, value) => BlobRef::from_bytes(value).map(|reference| reference.len),
            (_, value) => Some(value.len() as u64),
        }
    }

    /// Reads the value stood on from front to back, however large.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::InvalidArgument`] if the cursor stands nowhere.
    pub fn value_reader(&self) -> Result<ValueReader, Error> {
        let entry = self.chunk.value(self.place);
        let (kind, value) = entry.ok_or_else(|| Error::invalid("the cursor stands nowhere"))?;
        match kind {
            Kind::Blob => self.core.read_view(|view| self.core.open_blob(view, value)).map(ValueReader::blob),
            _ => Ok(ValueReader::inline(value.to_vec())),
        }
    }

    fn step(&mut self, direction: Direction) -> Result<bool, Error> {
        if self.has_failed {
            return Err(Error::invalid("the cursor stands nowhere since its last move failed: seek first"));
        }
        if self.place >= self.chunk.len() {
            return Ok(false);
        }
        if direction == self.direction && self.place + 1 < self.chunk.len() {
            self.place += 1;
            return Ok(true);
        }
        if direction == self.direction && self.is_last {
            self.place = self.chunk.len();
            return Ok(false);
        }
        let mut parked = std::mem::take(&mut self.parked);
        parked.clear();
        parked.extend_from_slice(self.chunk.key(self.place).unwrap_or_default());
        if direction == self.direction {
            self.chunk.go_on();
        } else {
            self.chunk.turn();
        }
        let fetched = self.fetch(direction, From::Beyond(&parked));
        self.parked = parked;
        fetched
    }

    fn fetch(&mut self, direction: Direction, from: From<'_>) -> Result<bool, Error> {
        self.direction = direction;
        self.chunk.clear();
        self.place = 0;
        if is_planted("cursor_keeps_view") {
            std::mem::forget(self.core.view());
        }
        let filling = Filling {
            core: &self.core,
            keyspace: self.keyspace,
            at: self.snapshot.seqno(),
            range: &self.range,
            direction,
            keeps_tombstones: false,
            chunk: &mut self.chunk,
            merge_memory: &mut self.merge_memory,
        };
        self.core.metrics.count_visit();
        let filled = self.core.read_view(|view| filling.fill(view, from));
        self.has_failed = filled.is_err();
        self.is_last = filled.map_err(|error| {
            // A part of a chunk is no place to go on from.
            self.chunk.clear();
            error.into_error(&self.core)
        })?;
        Ok(!self.chunk.is_empty())
    }
}

impl<I: BlockIndex> fmt::Debug for Cursor<I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cursor").field("snapshot", &self.snapshot.seqno()).finish_non_exhaustive()
    }
}
