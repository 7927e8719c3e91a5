//! One keyspace of a memtable: an index and range tombstones, in the region that all keyspaces of the memtable share.

use std::convert::Infallible;

use kausal_arena::sync::{AtomicBool, Ordering};
use kausal_arena::{AllocError, Lease, Writer};
use kausal_index::{BlockIndex, Cursor, EntryRef, IndexBytes, KeyspaceId, SeqNo, Unordered};

use crate::range_tombstones::RangeTombstones;

/// The smallest and the largest key of something.
pub type KeyBounds<'a> = (&'a [u8], &'a [u8]);

/// What a batch may need in one keyspace.
///
/// # Examples
///
/// ```
/// # use kausal_memtable::{BatchPart, KeyspaceId};
/// let part = BatchPart { entries: 2, payload_bytes: 300, ..BatchPart::new(KeyspaceId(7)) };
/// assert_eq!(part.range_deletes, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPart {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// Number of entries.
    pub entries: usize,
    /// Bytes of their keys and values.
    pub payload_bytes: usize,
    /// Number of range tombstones.
    pub range_deletes: usize,
    /// Bytes of their starts and ends.
    pub range_bytes: usize,
}

impl BatchPart {
    /// Nothing, in `keyspace`.
    pub const fn new(keyspace: KeyspaceId) -> Self {
        Self { keyspace, entries: 0, payload_bytes: 0, range_deletes: 0, range_bytes: 0 }
    }

    /// The most that this part takes from a pen, in a region of `capacity` bytes.
    pub(crate) fn bytes_max<I: BlockIndex>(&self, capacity: usize) -> usize {
        let entries = if self.entries == 0 { 0 } else { I::bytes_max(self.entries, self.payload_bytes) };
        entries.saturating_add(RangeTombstones::bytes_max(self.range_deletes, self.range_bytes, capacity))
    }
}

/// One keyspace of one memtable.
#[derive(Debug)]
pub struct Keyspace<I> {
    pub(crate) index: I,
    ranges: RangeTombstones,
    id: KeyspaceId,
    /// An index is frozen once, also if a later one of the same memtable has no room for its order.
    is_frozen: AtomicBool,
}

impl<I: BlockIndex> Keyspace<I> {
    pub(crate) fn create(id: KeyspaceId, lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        let ranges = RangeTombstones::new(lease.clone());
        let index = I::create(lease, pen)?;
        Ok(Self { index, ranges, id, is_frozen: AtomicBool::new(false) })
    }

    /// Prepares the index for its walk, unless that is done. The memtable lets in one caller at a time.
    pub(crate) fn freeze(&self, pen: &Writer) -> Result<(), AllocError> {
        // Relaxed: the caller holds the memtable's lock.
        if !self.is_frozen.load(Ordering::Relaxed) {
            self.index.freeze(pen)?;
            self.is_frozen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Which one it is.
    pub fn id(&self) -> KeyspaceId {
        self.id
    }

    /// The newest entry of `key` at or below `at`, tombstones included; range tombstones are another question.
    pub fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.index.get(key, at)
    }

    /// Looks up many keys at once, as [`BlockIndex::get_many`] does: their cache misses may overlap. Calls `found` once per
    /// key, in the order of `keys`, with the key's place and what [`get`](Self::get) would answer.
    pub fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        self.index.get_many(keys, at, found);
    }

    /// Asks for the memory that inserts of these keys will look at, as [`BlockIndex::approach_many`] does: a hint.
    pub fn approach_many(&self, keys: &[&[u8]]) {
        self.index.approach_many(keys);
    }

    /// An ordered walk over all entries.
    ///
    /// # Errors
    ///
    /// [`Unordered`] before the memtable is frozen, if its index keeps no order until then.
    pub fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        self.index.cursor()
    }

    /// The range tombstones.
    pub fn range_tombstones(&self) -> &RangeTombstones {
        &self.ranges
    }

    /// The smallest and the largest key of an entry, or `None` if there is none. Two walks down the index.
    /// [`RangeTombstones::bounds`] has those of the range tombstones.
    ///
    /// # Errors
    ///
    /// As [`cursor`](Self::cursor).
    pub fn key_bounds(&self) -> Result<Option<KeyBounds<'_>>, Unordered> {
        let mut cursor = self.index.cursor()?;
        let Ok(_) = cursor.seek_to_first();
        let first = self.stored_key(&cursor);
        let Ok(_) = cursor.seek_to_last();
        Ok(first.zip(self.stored_key(&cursor)))
    }

    /// The key a cursor stands on, for as long as the index lives rather than until the cursor moves.
    fn stored_key(&self, cursor: &impl Cursor) -> Option<&[u8]> {
        let entry = cursor.entry()?;
        self.index.get(entry.key, entry.seqno).map(|stored| stored.key)
    }

    /// Number of entries, without range tombstones.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is neither an entry nor a range tombstone.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty() && self.ranges.is_empty()
    }

    /// What became of the index's bytes: live, dead, slack.
    pub fn index_bytes(&self) -> IndexBytes {
        self.index.bytes()
    }
}
