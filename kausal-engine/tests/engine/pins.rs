//! Values that are pinned where they lie: they outlive what happens to the database, and are limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_engine::{Builder, DefaultIndex, EngineEvent, EventListener};

use crate::open;

#[test]
fn a_pinned_value_outlives_its_table_and_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"pear", &[1; 500]).unwrap();
    engine.compact().unwrap();
    assert!(engine.get(b"pear").unwrap().is_some(), "its block is in the cache now");
    let pinned = engine.get_pinned(b"pear").unwrap().unwrap();
    assert!(!pinned.is_copy());
    engine.put(b"pear", b"new").unwrap();
    engine.compact().unwrap();
    drop(engine);
    assert_eq!(pinned[..], [1; 500]);
    assert_eq!(pinned.into_bytes(), [1; 500]);
}

#[test]
fn a_value_of_a_memtable_keeps_no_writer_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let mut values = Vec::new();
    for round in 0..4_u8 {
        engine.put(b"pear", &[round; 500]).unwrap();
        values.push(engine.get_pinned(b"pear").unwrap().unwrap());
        engine.flush().unwrap();
    }
    assert!(values.iter().zip(0..).all(|(value, round)| value[..] == [round; 500]));
}

#[test]
fn beyond_the_limit_values_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    // As large as the largest block that a cache of 4 MiB takes.
    let value = vec![7; 60_000];
    engine.put(b"pear", &value).unwrap();
    engine.flush().unwrap();
    let pinned: Vec<_> = (0..15).map(|_| engine.get_pinned(b"pear").unwrap().unwrap()).collect();
    let copies = pinned.iter().filter(|value| value.is_copy()).count();
    // A sixteenth of 8 MiB is eight of them.
    assert_eq!(copies, 7);
    assert!(pinned.iter().all(|pinned| pinned[..] == value[..]));
    drop(pinned);
    assert!(!engine.get_pinned(b"pear").unwrap().unwrap().is_copy());
}

/// Counts how often the limit was reached.
#[derive(Debug, Default)]
struct Reached(AtomicUsize);

impl EventListener for Reached {
    fn event(&self, event: &EngineEvent) {
        if let EngineEvent::PinnedLimitReached { bytes, limit } = event {
            assert!(limit / 2 < *bytes && bytes <= limit, "{bytes} of {limit}");
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn that_the_limit_was_reached_is_told_once_until_half_of_it_is_free() {
    let (folder, reached) = (tempfile::tempdir().unwrap(), Arc::new(Reached::default()));
    let builder = Builder::<DefaultIndex>::new(folder.path(), crate::small()).listener(Arc::clone(&reached));
    let engine = builder.open().unwrap();
    engine.put(b"pear", &[7; 60_000]).unwrap();
    engine.flush().unwrap();
    let pin = |count: usize| -> Vec<_> {
        (0..count).map(|_| engine.get_pinned(b"pear").unwrap().unwrap()).collect()
    };
    let told = || reached.0.load(Ordering::SeqCst);
    // Eight are pinned, the others copied.
    let mut pinned = pin(8);
    assert_eq!(told(), 0);
    pinned.extend(pin(5));
    assert_eq!(told(), 1);
    // One comes and goes at the limit.
    for _ in 0..3 {
        drop(pinned.remove(0));
        pinned.extend(pin(2));
    }
    assert_eq!(told(), 1);
    pinned.clear();
    pinned.extend(pin(9));
    assert_eq!(told(), 2);
}

#[test]
fn a_value_in_a_blob_file_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let value = vec![7; 3 << 20];
    engine.put(b"whale", &value).unwrap();
    let pinned = engine.get_pinned(b"whale").unwrap().unwrap();
    assert!(pinned.is_copy());
    assert_eq!(pinned.into_bytes(), value);
    let mut into = Vec::new();
    assert!(engine.get_into(b"whale", &mut into).unwrap());
    assert_eq!(into, value);
    assert_eq!(engine.multi_get(&[b"whale", b"minnow"]).unwrap(), [Some(value), None]);
}

#[test]
fn an_overwritten_table_s_blocks_leave_the_cache_and_the_budget_holds() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for round in 0..5_u8 {
        for number in 0..20_000_u32 {
            engine.put(&number.to_be_bytes(), &[round; 100]).unwrap();
        }
        engine.compact().unwrap();
        for number in (0..20_000_u32).step_by(7) {
            assert_eq!(engine.get(&number.to_be_bytes()).unwrap().as_deref(), Some(&[round; 100][..]));
        }
        let report = engine.memory_report();
        assert!(report.root().used_max <= 8 << 20, "{report}");
        assert_eq!(report.root().used, report.leaves_used(), "{report}");
    }
    let stats = engine.stats();
    assert!(stats.block_cache_hits > stats.block_cache_misses, "{stats:?}");
}
