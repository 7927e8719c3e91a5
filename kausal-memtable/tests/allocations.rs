//! Counts calls of the global allocator: a memtable works in its region alone. A binary of its own, because a program has one
//! allocator. Each thread counts for itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::Budget;
use kausal_index::{
    ArtIndex, BlockIndex, Cursor, EntryRef, HashIndex, Kind, SeqNo, SkipListIndex, TreeIndex,
};
use kausal_memtable::{BatchPart, KeyspaceId, MemtableManager, Parked};

/// Calls of the allocator during `work`: what it takes, and what it gives back.
fn calls_of<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let mut answer = None;
    let counted = allocation_counter::measure(|| answer = Some(work()));
    let given_back = counted.count_total as i64 - counted.count_current;
    (counted.count_total + given_back as u64, answer.unwrap())
}

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

type Manager<I> = MemtableManager<I>;

/// Entries in three keyspaces, two of which are new, and some range tombstones.
fn write<I: BlockIndex>(manager: &Manager<I>, entries: u64) {
    let active = manager.active();
    for number in 1..=entries {
        let keyspace = KeyspaceId((number % 3) as u32);
        let range_deletes = usize::from(number % 100 == 0);
        let part = BatchPart { entries: 1, payload_bytes: 108, range_deletes, range_bytes: 2, keyspace };
        let permit = active.permit_batch(&[part]).unwrap();
        let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let entry = EntryRef { key: &key, seqno: seqno(number), kind: Kind::Put, value: &[1; 100] };
        active.insert_into(&permit, keyspace, entry).unwrap();
        if range_deletes > 0 {
            active.delete_range(&permit, keyspace, b"a", b"b", seqno(number)).unwrap();
        }
    }
}

/// What readers and a flush do. Returns what they saw.
fn read<I: BlockIndex>(memtable: &kausal_memtable::Memtable<I>, parked: &mut Parked) -> usize {
    let mut seen = 0;
    for keyspace in memtable.keyspaces() {
        let mut cursor = keyspace.cursor().unwrap();
        let mut more = cursor.seek_to_first().unwrap();
        while more {
            let entry = cursor.entry().unwrap();
            let is_covered = keyspace.range_tombstones().covering(entry.key, SeqNo::MAX).is_some();
            seen += usize::from(keyspace.get(entry.key, entry.seqno).is_some() && !is_covered);
            more = cursor.next().unwrap();
        }
        cursor.seek_to_last().unwrap();
        parked.park(&cursor);
        seen += keyspace.range_tombstones().fragments().count();
    }
    seen + memtable.bytes().used() + memtable.len()
}

fn allocates_in_regions_alone<I: BlockIndex>() {
    let budget = Budget::unlimited("memtables");
    // Debug builds would enter every lease in the report.
    budget.trace_leases(false);
    let pool = kausal_arena::testing::pool_in(&budget, 8 << 20, 2);
    let (made, manager) = calls_of(|| Manager::<I>::with_keyspaces(pool.coordinator(), 3, ()).unwrap());
    assert!(made > 0, "the counter counts");
    let mut parked = Parked::with_capacity(8);
    let rotations = [10, 10, 100, 10_000].map(|entries| {
        let (writing, ()) = calls_of(|| write(&manager, entries));
        assert_eq!(writing, 0, "calls of the allocator during {entries} writes");
        let (rotating, sealed) = calls_of(|| manager.rotate(()).unwrap());
        let (reading, seen) = calls_of(|| {
            sealed.freeze().unwrap();
            read(&sealed, &mut parked)
        });
        assert!(seen > entries as usize);
        assert_eq!(reading, 0, "calls of the allocator during the freeze and the flush of {entries}");
        let (releasing, ()) = calls_of(|| {
            manager.release(&sealed);
            drop(sealed);
        });
        (rotating, releasing)
    });
    // Later rotations find the places that the first memtable left.
    assert!(
        rotations[0] > rotations[1] && rotations[1..].iter().all(|calls| *calls == rotations[1]),
        "{rotations:?} do not depend on the entries"
    );
    let (rotating, releasing) = rotations[0];
    assert!(rotating <= 8 && releasing <= 8, "{rotations:?}: the memtable and the list, not what is in it");
}

#[test]
fn s05_a_memtable_allocates_in_its_region_alone() {
    allocates_in_regions_alone::<TreeIndex>();
    allocates_in_regions_alone::<SkipListIndex>();
    allocates_in_regions_alone::<HashIndex>();
    allocates_in_regions_alone::<ArtIndex>();
}
