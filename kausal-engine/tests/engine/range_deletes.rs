//! Range deletes: what they hide, from whom, and that both they and what they hid leave in the end.

use kausal_engine::{Error, KeyRange, Options, StorageEngine, WriteBatch, WriteOptions};

use crate::{open, small};

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

pub(crate) fn keys(engine: &StorageEngine) -> Vec<u32> {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen.push(u32::from_be_bytes(cursor.key().unwrap().try_into().unwrap()));
        more = cursor.next().unwrap();
    }
    seen
}

/// Tables of 4 KiB on several levels.
fn many_tables() -> Options {
    small().block_bytes(512).table_bytes(4 << 10).level1_bytes(16 << 10).level0_compaction_count(2)
}

#[test]
fn a_range_delete_over_many_tables_hides_exactly_its_range() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    // Two tables over the same keys: they are merged, not moved.
    for first in [0, 1] {
        for number in (first..3000).step_by(2) {
            engine.put(&key(number), &[number as u8; 40]).unwrap();
        }
        engine.flush().unwrap();
    }
    engine.compact().unwrap();
    assert!(engine.stats().levels.iter().map(|level| level.table_count).sum::<usize>() > 20);
    let before = engine.snapshot();
    engine.delete_range(&key(500), &key(2500)).unwrap();
    engine.put(&key(1000), b"after").unwrap();
    let expected: Vec<u32> = (0..500).chain([1000]).chain(2500..3000).collect();
    for stage in ["memtable", "level 0", "below"] {
        match stage {
            "level 0" => engine.flush().unwrap(),
            "below" => engine.compact().unwrap(),
            _ => {}
        }
        assert_eq!(keys(&engine), expected, "{stage}");
        for number in (0..3000).step_by(7) {
            let is_there = engine.get(&key(number)).unwrap().is_some();
            assert_eq!(is_there, expected.binary_search(&number).is_ok(), "{stage}: {number}");
            assert!(
                engine.get_at(&before, &key(number)).unwrap().is_some(),
                "{stage}: the snapshot sees all"
            );
        }
    }
    drop(before);
    engine.put(&key(0), b"so that there is something to merge").unwrap();
    engine.compact().unwrap();
    let stats = engine.stats();
    let entries: u64 = stats.levels.iter().map(|level| level.entry_count).sum();
    let ranges: u64 = stats.levels.iter().map(|level| level.range_tombstone_count).sum();
    assert_eq!((entries, ranges), (1001, 0), "hidden entries and what hid them are gone: {stats:?}");
}

#[test]
fn a_database_of_range_tombstones_alone_flushes_and_reopens() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"a", b"1").unwrap();
    engine.flush().unwrap();
    engine.delete_range(b"", b"z").unwrap();
    engine.flush().unwrap();
    assert_eq!(engine.get(b"a").unwrap(), None);
    engine.close().unwrap();
    let engine = open(folder.path());
    assert_eq!(engine.get(b"a").unwrap(), None);
    engine.put(b"b", b"2").unwrap();
    assert_eq!(engine.get(b"b").unwrap().unwrap(), b"2");
    engine.compact().unwrap();
    assert_eq!(engine.get(b"b").unwrap().unwrap(), b"2");
    assert_eq!(engine.get(b"a").unwrap(), None);
}

#[test]
fn within_a_batch_the_later_change_wins() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let mut batch = WriteBatch::new();
    batch.put(b"before", b"1").unwrap();
    batch.delete_range(b"a", b"z").unwrap();
    batch.put(b"behind", b"2").unwrap();
    engine.write(&batch, WriteOptions::default()).unwrap();
    assert_eq!(engine.get(b"before").unwrap(), None);
    assert_eq!(engine.get(b"behind").unwrap().unwrap(), b"2");
}

#[test]
fn a_range_that_covers_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for (start, end) in [(&b"b"[..], &b"a"[..]), (b"a", b"a")] {
        assert!(matches!(engine.delete_range(start, end), Err(Error::InvalidArgument { .. })));
    }
    let long = vec![b'k'; 65_536];
    assert!(matches!(engine.delete_range(b"a", &long), Err(Error::InvalidArgument { .. })));
}

/// Found by the simulation: a table of range tombstones alone ended the walk over its level.
#[test]
fn a_table_of_range_tombstones_alone_hides_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    engine.put(&key(50), b"value").unwrap();
    // Keeps the tombstone alive.
    let snapshot = engine.snapshot();
    engine.compact().unwrap();
    engine.delete_range(&key(10), &key(20)).unwrap();
    engine.compact().unwrap();
    assert_eq!(keys(&engine), [50]);
    engine.put(&key(5), b"value").unwrap();
    drop(snapshot);
    engine.compact().unwrap();
    assert_eq!(keys(&engine), [5, 50]);
}
