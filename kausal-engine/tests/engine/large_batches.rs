//! Batches larger than a memtable: one as always, and inside the budget.

use std::collections::BTreeMap;

use kausal_engine::{Error, KeyRange, StorageEngine, WriteBatch, WriteOptions};

use crate::open;

/// Six times the memtable of 2 MiB: overwrites within the batch, range deletes between, values in blob files.
fn large_batch(model: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for number in 0..40_000_u32 {
        let key = (number.wrapping_mul(2_654_435_761) % 30_000).to_be_bytes();
        let value = vec![number as u8; 300];
        batch.put(&key, &value).unwrap();
        model.insert(key.to_vec(), value);
        if number % 9_000 == 8_999 {
            let (start, end) = (number.to_be_bytes(), (number + 500).to_be_bytes());
            batch.delete_range(&start, &end).unwrap();
            model.retain(|key, _| !(start.as_slice()..end.as_slice()).contains(&key.as_slice()));
        }
    }
    batch.put(b"blob", &[9; 300_000]).unwrap();
    model.insert(b"blob".to_vec(), vec![9; 300_000]);
    batch.delete(&7_u32.to_be_bytes()).unwrap();
    model.remove(&7_u32.to_be_bytes()[..]);
    batch
}

fn assert_holds(engine: &StorageEngine, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    for (key, value) in model {
        assert!(more && cursor.key().unwrap() == key, "{key:?}");
        assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
        more = cursor.next().unwrap();
    }
    assert!(!more);
}

#[test]
fn a_batch_of_six_memtables_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let users = engine.create_keyspace("users").unwrap().id();
    engine.put(&7_u32.to_be_bytes(), b"old").unwrap();
    engine.put(b"beside", b"it").unwrap();
    let before = engine.snapshot();
    let mut model = BTreeMap::from([(b"beside".to_vec(), b"it".to_vec())]);
    let mut batch = large_batch(&mut model);
    batch.put_in(users, b"in another", b"keyspace").unwrap();
    engine.write(&batch, WriteOptions::default()).unwrap();
    assert_holds(&engine, &model);
    assert_eq!(engine.keyspace("users").unwrap().get(b"in another").unwrap().unwrap(), b"keyspace");
    assert_eq!(engine.get_at(&before, &7_u32.to_be_bytes()).unwrap().unwrap(), b"old");
    assert_eq!(engine.get_at(&before, b"blob").unwrap(), None);
    // Later writes win, in memory and in tables.
    engine.put(&8_u32.to_be_bytes(), b"later").unwrap();
    model.insert(8_u32.to_be_bytes().to_vec(), b"later".to_vec());
    engine.flush().unwrap();
    assert_holds(&engine, &model);
    let report = engine.memory_report();
    assert!(report.root().used_max <= report.root().limit, "{report}");
    drop(before);
    // It is durable when it is acknowledged: nothing is closed.
    std::mem::forget(engine);
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    let engine = open(folder.path());
    assert_holds(&engine, &model);
    engine.compact().unwrap();
    assert_holds(&engine, &model);
}

#[test]
fn large_batches_and_small_ones_of_many_threads_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..3_u32 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..4_u32 {
                    let mut batch = WriteBatch::new();
                    for number in 0..5_000_u32 {
                        batch.put(&number.to_be_bytes(), &[(writer * 4 + round) as u8; 300]).unwrap();
                    }
                    engine.write(&batch, WriteOptions::default()).unwrap();
                    for number in 0..50_u32 {
                        engine.put(&(100_000 + writer * 1_000 + number).to_be_bytes(), b"small").unwrap();
                    }
                }
            });
        }
        let engine = &engine;
        scope.spawn(move || {
            for _ in 0..30 {
                let snapshot = engine.snapshot();
                let first = engine.get_at(&snapshot, &0_u32.to_be_bytes()).unwrap();
                for number in [1_u32, 2_500, 4_999] {
                    let value = engine.get_at(&snapshot, &number.to_be_bytes()).unwrap();
                    assert_eq!(value, first, "a batch is visible as a whole");
                }
            }
        });
    });
    for writer in 0..3_u32 {
        assert_eq!(engine.get(&(100_049 + writer * 1_000).to_be_bytes()).unwrap().unwrap(), b"small");
    }
}

#[test]
fn a_large_batch_whose_condition_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"version", b"1").unwrap();
    let mut batch = large_batch(&mut BTreeMap::new());
    batch.require(b"version", Some(b"2")).unwrap();
    let refused = engine.write(&batch, WriteOptions::default());
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_holds(&engine, &BTreeMap::from([(b"version".to_vec(), b"1".to_vec())]));
    engine.close().unwrap();
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".blob")).collect();
    assert!(left.is_empty(), "{left:?}");
}
