//! Pinned values: the one thing that holds a region between calls, and does so under a name.

use std::time::Duration;

use kausal_arena::Budget;
use kausal_index::{BTreeIndex, Kind, SeqNo, TreeIndex};
use kausal_memtable::{KeyspaceId, MemtableManager, Pinned};

use super::{put, seqno};

const DEFAULT: KeyspaceId = KeyspaceId::DEFAULT;

/// Reports leases that have a name, and no others, also in a debug build.
fn untraced() -> Budget {
    let budget = Budget::unlimited("memtables");
    budget.trace_leases(false);
    budget
}

#[test]
fn a_pinned_value_holds_its_region_and_stands_in_the_report() {
    let budget = untraced();
    let pool = kausal_arena::testing::pool_in(&budget, 64 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    let pinned = Pinned::get(&manager.active(), DEFAULT, b"key", SeqNo::MAX, "a session").unwrap();
    let sealed = manager.rotate(()).unwrap();
    sealed.freeze().unwrap();
    manager.release(&sealed);
    drop(sealed);
    assert_eq!(pool.coordinator().free_count(), 0);
    assert!(manager.rotate(()).is_err(), "backpressure, not growth");
    assert_eq!((&pinned[..], pinned.seqno(), pinned.kind()), (&[7; 100][..], seqno(1), Kind::Put));

    let leases = budget.report().root().leases.clone();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!((&leases[0].owner[..], leases[0].bytes), ("a session", 100));
    assert_eq!(leases[0].generation, pinned.generation());
    assert!(leases[0].age < Duration::from_secs(3600));
    assert!(budget.report().to_string().contains("leased by a session (100 B"));

    assert_eq!(pinned.into_bytes(), [7; 100]);
    assert!(budget.report().root().leases.is_empty());
    manager.rotate(()).unwrap();
}

/// Look-ups, cursors of a step, and tables that were let go leave nothing behind.
#[test]
fn nothing_but_a_pin_is_in_the_report() {
    let budget = untraced();
    let pool = kausal_arena::testing::pool_in(&budget, 64 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 1, b"key").unwrap();
    let found = manager.active().get(b"key", SeqNo::MAX).map(|entry| entry.seqno);
    assert_eq!(found, Some(seqno(1)));
    let tables = manager.tables();
    assert!(tables.active.cursor().is_ok());
    assert!(budget.report().root().leases.is_empty());
}

#[test]
fn a_key_that_is_not_there_pins_nothing() {
    let budget = untraced();
    let pool = kausal_arena::testing::pool_in(&budget, 64 << 10, 1);
    let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
    put(&manager.active(), 5, b"key").unwrap();
    let active = manager.active();
    assert!(Pinned::get(&active, DEFAULT, b"other", SeqNo::MAX, "nobody").is_none());
    assert!(Pinned::get(&active, DEFAULT, b"key", seqno(4), "nobody").is_none());
    assert!(Pinned::get(&active, KeyspaceId(3), b"key", SeqNo::MAX, "nobody").is_none());
    assert!(budget.report().root().leases.is_empty());
    drop((active, manager));
    assert_eq!(pool.coordinator().free_count(), 1);
}

/// The manager, the memtable and the pool's owner may go first; a pin may cross threads.
#[test]
fn a_pin_outlives_everything_but_its_region() {
    fn outlives<I: kausal_index::BlockIndex + 'static>() {
        let pool = kausal_arena::testing::pool(64 << 10, 1);
        let manager = MemtableManager::<I>::new(pool.coordinator(), ()).unwrap();
        put(&manager.active(), 1, b"key").unwrap();
        let pinned = Pinned::get(&manager.active(), DEFAULT, b"key", SeqNo::MAX, "last one").unwrap();
        drop((manager, pool));
        let bytes = std::thread::spawn(move || pinned.to_vec()).join().unwrap();
        assert_eq!(bytes, [7; 100]);
    }
    outlives::<TreeIndex>();
    outlives::<BTreeIndex>();
}
