//! One memtable: an index over one generation of a region.
//!
//! 1. [`Memtable::permit`] reserves what a batch may need at most; the log record comes after it, the inserts after
//!    that, and they cannot fail for lack of room.
//! 2. Any number of threads may insert, each under a permit of its own, while any number read.
//! 3. Once frozen, nobody writes: a cursor shows the same entries for ever, and a flush writes them out.
//! 4. When the last reference goes, the region is back in its pool in O(1), whatever was in it.
//!
//! A memtable is full when its *capacity* is used, not when its live bytes are many: a key overwritten for ever
//! fills it like any other.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU8, Ordering};

use kausal_arena::{AllocError, Permit, PermitRefused, PermitsLive, Region};
use kausal_index::{BlockIndex, Cursor, EntryRef, IndexBytes, InsertError, SeqNo, Unordered};

/// Where a memtable stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Takes writes.
    Active,
    /// Takes no more writes; waits for its flush, or is being flushed.
    Frozen,
    /// Its entries are in tables; it lives on only for those who still read it.
    Released,
}

/// Entries in memory, with what the owner attached to the generation (a log's number, say).
#[derive(Debug)]
pub struct Memtable<I, A = ()> {
    // The index goes first: it leases the region.
    index: I,
    attached: A,
    stage: AtomicU8,
    region: Region,
}

impl<I: BlockIndex, A> Memtable<I, A> {
    /// An empty memtable in `region`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the region is too small even for an empty index.
    pub fn new(region: Region, attached: A) -> Result<Self, AllocError> {
        let index = I::create(region.lease(), &region.writer())?;
        Ok(Self { index, attached, stage: AtomicU8::new(Stage::Active as u8), region })
    }

    /// Reserves room for `entries` inserts with `payload_bytes` of keys and values between them.
    ///
    /// # Errors
    ///
    /// [`PermitRefused`]; nothing is reserved then. `Full` means: rotate and try the next memtable.
    pub fn permit(&self, entries: usize, payload_bytes: usize) -> Result<Permit, PermitRefused> {
        self.region.permit(I::bytes_max(entries, payload_bytes))
    }

    /// Adds one entry on the reservation of `permit`.
    ///
    /// # Errors
    ///
    /// [`InsertError`] if the permit did not cover it, or for a duplicate or an overlong key.
    ///
    /// # Panics
    ///
    /// If `permit` was minted by another memtable.
    pub fn insert(&self, permit: &Permit, entry: EntryRef<'_>) -> Result<(), InsertError> {
        assert_eq!(permit.generation(), self.region.generation(), "a permit of another memtable");
        self.index.insert(permit.pen(), entry)
    }

    /// The newest entry of `key` at or below `at`, tombstones included.
    pub fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.index.get(key, at)
    }

    /// An ordered walk over all entries.
    ///
    /// # Errors
    ///
    /// [`Unordered`] while the memtable is active, if its index keeps no order until it is frozen.
    pub fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        self.index.cursor()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What became of the index's bytes: live, dead, slack.
    pub fn bytes(&self) -> IndexBytes {
        self.index.bytes()
    }

    /// Bytes of the region in use: what decides when it is full.
    pub fn used_bytes(&self) -> usize {
        self.region.used()
    }

    /// Bytes the region has for entries.
    pub fn capacity_bytes(&self) -> usize {
        self.region.capacity()
    }

    /// Number of the region's generation.
    pub fn generation(&self) -> u64 {
        self.region.generation()
    }

    /// What the owner attached.
    pub fn attached(&self) -> &A {
        &self.attached
    }

    /// Where the memtable stands in its life.
    pub fn stage(&self) -> Stage {
        // Relaxed: a report; who needs the order takes the manager's lock.
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Active,
            1 => Stage::Frozen,
            _ => Stage::Released,
        }
    }

    /// Stops writes: mints no more permits, and once the last one has ended prepares the index for its walk.
    pub(crate) fn freeze(&self) -> Result<(), FreezeRefused> {
        self.region.freeze()?;
        self.index.freeze(&self.region.writer())?;
        self.stage.store(Stage::Frozen as u8, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn mark_released(&self) {
        self.stage.store(Stage::Released as u8, Ordering::Relaxed);
    }
}

/// Why a memtable is not frozen yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezeRefused {
    #[error(transparent)]
    Permits(#[from] PermitsLive),
    #[error(transparent)]
    Alloc(#[from] AllocError),
}
