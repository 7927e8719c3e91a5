//! Memtables and their manager through the public interface.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::PermitRefused;
use kausal_index::{EntryRef, Kind, SeqNo, SkipListIndex};
use kausal_memtable::{Memtable, MemtableManager, RotateRefused, Stage};

type Manager = MemtableManager<SkipListIndex>;

fn put(memtable: &Memtable<SkipListIndex>, number: u64, key: &[u8]) -> Result<(), PermitRefused> {
    let permit = memtable.permit(1, key.len() + 100)?;
    let seqno = SeqNo::new(number).unwrap();
    memtable.insert(&permit, EntryRef { key, seqno, kind: Kind::Put, value: &[7; 100] }).unwrap();
    Ok(())
}

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

#[test]
fn rotation_without_a_region_is_refused_and_changes_nothing() {
    let pool = kausal_arena::testing::pool(64 << 10, 1);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    assert!(matches!(manager.rotate(()), Err(RotateRefused::Region(_))));
    put(&manager.active(), 2, b"key").unwrap();
    assert_eq!((manager.active().len(), manager.frozen_count()), (2, 0));
}

#[test]
fn a_permit_blocks_freezing_until_it_ends() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    let active = manager.active();
    let permit = active.permit(1, 10).unwrap();
    assert!(matches!(manager.rotate(()), Err(RotateRefused::Permits(live)) if live.permits == 1));
    assert!(active.permit(1, 10).is_err(), "no new permits once freezing has begun");
    drop(permit);
    assert_eq!(manager.rotate(()).unwrap().stage(), Stage::Frozen);
}

#[test]
fn a_region_returns_with_its_last_reader() {
    let pool = kausal_arena::testing::pool(64 << 10, 2);
    let manager = Manager::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    let frozen = manager.rotate(()).unwrap();
    manager.release(&frozen);
    assert_eq!(pool.coordinator().free_count(), 0);
    assert_eq!(frozen.get(b"key", SeqNo::MAX).unwrap().value, [7; 100], "a reader still reads");
    drop(frozen);
    assert_eq!(pool.coordinator().free_count(), 1);
    assert!(manager.active().get(b"key", SeqNo::MAX).is_none());
}
