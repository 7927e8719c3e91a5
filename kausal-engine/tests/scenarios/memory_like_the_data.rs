//! surrealkv#397, fjall#276: compaction, and replay after a crash, that need as much memory as there is data.
//!
//! Here both stream: replay flushes as it goes, a compaction holds a block of each input.

use kausal_engine::{Options, StorageEngine};

use crate::{MIB, assert_inside_its_budget, file_bytes, scattered};

fn with(budget: usize) -> Options {
    Options::new().memory_budget(budget)
}

#[test]
fn a_log_ten_times_the_memtable_is_replayed_inside_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let large = StorageEngine::open(folder.path(), with(192 * MIB)).unwrap();
    for number in 0..65_000_u32 {
        large.put(&scattered(number), &[number as u8; 300]).unwrap();
    }
    large.delete_range(&[0; 4], &[16, 0, 0, 0]).unwrap();
    // As after a kill: all of it is in the log.
    std::mem::forget(large);
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    assert!(file_bytes(folder.path(), ".wal") > 20 * MIB as u64);
    let engine = StorageEngine::open(folder.path(), with(8 * MIB)).unwrap();
    assert_eq!(engine.recovery_report().batch_count, 65_001);
    assert_inside_its_budget(&engine);
    for number in (0..65_000_u32).step_by(97) {
        let key = scattered(number);
        let expected = (key >= [16, 0, 0, 0]).then(|| vec![number as u8; 300]);
        assert_eq!(engine.get(&key).unwrap(), expected);
    }
}

#[test]
fn a_large_value_is_written_without_a_copy_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), with(8 * MIB)).unwrap();
    let value = vec![7; 6 * MIB];
    let counted = allocation_counter::measure(|| engine.put(b"large", &value).unwrap());
    assert!(counted.bytes_max < MIB as u64 / 2, "{} bytes at once for a value of 6 MiB", counted.bytes_max);
    assert_eq!(engine.get(b"large").unwrap().unwrap(), value);
    assert_inside_its_budget(&engine);
}

#[test]
fn a_compaction_of_forty_budgets_stays_inside_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), with(8 * MIB)).unwrap();
    for number in 0..160_000_u32 {
        engine.put(&scattered(number), &[number as u8; 400]).unwrap();
    }
    engine.compact().unwrap();
    let stats = engine.stats();
    assert!(stats.compaction_bytes_written > 40 * 8 * MIB as u64 / 10, "{stats:?}");
    assert_inside_its_budget(&engine);
}
