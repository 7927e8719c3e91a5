//! `BlockIndex`: what a memtable asks of its index.
//!
//! An index is pure computation over memory that others own: it does no I/O, constructs and resets no arena,
//! and is released not by walking it but by the reset of the region below it. It owns a lease, so the memory
//! it points into cannot be reused while it lives.
//!
//! Laws, which the conformance kit (feature `conformance`) holds any index against:
//! 1. `get(key, at)` is the entry of `key` with the largest sequence number at or below `at`.
//! 2. An insert that returns an error has changed nothing that a reader can see.
//! 3. An entry inserted before a read began (in the sense of happens-before) is seen by it; one inserted
//!    meanwhile is seen whole or not at all.
//! 4. After `n` entries with `payload` bytes of keys and values between them, the pens have handed out at
//!    most `bytes_max(n, payload)` bytes, whatever the order and whatever was there before.
//! 5. An index with `IN_ARENA` calls the global allocator neither in `insert` nor in `get`, and its `bytes` are what
//!    the pens handed out, to the byte.
//! 6. It takes memory from the pens it is given and from nowhere else in the region, and pins the region while it lives.
//! 7. Of several inserts of one position exactly one succeeds, also when they come from several threads at once.
//! 8. A cursor made before an insert stays where it stands. What it meets later it meets in order, and it misses
//!    nothing that was there when it was last placed by a `seek…`.

use kausal_arena::{AllocError, Lease, Writer};

use crate::cursor::Cursor;
use crate::entry::{EntryRef, SeqNo};
use std::convert::Infallible;

/// Why an insert was refused. The index is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The region, or the permit the pen writes on, has no room left.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// The index holds an entry with this key and sequence number already.
    #[error("invalid argument: sequence number {0} was written twice for one key")]
    Duplicate(SeqNo),
    /// The key is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    #[error("invalid argument: a key of {len} bytes, the longest has 65535")]
    KeyTooLong {
        /// Length of the key in bytes.
        len: usize,
    },
}

/// The index keeps no order while it lives: there is a cursor once it is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported: the index has no order before it is frozen")]
pub struct Unordered;

/// Bytes an index took from its pens, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexBytes {
    /// Keys, values and nodes that a reader can reach.
    pub live: usize,
    /// Taken and never to be reached again: replaced nodes, refused inserts.
    pub dead: usize,
    /// Lost to alignment.
    pub slack: usize,
}

/// An in-memory index over entries.
pub trait BlockIndex: Send + Sync + Sized {
    /// Whether nodes and entries live in the leased memory. The oracle's do not.
    const IN_ARENA: bool;
    /// Whether there is a cursor before [`freeze`](Self::freeze). An index that keeps no order while it lives
    /// answers [`Unordered`] until then, instead of sorting in silence.
    const ORDERED_WHILE_LIVE: bool;

    /// An empty index in the generation that `lease` pins. `pen` writes what an empty index needs.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no room for an empty index ([`Self::bytes_max`] of 0 entries).
    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError>;

    /// Upper bound of the bytes taken from the pens by `entries` inserts with `payload` bytes of keys and
    /// values between them; with 0 entries, by [`create`](Self::create). What a permit must cover.
    fn bytes_max(entries: usize, payload: usize) -> usize;

    /// Adds one entry. Any number of threads may insert at once, each with a pen of its own.
    ///
    /// # Errors
    ///
    /// [`InsertError`]; nothing has changed then, except that bytes of the pen may be used up.
    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError>;

    /// The newest entry of `key` at or below `at`, tombstones included.
    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>>;

    /// Every entry of `key` at or below `at`, newest first.
    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>>;

    /// Prepares for ordered reading; called once, after the last insert. An index that is ordered while it
    /// lives has nothing to do.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if `pen` has too little room for what the order needs; the index is still readable.
    fn freeze(&self, pen: &Writer) -> Result<(), AllocError>;

    /// An ordered walk over all entries, nowhere at first.
    ///
    /// # Errors
    ///
    /// [`Unordered`] before [`freeze`](Self::freeze), if the index is not [`ORDERED_WHILE_LIVE`](Self::ORDERED_WHILE_LIVE).
    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered>;

    /// Adds entries that come in ascending position order; what is faster than one by one if an index can make use
    /// of that. Entries that are not in order are inserted all the same.
    ///
    /// # Errors
    ///
    /// [`InsertError`] of the first entry that is refused; those before it are in the index, those after it are not.
    fn insert_sorted<'e>(
        &self,
        pen: &Writer,
        entries: impl Iterator<Item = EntryRef<'e>>,
    ) -> Result<(), InsertError> {
        for entry in entries {
            self.insert(pen, entry)?;
        }
        Ok(())
    }

    /// Asks for the memory that inserts of entries with these keys will look at, so that their cache misses overlap. A hint, best
    /// for some sixteen keys at a time: it changes nothing. Default nothing.
    fn approach_many(&self, keys: &[&[u8]]) {
        let _ = keys;
    }

    /// Looks up many keys at once, so that an index can let their cache misses overlap. Calls `found` once per key,
    /// in the order of `keys`, with the place of the key and what [`get`](Self::get) would answer.
    fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, mut found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        for (place, key) in keys.iter().enumerate() {
            found(place, self.get(key, at));
        }
    }

    /// Number of entries.
    fn len(&self) -> usize;

    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of the bytes taken so far.
    fn bytes(&self) -> IndexBytes;
}
