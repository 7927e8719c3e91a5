//! Cursors that wait: a place that is kept as a copy of its key and sequence number, and found again in whatever holds its
//! entries then.
//!
//! 1. [`Parked::park`] copies where a cursor stands. The cursor, and with it the hold on a memtable or a table, may go.
//! 2. [`Parked::resume`] seeks that place with any other [`Cursor`]: of the same memtable, of the table that it was flushed to,
//!    of a merge.
//! 3. [`ParkingCursor`] does both around each step of a walk over a memtable. Between steps it holds nothing; when the memtable
//!    has gone to a table, it says so, and its place is good for that table's cursor.
//!
//! What may have changed meanwhile: newer entries have come, and of older versions a flush or a compaction keeps what some
//! snapshot can see. Who walks at a snapshot that it has registered misses nothing.
//!
//! Memory: the copy of a key, at most 64 KiB, used again from park to park. Give it its room beforehand
//! ([`Parked::with_capacity`]), and parking allocates nothing.

use std::cmp::Ordering;
use std::convert::Infallible;

use kausal_index::{BlockIndex, Cursor, KeyspaceId, SeqNo, Unordered};

use crate::manager::Tables;
use crate::memtable::Memtable;

/// Where a cursor stood.
///
/// # Examples
///
/// ```
/// use kausal_index::{Cursor, EntryRef, Kind, SeqNo, TreeIndex};
/// use kausal_memtable::{Memtable, Parked, Resumed};
///
/// let memtable = Memtable::<TreeIndex>::new(kausal_arena::testing::region(1 << 16), ()).unwrap();
/// for (number, key) in [(1, b"apple"), (2, b"lemon"), (3, b"melon")] {
///     let permit = memtable.permit(1, 5).unwrap();
///     let seqno = SeqNo::new(number).unwrap();
///     memtable.insert(&permit, EntryRef { key, seqno, kind: Kind::Put, value: b"" }).unwrap();
/// }
/// let mut parked = Parked::new();
/// {
///     let mut cursor = memtable.cursor().unwrap();
///     cursor.seek(b"lemon", SeqNo::MAX).unwrap();
///     parked.park(&cursor);
/// }
/// let mut later = memtable.cursor().unwrap();
/// assert_eq!(parked.resume(&mut later).unwrap(), Resumed::There);
/// assert_eq!(later.entry().unwrap().key, b"lemon");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    key: Vec<u8>,
    seqno: SeqNo,
    stands: bool,
}

/// Where a cursor stands after it was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// On the very entry it stood on.
    There,
    /// On the first entry behind: the one it stood on is there no more.
    Behind,
    /// Nowhere: it stood nowhere, or there is nothing at or behind its place.
    Nowhere,
}

impl Parked {
    /// Nowhere.
    pub const fn new() -> Self {
        Self { key: Vec::new(), seqno: SeqNo::ZERO, stands: false }
    }

    /// Nowhere, with room for a key of `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { key: Vec::with_capacity(bytes), ..Self::new() }
    }

    /// Bytes held for keys.
    pub fn capacity(&self) -> usize {
        self.key.capacity()
    }

    /// The place: a key and a sequence number, or `None` for nowhere.
    pub fn place(&self) -> Option<(&[u8], SeqNo)> {
        self.stands.then_some((&self.key[..], self.seqno))
    }

    /// Copies where `cursor` stands.
    pub fn park(&mut self, cursor: &(impl Cursor + ?Sized)) {
        self.key.clear();
        let entry = cursor.entry();
        self.stands = entry.is_some();
        if let Some(entry) = entry {
            self.key.extend_from_slice(entry.key);
            self.seqno = entry.seqno;
        }
    }

    /// Lets `cursor` stand where the parked one stood, or on the first entry behind that.
    ///
    /// # Errors
    ///
    /// What the cursor answers.
    pub fn resume<C: Cursor + ?Sized>(&self, cursor: &mut C) -> Result<Resumed, C::Error> {
        let Some((key, seqno)) = self.place() else {
            // Nowhere is before the first entry, for any cursor: past both ends, and `next` stays there.
            cursor.seek_to_last()?;
            cursor.next()?;
            return Ok(Resumed::Nowhere);
        };
        if !cursor.seek(key, seqno)? {
            return Ok(Resumed::Nowhere);
        }
        let is_there = cursor.entry().is_some_and(|entry| entry.cmp_position(key, seqno) == Ordering::Equal);
        Ok(if is_there { Resumed::There } else { Resumed::Behind })
    }

    /// Lets `cursor` stand on the first entry behind the place, for who has dealt with what stood there; on the first entry of
    /// all if the place is nowhere. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// What the cursor answers.
    pub fn resume_behind<C: Cursor + ?Sized>(&self, cursor: &mut C) -> Result<bool, C::Error> {
        if !self.stands {
            return cursor.seek_to_first();
        }
        match self.resume(cursor)? {
            Resumed::There => cursor.next(),
            Resumed::Behind => Ok(true),
            Resumed::Nowhere => Ok(false),
        }
    }
}

/// Why a step was not taken. The place is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkRefused {
    /// The memtable has been released: its entries are in tables, where [`ParkingCursor::parked`] is to be resumed.
    #[error("the memtable of generation {0} is not there any more; its entries are in tables")]
    Gone(u64),
    /// The memtable's index keeps no order before it is frozen.
    #[error(transparent)]
    Unordered(#[from] Unordered),
}

/// A walk over one keyspace of one memtable that holds nothing between its steps.
///
/// # Examples
///
/// ```
/// use kausal_index::{Cursor, EntryRef, Kind, SeqNo, TreeIndex};
/// use kausal_memtable::{KeyspaceId, MemtableManager, ParkingCursor, WalkRefused};
///
/// let pool = kausal_arena::testing::pool(1 << 16, 2);
/// let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
/// let permit = manager.active().permit(2, 2).unwrap();
/// for (number, key) in [(1, b"a"), (2, b"b")] {
///     let seqno = SeqNo::new(number).unwrap();
///     manager.active().insert(&permit, EntryRef { key, seqno, kind: Kind::Put, value: b"" }).unwrap();
/// }
/// drop(permit);
///
/// let mut walk = ParkingCursor::new(&manager.active(), KeyspaceId::DEFAULT);
/// let stands = walk.step(&manager.tables(), |cursor| cursor.seek_to_first()).unwrap();
/// assert_eq!(stands, Ok(true));
/// let sealed = manager.rotate(()).unwrap();
/// walk.step(&manager.tables(), |cursor| cursor.next()).unwrap().unwrap();
/// assert_eq!(walk.parked().place(), Some((&b"b"[..], SeqNo::new(2).unwrap())));
///
/// manager.release(&sealed);
/// drop(sealed);
/// assert_eq!(pool.coordinator().free_count(), 1, "it holds no region");
/// let gone = walk.step(&manager.tables(), |cursor| cursor.next());
/// assert!(matches!(gone, Err(WalkRefused::Gone(_))));
/// ```
#[derive(Clone, Debug)]
pub struct ParkingCursor {
    generation: u64,
    keyspace: KeyspaceId,
    parked: Parked,
}

impl ParkingCursor {
    /// A walk over `keyspace` of `memtable`, nowhere at first.
    pub fn new<I: BlockIndex, A>(memtable: &Memtable<I, A>, keyspace: KeyspaceId) -> Self {
        Self { generation: memtable.generation(), keyspace, parked: Parked::new() }
    }

    /// Where it stands.
    pub fn parked(&self) -> &Parked {
        &self.parked
    }

    /// The generation of the memtable it walks.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Finds the memtable among `tables`, lets a cursor stand where the walk stands, hands it to `step`, and parks it where it
    /// stands after that.
    ///
    /// # Errors
    ///
    /// [`WalkRefused`]. A keyspace to which nothing was written counts as gone: there is nothing to be met.
    pub fn step<I: BlockIndex, A, T>(
        &mut self,
        tables: &Tables<I, A>,
        step: impl FnOnce(&mut dyn Cursor<Error = Infallible>) -> T,
    ) -> Result<T, WalkRefused> {
        let mut memtables = tables.iter();
        let memtable = memtables.find(|memtable| memtable.generation() == self.generation);
        let keyspace = memtable.and_then(|memtable| memtable.keyspace(self.keyspace));
        let mut cursor = keyspace.ok_or(WalkRefused::Gone(self.generation))?.cursor()?;
        if self.parked.stands {
            let Ok(_) = self.parked.resume(&mut cursor);
        }
        let answer = step(&mut cursor);
        self.parked.park(&cursor);
        Ok(answer)
    }
}
