//! Rotation, release, and what happens when there is no room.

use kausal_arena::PermitRefused;
use kausal_index::{Kind, SeqNo, SkipListIndex, TreeIndex};
use kausal_memtable::{FreezeRefused, KeyspaceId, Memtable, MemtableManager, RotateRefused, Stage};

use super::{entry, one_range, put, seqno, shown};

type Manager = MemtableManager<SkipListIndex>;

#[test]
fn s05_memtable_manager_receives_coordinator() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    assert_eq!(pool.coordinator().free_count(), 1, "its memory is a region of the pool, and nothing else");
    let active = manager.active();
    let before = active.used_bytes();
    put(&active, 1, b"key").unwrap();
    assert!(active.used_bytes() > before);
    drop(active);
    drop(manager);
    assert_eq!(pool.coordinator().free_count(), 2);
}

#[test]
fn u1_hot_key_fills_a_memtable() {
    let pool = kausal_arena::testing::pool(64 << 10, 1);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    let active = manager.active();
    let count = (1..10_000).take_while(|&number| put(&active, number, b"the same key").is_ok()).count();
    assert!((200..600).contains(&count), "{count} overwrites filled 64 KiB");
    assert!(matches!(put(&active, 20_000, b"the same key"), Err(PermitRefused::Full { .. })));
    assert_eq!(active.get(b"the same key", SeqNo::MAX).unwrap().seqno.get(), count as u64);
}

/// Neither kind of tombstone has a place outside the region, where it would not count.
#[test]
fn u1_tombstones_fill_a_memtable_like_values() {
    let region = || kausal_arena::testing::region(64 << 10);
    let points = Memtable::<SkipListIndex>::new(region(), ()).unwrap();
    let delete = |&number: &u64| {
        let permit = points.permit(1, 8)?;
        let tombstone = kausal_index::EntryRef { kind: Kind::Delete, ..entry(number, b"same key", b"") };
        points.insert(&permit, tombstone).unwrap();
        Ok::<(), PermitRefused>(())
    };
    let count = (1..100_000).take_while(|number| delete(number).is_ok()).count();
    assert!((500..4_000).contains(&count), "{count} tombstones filled 64 KiB");

    let ranges = Memtable::<SkipListIndex>::new(region(), ()).unwrap();
    let delete_range = |&number: &u64| {
        let permit = ranges.permit_batch(&[one_range(0, b"a", b"z")])?;
        ranges.delete_range(&permit, KeyspaceId::DEFAULT, b"a", b"z", seqno(number)).unwrap();
        Ok::<(), kausal_memtable::BatchRefused>(())
    };
    let count = (1..100_000).take_while(|number| delete_range(number).is_ok()).count();
    assert!((50..1_000).contains(&count), "{count} range tombstones filled 64 KiB");
    assert_eq!(ranges.default_keyspace().range_tombstones().len(), count);
}

/// As many memtables as regions, a typed refusal for one more, and none that is in use is reset.
#[test]
fn u2_memtables_are_as_many_as_regions_and_none_in_use_is_reset() {
    let pool = kausal_arena::testing::pool(64 << 10, 3);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"first").unwrap();
    let reader = manager.rotate(()).unwrap();
    put(&manager.active(), 2, b"second").unwrap();
    manager.rotate(()).unwrap();
    for _ in 0..3 {
        assert!(matches!(manager.rotate(()), Err(RotateRefused::Region(_))));
    }
    manager.release(&reader);
    assert!(matches!(manager.rotate(()), Err(RotateRefused::Region(_))), "released, but it is being read");
    assert_eq!(reader.get(b"first", SeqNo::MAX).unwrap().value, [7; 100]);
    let generation = reader.generation();
    drop(reader);
    manager.rotate(()).unwrap();
    assert_ne!(manager.active().generation(), generation);
    assert!(manager.active().is_empty());
}

#[test]
fn rotation_without_a_region_is_refused_and_changes_nothing() {
    let pool = kausal_arena::testing::pool(64 << 10, 1);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    assert!(!manager.can_rotate());
    assert!(matches!(manager.rotate(()), Err(RotateRefused::Region(_))));
    put(&manager.active(), 2, b"key").unwrap();
    assert_eq!((manager.active().len(), manager.frozen_count()), (2, 0));
    assert_eq!(manager.active().stage(), Stage::Active);
}

/// What a memtable takes beside its region: no budget counts it.
#[test]
fn a_memtable_itself_is_small() {
    let bytes = size_of::<Memtable<TreeIndex>>();
    assert!(bytes <= 2560, "{bytes} bytes, of which two kilobytes are counters of 16 cache lines each");
}

/// Batches that have their permits finish where they began; the next ones do not wait for them.
#[test]
fn a_rotation_waits_for_no_batch() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    let former = manager.active();
    let permit = former.permit(1, 10).unwrap();
    let sealed = manager.rotate(()).unwrap();
    assert_eq!(sealed.stage(), Stage::Sealed);
    put(&manager.active(), 2, b"in the next").unwrap();
    assert!(matches!(former.permit(1, 10), Err(PermitRefused::Sealed)), "no new batches in the sealed one");
    assert!(matches!(sealed.freeze(), Err(FreezeRefused::Permits(live)) if live.permits == 1));
    former.insert(&permit, entry(1, b"late", b"value")).unwrap();
    drop(permit);
    sealed.freeze().unwrap();
    sealed.freeze().unwrap();
    assert_eq!(sealed.stage(), Stage::Frozen);
    assert_eq!(shown(sealed.default_keyspace()), [(b"late".to_vec(), 1)]);
    assert_eq!(manager.tables().iter().map(|table| table.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_region_returns_with_its_last_reader() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    let frozen = manager.rotate(()).unwrap();
    frozen.freeze().unwrap();
    manager.release(&frozen);
    assert_eq!(frozen.stage(), Stage::Released);
    assert_eq!(pool.coordinator().free_count(), 0);
    assert_eq!(frozen.get(b"key", SeqNo::MAX).unwrap().value, [7; 100], "a reader still reads");
    drop(frozen);
    assert_eq!(pool.coordinator().free_count(), 1);
    assert!(manager.active().get(b"key", SeqNo::MAX).is_none());
}

#[test]
fn the_tables_of_a_moment_stay_as_they_were() {
    let pool = kausal_arena::testing::pool(64 << 10, 3);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    manager.rotate(()).unwrap();
    let before = manager.tables();
    let generations: Vec<_> = before.iter().map(|table| table.generation()).collect();
    let oldest = manager.oldest_frozen().unwrap();
    manager.rotate(()).unwrap();
    manager.release(&oldest);
    assert_eq!(before.iter().map(|table| table.generation()).collect::<Vec<_>>(), generations);
    assert_eq!(before.frozen[0].len(), 1);
    assert_eq!((manager.frozen_count(), manager.tables().frozen[0].generation()), (1, generations[0]));
}

/// Without this a writer would rotate for ever: every empty memtable would be full.
#[test]
fn what_no_empty_memtable_holds_is_too_large() {
    let region = kausal_arena::testing::region(64 << 10);
    let memtable = Memtable::<TreeIndex>::with_keyspaces(region, 4, ()).unwrap();
    let mut payload = memtable.capacity_bytes();
    while let Err(refused) = memtable.permit(1, payload) {
        assert!(matches!(refused, PermitRefused::TooLarge { .. }), "{refused:?} of {payload} bytes");
        payload -= 16;
    }
    put(&memtable, 1, b"key").unwrap();
    assert!(matches!(memtable.permit(1, payload), Err(PermitRefused::Full { .. })), "the next one holds it");
}

#[test]
#[should_panic(expected = "oldest first")]
fn a_memtable_is_not_released_before_an_older_one() {
    let pool = kausal_arena::testing::pool(64 << 10, 3);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    manager.rotate(()).unwrap();
    let newer = manager.rotate(()).unwrap();
    manager.release(&newer);
}

#[test]
#[should_panic(expected = "a permit of another memtable")]
fn a_permit_of_another_memtable_is_a_mistake() {
    let memtable = || Memtable::<TreeIndex>::new(kausal_arena::testing::region(64 << 10), ()).unwrap();
    let (one, other) = (memtable(), memtable());
    let permit = one.permit(1, 10).unwrap();
    let _ = other.insert(&permit, entry(1, b"key", b""));
}
