//! The engine against an ordered map, through flushes, compactions, snapshots and reopening.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use kausal_engine::{Error, KeyRange, StorageEngine, WriteBatch, WriteOptions};
use proptest::prelude::*;

use crate::{open, open_as, small};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u16),
    Delete(u8),
    Batch(Vec<(u8, Option<u16>)>),
    /// The keys, and the length of their values.
    Ingest(BTreeSet<u8>, u16),
    Flush,
    Compact,
    Reopen,
    Snapshot,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (any::<u8>(), any::<u16>()).prop_map(|(key, len)| Op::Put(key, len % 600)),
        3 => any::<u8>().prop_map(Op::Delete),
        2 => proptest::collection::vec((any::<u8>(), proptest::option::of(0..300_u16)), 1..12).prop_map(Op::Batch),
        1 => (proptest::collection::btree_set(0..64_u8, 0..20), 0..600_u16).prop_map(|(keys, len)| Op::Ingest(keys, len)),
        1 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        1 => Just(Op::Snapshot),
    ];
    proptest::collection::vec(op, 1..60)
}

fn key(number: u8) -> Vec<u8> {
    format!("key/{:03}", number % 64).into_bytes()
}

fn value(number: u8, len: u16) -> Vec<u8> {
    (0..len).map(|place| number ^ place as u8).collect()
}

fn collect(engine: &StorageEngine, snapshot: &kausal_engine::Snapshot, backward: bool) -> Model {
    let mut cursor = engine.cursor_at(snapshot, KeyRange::all()).unwrap();
    let mut seen = Vec::new();
    let mut more = if backward { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while more {
        seen.push((cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec()));
        more = if backward { cursor.prev() } else { cursor.next() }.unwrap();
    }
    if backward {
        seen.reverse();
    }
    assert!(seen.is_sorted_by(|left, right| left.0 < right.0), "each key once, in order");
    seen.into_iter().collect()
}

fn check(engine: &StorageEngine, snapshot: &kausal_engine::Snapshot, model: &Model) {
    assert_eq!(&collect(engine, snapshot, false), model);
    assert_eq!(&collect(engine, snapshot, true), model);
    let mut lent = Model::new();
    let mut cursor = engine.cursor_at(snapshot, KeyRange::all()).unwrap();
    let saw_all = cursor.walk(|entry| {
        lent.insert(entry.key().to_vec(), entry.value().unwrap().to_vec());
        ControlFlow::Continue(())
    });
    assert!(saw_all.unwrap());
    assert_eq!(&lent, model);
    for number in 0..64 {
        let key = key(number);
        assert_eq!(engine.get_at(snapshot, &key).unwrap().as_ref(), model.get(&key));
    }
}

/// The other ways to look keys up, at the present moment.
fn check_look_ups(engine: &StorageEngine, model: &Model) {
    // Backwards, some twice, some absent.
    let keys: Vec<Vec<u8>> =
        (0..70).rev().chain(10..14).map(|number| format!("key/{number:03}").into()).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let expected: Vec<Option<&[u8]>> = keys.iter().map(|&key| model.get(key).map(Vec::as_slice)).collect();
    let found = engine.multi_get(&keys).unwrap();
    assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert_eq!(engine.request().unwrap().multi_get(&keys).unwrap(), expected);
    let mut pinned = Vec::new();
    let mut value = b"what was there before".to_vec();
    for (key, expected) in keys.iter().zip(&expected) {
        assert_eq!(engine.get_into(key, &mut value).unwrap().then_some(&value[..]), *expected);
        pinned.push(engine.get_pinned(key).unwrap());
    }
    assert!(engine.stats().pinned_value_bytes <= 8 << 20 >> 4);
    for (value, expected) in pinned.into_iter().zip(&expected) {
        assert_eq!(value.as_deref(), *expected);
        assert_eq!(value.map(kausal_engine::PinnedValue::into_bytes).as_deref(), *expected);
    }
    assert_eq!(engine.stats().pinned_value_bytes, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn engine_and_ordered_map_agree(ops in ops(), is_mapped in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = open_as(is_mapped, folder.path());
        let mut model = Model::new();
        let mut snapshots = Vec::new();
        for op in ops {
            match op {
                Op::Put(number, len) => {
                    engine.put(&key(number), &value(number, len)).unwrap();
                    model.insert(key(number), value(number, len));
                }
                Op::Delete(number) => {
                    engine.delete(&key(number)).unwrap();
                    model.remove(&key(number));
                }
                Op::Batch(changes) => {
                    let mut batch = WriteBatch::new();
                    for (number, len) in changes {
                        match len {
                            Some(len) => {
                                batch.put(&key(number), &value(number, len)).unwrap();
                                model.insert(key(number), value(number, len));
                            }
                            None => {
                                batch.delete(&key(number)).unwrap();
                                model.remove(&key(number));
                            }
                        }
                    }
                    engine.write(&batch, WriteOptions::default()).unwrap();
                }
                Op::Ingest(numbers, len) => {
                    let count = engine.ingest(|entries| -> Result<(), Error> {
                        for &number in &numbers {
                            entries.put(&key(number), &value(number, len))?;
                        }
                        Ok(())
                    });
                    assert_eq!(count.unwrap(), numbers.len() as u64);
                    model.extend(numbers.into_iter().map(|number| (key(number), value(number, len))));
                }
                Op::Flush => engine.flush().unwrap(),
                Op::Compact => engine.compact().unwrap(),
                Op::Reopen => {
                    snapshots.clear();
                    engine.close().unwrap();
                    engine = open_as(is_mapped, folder.path());
                }
                Op::Snapshot => snapshots.push((engine.snapshot(), model.clone())),
            }
        }
        for (snapshot, model) in &snapshots {
            check(&engine, snapshot, model);
        }
        check(&engine, &engine.snapshot(), &model);
        check_look_ups(&engine, &model);
    }
}

#[test]
fn many_writes_flush_and_compact_inside_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let count = 60_000_u32;
    for number in 0..count {
        let scattered = number.wrapping_mul(2_654_435_761);
        engine.put(&scattered.to_be_bytes(), &[number as u8; 300]).unwrap();
    }
    let report = engine.memory_report();
    assert!(report.root().used_max <= 8 << 20, "{report}");
    assert_eq!(report.root().used, report.leaves_used(), "{report}");
    assert!(engine.stats().flushes >= 4, "{:?}", engine.stats());
    for number in (0..count).step_by(97) {
        let scattered = number.wrapping_mul(2_654_435_761);
        assert_eq!(engine.get(&scattered.to_be_bytes()).unwrap().unwrap(), [number as u8; 300]);
    }
    engine.compact().unwrap();
    assert!(engine.stats().compactions >= 1, "{:?}", engine.stats());
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut seen = 0;
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(seen, count);
}

#[test]
fn large_values_live_in_blob_files_and_go_with_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".blob")).count()
    };
    let engine = open(folder.path());
    let large: Vec<u8> = (0..20_000_000_u32).map(|place| (place / 7) as u8).collect();
    engine.put_reader(b"large", &mut large.as_slice(), large.len() as u64, WriteOptions::default()).unwrap();
    engine.put(b"medium", &large[..2_000_000]).unwrap();
    assert_eq!(blobs(), 2);
    assert!(engine.get(b"large").unwrap().unwrap() == large);
    engine.close().unwrap();
    let engine = open(folder.path());
    assert!(engine.get(b"large").unwrap().unwrap() == large);
    assert!(engine.get(b"medium").unwrap().unwrap() == large[..2_000_000]);
    engine.delete(b"large").unwrap();
    engine.put(b"medium", b"small").unwrap();
    engine.compact().unwrap();
    assert_eq!(blobs(), 0);
    assert_eq!(engine.get(b"medium").unwrap().unwrap(), b"small");
}

#[test]
fn request_obeys_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..100_u32 {
        engine.put(&number.to_be_bytes(), &[7; 10_000]).unwrap();
    }
    let request = engine.request_with(64 << 10).unwrap();
    let page = request.scan(KeyRange::all(), 100).unwrap();
    assert!(page.has_more && page.pairs.len() == 6, "{}", page.pairs.len());
    let key = 50_u32.to_be_bytes();
    assert!(request.get(&key).is_err());
    drop(request);
    let request = engine.request_with(64 << 10).unwrap();
    assert_eq!(request.get(&key).unwrap(), Some(&[7; 10_000][..]));
}

#[test]
fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _engine = open(folder.path());
    let second = StorageEngine::open(folder.path(), small());
    assert!(matches!(second, Err(kausal_engine::Error::Locked { .. })));
}

#[test]
fn values_just_below_the_blob_limit_flush_and_compact_at_the_smallest_budget() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for limit_bytes in [256 << 10, 128 << 10] {
        for number in 0..150_u32 {
            let key = (number * 7 % 50).to_be_bytes();
            engine.put(&key, &vec![number as u8; limit_bytes - 100]).unwrap();
        }
        engine.compact().unwrap();
    }
    let report = engine.memory_report();
    assert!(report.root().used_max <= 8 << 20, "{report}");
    for number in 100..150_u32 {
        let key = (number * 7 % 50).to_be_bytes();
        assert_eq!(engine.get(&key).unwrap().unwrap(), vec![number as u8; (128 << 10) - 100]);
    }
}

#[test]
fn the_smallest_entries_flush_and_compact_at_the_smallest_budget() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let count = 150_000_u32;
    let mut batch = WriteBatch::new();
    for number in 0..count {
        batch.put(&number.wrapping_mul(2_654_435_761).to_be_bytes(), b"").unwrap();
        if batch.len() == 1000 {
            engine.write(&batch, WriteOptions::default()).unwrap();
            batch.clear();
        }
    }
    engine.compact().unwrap();
    let report = engine.memory_report();
    assert!(report.root().used_max <= 8 << 20, "{report}");
    for number in (0..count).step_by(101) {
        assert_eq!(engine.get(&number.wrapping_mul(2_654_435_761).to_be_bytes()).unwrap().unwrap(), b"");
    }
}
