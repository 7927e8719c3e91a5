//! Cursors that wait without holding anything.

use kausal_index::{BTreeIndex, BlockIndex, Cursor, SeqNo, TreeIndex};
use kausal_memtable::{KeyspaceId, Memtable, MemtableManager, Parked, ParkingCursor, Resumed, WalkRefused};
use proptest::prelude::*;

use super::{entry, put, seqno};

/// Stands for the table that a memtable was flushed to: another holder of the same entries.
struct Table {
    index: BTreeIndex,
    region: kausal_arena::Region,
}

impl Table {
    /// The entries of `keyspace` that `keeps` keeps.
    fn of<I: BlockIndex>(memtable: &Memtable<I>, keeps: impl Fn(&[u8], u64) -> bool) -> Self {
        let region = kausal_arena::testing::region(1 << 12);
        let index = BTreeIndex::create(region.lease(), &region.writer()).unwrap();
        let table = Self { index, region };
        let mut cursor = memtable.cursor().unwrap();
        let mut more = cursor.seek_to_first().unwrap();
        while more {
            let entry = cursor.entry().unwrap();
            if keeps(entry.key, entry.seqno.get()) {
                table.index.insert(&table.region.writer(), entry).unwrap();
            }
            more = cursor.next().unwrap();
        }
        table
    }
}

fn place(cursor: &impl Cursor) -> Option<(Vec<u8>, u64)> {
    cursor.entry().map(|entry| (entry.key.to_vec(), entry.seqno.get()))
}

/// A cursor that lives for hours: the region comes back while it waits, and it goes on in the table.
#[test]
fn a_parked_cursor_holds_no_region_and_goes_on_in_the_table() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
    for (number, key) in [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")] {
        put(&manager.active(), number, key).unwrap();
    }
    let mut walk = ParkingCursor::new(&manager.active(), KeyspaceId::DEFAULT);
    walk.step(&manager.tables(), |cursor| cursor.seek_to_first()).unwrap().unwrap();
    walk.step(&manager.tables(), |cursor| cursor.next()).unwrap().unwrap();
    let sealed = manager.rotate(()).unwrap();
    sealed.freeze().unwrap();
    let table = Table::of(&sealed, |_, _| true);
    manager.release(&sealed);
    drop(sealed);
    assert_eq!(pool.coordinator().free_count(), 1, "the region is back: the walk does not hold it");

    let gone = walk.step(&manager.tables(), |cursor| cursor.next()).unwrap_err();
    assert_eq!(gone, WalkRefused::Gone(walk.generation()));
    let mut rest = Vec::new();
    let mut cursor = table.index.cursor().unwrap();
    assert_eq!(walk.parked().resume(&mut cursor).unwrap(), Resumed::There);
    while cursor.next().unwrap() {
        rest.push(place(&cursor).unwrap().0);
    }
    assert_eq!(rest, [b"c".to_vec(), b"d".to_vec()]);
}

#[test]
fn a_walk_goes_on_across_a_rotation_and_sees_what_came_meanwhile() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"a").unwrap();
    put(&manager.active(), 2, b"c").unwrap();
    let mut walk = ParkingCursor::new(&manager.active(), KeyspaceId::DEFAULT);
    walk.step(&manager.tables(), |cursor| cursor.seek_to_first()).unwrap().unwrap();
    put(&manager.active(), 3, b"b").unwrap();
    manager.rotate(()).unwrap();
    put(&manager.active(), 4, b"bb").unwrap();
    let mut met = Vec::new();
    while walk.step(&manager.tables(), |cursor| cursor.next()).unwrap().unwrap() {
        met.push(walk.parked().place().unwrap().1.get());
    }
    assert_eq!(met, [3, 2]);
    assert_eq!(walk.parked().place(), None);
    assert_eq!(
        walk.step(&manager.tables(), |cursor| cursor.next()),
        Ok(Ok(false)),
        "the end is where it was"
    );
}

#[test]
fn a_walk_over_what_is_not_there_has_nothing_to_meet() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::with_keyspaces(pool.coordinator(), 2, ()).unwrap();
    let mut walk = ParkingCursor::new(&manager.active(), KeyspaceId(1));
    assert!(matches!(walk.step(&manager.tables(), |_| ()), Err(WalkRefused::Gone(_))));
    let hashes = kausal_arena::testing::pool(64 << 10, 2);
    let manager = MemtableManager::<kausal_index::HashIndex>::new(hashes.coordinator(), ()).unwrap();
    let mut walk = ParkingCursor::new(&manager.active(), KeyspaceId::DEFAULT);
    assert!(matches!(walk.step(&manager.tables(), |_| ()), Err(WalkRefused::Unordered(_))));
}

#[test]
fn parking_uses_its_room_again() {
    let memtable = Memtable::<TreeIndex>::new(kausal_arena::testing::region(64 << 10), ()).unwrap();
    put(&memtable, 1, &[b'a'; 500]).unwrap();
    let mut parked = Parked::with_capacity(500);
    let capacity = parked.capacity();
    let mut cursor = memtable.cursor().unwrap();
    parked.park(&cursor);
    assert_eq!(parked.place(), None);
    cursor.seek_to_first().unwrap();
    parked.park(&cursor);
    assert_eq!(parked.place(), Some((&[b'a'; 500][..], seqno(1))));
    assert_eq!(parked.capacity(), capacity);
}

proptest! {
    /// Parked anywhere and resumed in a table that lacks some entries, a walk meets what is behind its place, and only that.
    #[test]
    fn a_resumed_walk_meets_what_is_behind_its_place(
        keys in prop::collection::vec(prop::collection::vec(0..3_u8, 0..3), 1..30),
        dropped in any::<u64>(),
        stop in 0..31_usize,
    ) {
        let memtable = Memtable::<TreeIndex>::new(kausal_arena::testing::region(1 << 18), ()).unwrap();
        for (number, key) in (1..).zip(&keys) {
            let permit = memtable.permit(1, key.len()).unwrap();
            memtable.insert(&permit, entry(number, key, b"")).unwrap();
        }
        let table = Table::of(&memtable, |_, number| dropped >> (number % 64) & 1 == 0);
        let mut all = super::shown(memtable.default_keyspace());
        let mut parked = Parked::new();
        {
            let mut cursor = memtable.cursor().unwrap();
            for _ in 0..stop.min(all.len()) {
                prop_assert_eq!(parked.resume_behind(&mut cursor), Ok(true));
                parked.park(&cursor);
            }
        }
        all.drain(..stop.min(all.len()));
        all.retain(|(_, number)| dropped >> (number % 64) & 1 == 0);
        let mut cursor = table.index.cursor().unwrap();
        let mut more = parked.resume_behind(&mut cursor).unwrap();
        let mut met = Vec::new();
        while more {
            met.push(place(&cursor).unwrap());
            more = cursor.next().unwrap();
        }
        prop_assert_eq!(met, all);
        let resumed = parked.resume(&mut cursor).unwrap();
        match parked.place() {
            None => prop_assert_eq!((resumed, place(&cursor)), (Resumed::Nowhere, None)),
            Some((key, number)) => {
                let is_there = table.index.get(key, number).is_some_and(|found| found.seqno == number);
                prop_assert_eq!(resumed == Resumed::There, is_there);
                prop_assert_eq!(resumed == Resumed::Nowhere, place(&cursor).is_none());
            }
        }
        prop_assert!(table.index.get(b"never written", SeqNo::MAX).is_none());
    }
}
