//! One memtable: an index per keyspace over one generation of a region.
//!
//! 1. [`Memtable::permit`] or [`Memtable::permit_batch`] reserves what a batch may need at most; the log record comes after
//!    it, the inserts after that, and they cannot fail for lack of room. A keyspace that is not there is made before the
//!    reservation.
//! 2. Any number of threads may insert, each under a permit of its own, while any number read.
//! 3. Once sealed it mints no more permits. When the last has ended, [`Memtable::freeze`] succeeds: nobody writes any more, a
//!    cursor shows the same entries for ever, and a flush writes out what [`Memtable::keyspaces`] shows.
//! 4. When the last reference goes, the region is back in its pool in O(1), whatever was in it.
//!
//! A memtable is full when its *capacity* is used, not when its live bytes are many: a key overwritten for ever
//! fills it like any other, and so do tombstones.
//!
//! Beside its region a memtable has memory of a fixed size, taken when it is made: itself, and a place for each keyspace
//! that it may come to hold.

use std::convert::Infallible;

use kausal_arena::sync::{AtomicU8, Mutex, Ordering};
use kausal_arena::{AllocError, Permit, PermitRefused, PermitsLive, Region};
use kausal_index::{
    BlockIndex, Cursor, EntryRef, IndexBytes, InsertError, KeyspaceId, RangeTombstone, SeqNo, Unordered,
};

use crate::keyspace::{BatchPart, Keyspace};
use crate::keyspaces::{Keyspaces, Spares};
use crate::range_tombstones::RangeRefused;
use crate::tally::Tally;

/// Where a memtable stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Takes writes.
    Active,
    /// Mints no more permits; batches that had theirs before are still being written.
    Sealed,
    /// Takes no more writes; waits for its flush, or is being flushed.
    Frozen,
    /// Its entries are in tables; it lives on only for those who still read it.
    Released,
}

/// Why a memtable is not frozen yet.
#[derive(Debug, thiserror::Error)]
pub enum FreezeRefused {
    /// Batches are still being written: ask again when their permits have ended.
    #[error(transparent)]
    Permits(#[from] PermitsLive),
    /// The region has too little room for the order of an index that keeps none while it lives.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

/// Why a batch gets no permit. At most an empty keyspace has been made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchRefused {
    /// The region has no room, or takes no more writes.
    #[error(transparent)]
    Permit(#[from] PermitRefused),
    /// The memtable holds as many keyspaces as it has places for. The next memtable has room again.
    #[error("the memtable has its {max} keyspaces")]
    KeyspacesFull {
        /// Keyspaces that a memtable has places for, the default one included.
        max: usize,
    },
    /// More keyspaces than any memtable has places for.
    #[error("the batch writes to {need} keyspaces beside the default one, a memtable has places for {max}")]
    TooManyKeyspaces {
        /// Keyspaces of the batch beside the default one.
        need: usize,
        /// Places for such.
        max: usize,
    },
}

/// What became of the region's used bytes. While nobody writes they add up exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemtableBytes {
    /// Keys and values of entries, starts and ends of range tombstones.
    pub entry: usize,
    /// What finds them: nodes, offsets, sequence numbers.
    pub index: usize,
    /// Taken and never to be reached again: nodes that were replaced, inserts that were refused.
    pub dead: usize,
    /// Alignment, and rests of reservations that could not go back; while permits are out, what of those is unused.
    pub slack: usize,
}

impl MemtableBytes {
    /// All of them: what the region has in use.
    pub const fn used(&self) -> usize {
        self.entry + self.index + self.dead + self.slack
    }

    /// What a reader can reach.
    pub const fn live(&self) -> usize {
        self.entry + self.index
    }
}

/// Entries in memory, with what the owner attached to the generation (a log's number, say).
#[derive(Debug)]
pub struct Memtable<I, A = ()> {
    // The indexes go first: they lease the region.
    default: Keyspace<I>,
    others: Keyspaces<I>,
    tally: Tally,
    attached: A,
    stage: AtomicU8,
    freezing: Mutex<()>,
    /// Bytes that an empty memtable has for batches.
    room: usize,
    region: Region,
}

impl<I: BlockIndex, A> Memtable<I, A> {
    /// An empty memtable in `region`, for the default keyspace alone.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the region is too small even for an empty index.
    pub fn new(region: Region, attached: A) -> Result<Self, AllocError> {
        Self::with_keyspaces(region, 1, attached)
    }

    /// An empty memtable in `region`, for up to `keyspaces_max` keyspaces, the default one included. Each that it may come to
    /// hold costs the size of an `I` from the beginning, whether it comes or not.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the region is too small even for an empty index.
    ///
    /// # Panics
    ///
    /// If `keyspaces_max` is 0.
    pub fn with_keyspaces(region: Region, keyspaces_max: usize, attached: A) -> Result<Self, AllocError> {
        Self::with_spares(region, keyspaces_max, attached, &Spares::new(0))
    }

    /// [`with_keyspaces`](Self::with_keyspaces), in places that earlier memtables left behind.
    pub(crate) fn with_spares(
        region: Region,
        keyspaces_max: usize,
        attached: A,
        spares: &Spares<I>,
    ) -> Result<Self, AllocError> {
        assert!(keyspaces_max > 0, "a memtable has the default keyspace");
        let bytes = I::bytes_max(0, 0);
        let exhausted = |_| AllocError::Exhausted { need: bytes, have: region.capacity() };
        let permit = region.permit(bytes).map_err(exhausted)?;
        let default = Keyspace::create(KeyspaceId::DEFAULT, region.lease(), permit.pen())?;
        drop(permit);
        Ok(Self {
            default,
            others: Keyspaces::new(keyspaces_max - 1, spares),
            tally: Tally::new(),
            attached,
            stage: AtomicU8::new(Stage::Active as u8),
            freezing: Mutex::new(()),
            room: region.capacity() - region.used(),
            region,
        })
    }

    /// Reserves room for `entries` inserts into the default keyspace, with `payload_bytes` of keys and values between them.
    ///
    /// # Errors
    ///
    /// [`PermitRefused`]; nothing is reserved then. `Full` and `Sealed` mean: try the next memtable, after a rotation in the
    /// first case. `TooLarge` means that no memtable will ever have the room.
    pub fn permit(&self, entries: usize, payload_bytes: usize) -> Result<Permit, PermitRefused> {
        self.reserve(I::bytes_max(entries, payload_bytes), || 0)
    }

    /// Reserves room for a batch that writes to several keyspaces or deletes ranges. Keyspaces that are not there are made.
    ///
    /// # Errors
    ///
    /// [`BatchRefused`]; nothing is reserved then. With `Permit` as for [`permit`](Self::permit); `KeyspacesFull` means: try
    /// the next memtable, after a rotation.
    pub fn permit_batch(&self, parts: &[BatchPart]) -> Result<Permit, BatchRefused> {
        for part in parts {
            if let Err(refused) = self.find_or_make(part.keyspace) {
                return Err(match refused {
                    BatchRefused::KeyspacesFull { .. } if others_in(parts) > self.others.max() => {
                        BatchRefused::TooManyKeyspaces { need: others_in(parts), max: self.others.max() }
                    }
                    BatchRefused::Permit(PermitRefused::Full { .. }) => {
                        self.full(self.bytes_max(parts), creation_bytes::<I>(parts)).into()
                    }
                    other => other,
                });
            }
        }
        Ok(self.reserve(self.bytes_max(parts), || creation_bytes::<I>(parts))?)
    }

    fn bytes_max(&self, parts: &[BatchPart]) -> usize {
        let bytes = parts.iter().map(|part| part.bytes_max::<I>(self.region.capacity()));
        bytes.fold(0, usize::saturating_add)
    }

    /// A permit of `bytes`. `beside` is what else an empty memtable would have to have room for.
    fn reserve(&self, bytes: usize, beside: impl FnOnce() -> usize) -> Result<Permit, PermitRefused> {
        self.region.permit(bytes).map_err(|refused| match refused {
            PermitRefused::Full { .. } | PermitRefused::TooLarge { .. } => self.full(bytes, beside()),
            other => other,
        })
    }

    /// Full, unless no memtable ever has the room: then the caller would rotate for ever.
    fn full(&self, bytes: usize, beside: usize) -> PermitRefused {
        let need = bytes.saturating_add(beside);
        if need > self.room {
            return PermitRefused::TooLarge { need, max: self.room };
        }
        let have = self.region.capacity().saturating_sub(self.region.used());
        PermitRefused::Full { need: bytes, have }
    }

    /// Adds one entry to the default keyspace on the reservation of `permit`.
    ///
    /// # Errors
    ///
    /// [`InsertError`] if the permit did not cover it, or for a duplicate or an overlong key.
    ///
    /// # Panics
    ///
    /// If `permit` was minted by another memtable.
    pub fn insert(&self, permit: &Permit, entry: EntryRef<'_>) -> Result<(), InsertError> {
        self.insert_in(&self.default, permit, entry)
    }

    /// Adds one entry to `keyspace` on the reservation of `permit`.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    ///
    /// # Panics
    ///
    /// If `permit` was minted by another memtable, or no batch had a permit for `keyspace`.
    pub fn insert_into(
        &self,
        permit: &Permit,
        keyspace: KeyspaceId,
        entry: EntryRef<'_>,
    ) -> Result<(), InsertError> {
        self.insert_in(self.expect(keyspace), permit, entry)
    }

    #[inline]
    fn insert_in(
        &self,
        keyspace: &Keyspace<I>,
        permit: &Permit,
        entry: EntryRef<'_>,
    ) -> Result<(), InsertError> {
        assert_eq!(permit.generation(), self.region.generation(), "a permit of another memtable");
        keyspace.index.insert(permit.pen(), entry)?;
        self.tally.add(permit.pen().next_address(), entry.payload_bytes(), entry.seqno);
        Ok(())
    }

    /// Adds a range tombstone to `keyspace` on the reservation of `permit`: keys from `start` to before `end` have no value
    /// from `seqno` down.
    ///
    /// # Errors
    ///
    /// [`RangeRefused`] if the permit did not cover it, or the range is empty, there already, or of overlong keys.
    ///
    /// # Panics
    ///
    /// As [`insert_into`](Self::insert_into).
    pub fn delete_range(
        &self,
        permit: &Permit,
        keyspace: KeyspaceId,
        start: &[u8],
        end: &[u8],
        seqno: SeqNo,
    ) -> Result<(), RangeRefused> {
        assert_eq!(permit.generation(), self.region.generation(), "a permit of another memtable");
        let ranges = self.expect(keyspace).range_tombstones();
        ranges.add(permit.pen(), RangeTombstone { start, end, seqno })?;
        // Its keys are counted with its tree.
        self.tally.add(permit.pen().next_address(), 0, seqno);
        Ok(())
    }

    /// The default keyspace.
    pub fn default_keyspace(&self) -> &Keyspace<I> {
        &self.default
    }

    /// A keyspace, if a batch has written to it or was about to. O(1), without a lock.
    pub fn keyspace(&self, id: KeyspaceId) -> Option<&Keyspace<I>> {
        if id == KeyspaceId::DEFAULT { Some(&self.default) } else { self.others.find(id) }
    }

    fn find_or_make(&self, id: KeyspaceId) -> Result<&Keyspace<I>, BatchRefused> {
        if id == KeyspaceId::DEFAULT {
            return Ok(&self.default);
        }
        self.others.find_or_make(id, &self.region)
    }

    fn expect(&self, id: KeyspaceId) -> &Keyspace<I> {
        self.keyspace(id).expect("who writes to a keyspace has a permit for it")
    }

    /// All keyspaces, the default one first: what a flush has to write. Some may be empty.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Keyspace<I>> {
        std::iter::once(&self.default).chain(self.others.iter())
    }

    /// The newest entry of `key` in the default keyspace at or below `at`, tombstones included.
    pub fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.default.get(key, at)
    }

    /// An ordered walk over all entries of the default keyspace.
    ///
    /// # Errors
    ///
    /// [`Unordered`] before the memtable is frozen, if its index keeps no order until then.
    pub fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        self.default.cursor()
    }

    /// Number of entries in all keyspaces, without range tombstones.
    pub fn len(&self) -> usize {
        self.keyspaces().map(Keyspace::len).sum()
    }

    /// Whether there is neither an entry nor a range tombstone in any keyspace.
    pub fn is_empty(&self) -> bool {
        self.keyspaces().all(Keyspace::is_empty)
    }

    /// The smallest and the largest sequence number of entries and range tombstones, or `None` if there is none. Exact once
    /// the memtable is frozen.
    pub fn seqno_bounds(&self) -> Option<(SeqNo, SeqNo)> {
        self.tally.seqno_bounds()
    }

    /// What became of the region's used bytes.
    pub fn bytes(&self) -> MemtableBytes {
        let used = self.region.used();
        let mut live = IndexBytes::default();
        let mut keys = 0;
        for keyspace in self.keyspaces() {
            let (index, ranges) = (keyspace.index_bytes(), keyspace.range_tombstones().range_bytes());
            live.live += index.live + ranges.all.live;
            live.dead += index.dead + ranges.all.dead;
            keys += ranges.keys;
        }
        // The oracle's entries lie elsewhere.
        let entry = keys + if I::IN_ARENA { self.tally.bytes() } else { 0 };
        let index = live.live.saturating_sub(entry);
        MemtableBytes { entry, index, dead: live.dead, slack: used.saturating_sub(entry + index + live.dead) }
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
        // Relaxed: a report; who needs the order freezes.
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Active,
            1 => Stage::Sealed,
            2 => Stage::Frozen,
            _ => Stage::Released,
        }
    }

    /// Mints no more permits. O(1), waits for nobody.
    pub(crate) fn seal(&self) {
        // Whether permits are out is asked again by `freeze`.
        let _ = self.region.freeze();
        self.stage.fetch_max(Stage::Sealed as u8, Ordering::Relaxed);
    }

    /// Stops writes for good: mints no more permits, and once the last one has ended prepares the indexes for their walks.
    /// Does nothing if that is done already. Of a manager's memtables only those that it has rotated away are frozen.
    ///
    /// O(1) for an index that is ordered while it lives, else the time of sorting: no matter for the thread that writes.
    ///
    /// # Errors
    ///
    /// [`FreezeRefused`]. While permits are out, ask again when one has ended: who drops a permit on a memtable that is no
    /// longer active wakes who waits for this.
    pub fn freeze(&self) -> Result<(), FreezeRefused> {
        let _turn = self.freezing.lock();
        if self.stage() >= Stage::Frozen {
            return Ok(());
        }
        self.stage.fetch_max(Stage::Sealed as u8, Ordering::Relaxed);
        let frozen = self.region.freeze();
        if !cfg!(kausal_planted = "memtable_freeze_unsealed") {
            frozen?;
        }
        let pen = self.region.writer();
        for keyspace in self.keyspaces() {
            keyspace.freeze(&pen)?;
        }
        self.stage.fetch_max(Stage::Frozen as u8, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn mark_released(&self) {
        self.stage.fetch_max(Stage::Released as u8, Ordering::Relaxed);
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }
}

/// Different keyspaces of a batch beside the default one.
fn others_in(parts: &[BatchPart]) -> usize {
    let is_first = |(place, part): &(usize, &BatchPart)| {
        part.keyspace != KeyspaceId::DEFAULT
            && parts[..*place].iter().all(|earlier| earlier.keyspace != part.keyspace)
    };
    parts.iter().enumerate().filter(is_first).count()
}

/// What an empty memtable would spend on the keyspaces of a batch.
fn creation_bytes<I: BlockIndex>(parts: &[BatchPart]) -> usize {
    // Each on a permit, which is a multiple of 16 bytes.
    others_in(parts).saturating_mul(I::bytes_max(0, 0).next_multiple_of(16))
}
