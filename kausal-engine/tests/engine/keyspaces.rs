//! Keyspaces, range deletes and conditions against ordered maps, through flushes, compactions over several levels, snapshots
//! and reopening.

use std::collections::BTreeMap;

use kausal_engine::{
    Error, KeyRange, KeyspaceId, Options, Snapshot, StorageEngine, WriteBatch, WriteOptions,
};
use proptest::prelude::*;

use crate::{open, small};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Model = BTreeMap<String, Map>;

const NAMES: [&str; 3] = ["default", "one", "two"];

#[derive(Clone, Debug)]
enum Change {
    Put(u8, u16),
    Delete(u8),
    DeleteRange(u8, u8),
}

#[derive(Clone, Debug)]
enum Op {
    Write(Vec<(usize, Change)>),
    /// Compares with the value it has, or with another, and swaps.
    Swap(usize, u8, bool, Option<u16>),
    Create(usize),
    Drop(usize),
    Flush,
    Compact,
    Reopen,
    Snapshot,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<u8>(), any::<u16>()).prop_map(|(key, len)| Change::Put(key, len % 900)),
        2 => any::<u8>().prop_map(Change::Delete),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Change::DeleteRange(one, other)),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => proptest::collection::vec((0..3_usize, change()), 1..20).prop_map(Op::Write),
        3 => (0..3_usize, any::<u8>(), any::<bool>(), proptest::option::of(0..200_u16))
            .prop_map(|(space, key, holds, new)| Op::Swap(space, key, holds, new)),
        2 => (1..3_usize).prop_map(Op::Create),
        1 => (1..3_usize).prop_map(Op::Drop),
        4 => Just(Op::Flush),
        2 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        2 => Just(Op::Snapshot),
    ];
    proptest::collection::vec(op, 1..80)
}

/// Tables and levels so small that borders and deep levels come up with a few writes.
fn tiny_tables() -> Options {
    small().block_bytes(512).table_bytes(4 << 10).level1_bytes(8 << 10).level0_compaction_count(2)
}

fn key(number: u8) -> Vec<u8> {
    format!("key/{:03}", number % 96).into_bytes()
}

fn value(number: u8, len: u16) -> Vec<u8> {
    (0..len).map(|place| number ^ place as u8).collect()
}

/// Both bounds of a range delete, in order and apart.
fn bounds(one: u8, other: u8) -> (Vec<u8>, Vec<u8>) {
    let (first, last) = (key(one).min(key(other)), key(one).max(key(other)));
    (first, [last, b"!".to_vec()].concat())
}

fn apply(map: &mut Map, change: &Change) {
    match *change {
        Change::Put(number, len) => drop(map.insert(key(number), value(number, len))),
        Change::Delete(number) => drop(map.remove(&key(number))),
        Change::DeleteRange(one, other) => {
            let (start, end) = bounds(one, other);
            map.retain(|key, _| *key < start || *key >= end);
        }
    }
}

fn write(engine: &StorageEngine, model: &mut Model, changes: &[(usize, Change)]) {
    let mut batch = WriteBatch::new();
    for (space, change) in changes {
        let Some(keyspace) = engine.keyspace(NAMES[*space]) else { continue };
        let id = keyspace.id();
        match *change {
            Change::Put(number, len) => batch.put_in(id, &key(number), &value(number, len)),
            Change::Delete(number) => batch.delete_in(id, &key(number)),
            Change::DeleteRange(one, other) => {
                let (start, end) = bounds(one, other);
                batch.delete_range_in(id, &start, &end)
            }
        }
        .unwrap();
        apply(model.get_mut(NAMES[*space]).unwrap(), change);
    }
    engine.write(&batch, WriteOptions::default()).unwrap();
}

fn swap(engine: &StorageEngine, model: &mut Model, space: usize, number: u8, holds: bool, new: Option<u16>) {
    let Some(keyspace) = engine.keyspace(NAMES[space]) else { return };
    let map = model.get_mut(NAMES[space]).unwrap();
    let key = key(number);
    let held = map.get(&key).cloned();
    let expected = if holds { held.clone() } else { Some(b"something else".to_vec()) };
    let new = new.map(|len| value(number, len));
    let swapped = keyspace.compare_and_swap(&key, expected.as_deref(), new.as_deref()).unwrap();
    assert_eq!(swapped, holds, "{held:?}");
    if swapped {
        match new {
            Some(new) => drop(map.insert(key, new)),
            None => drop(map.remove(&key)),
        }
    }
}

fn walk(engine: &StorageEngine, name: &str, snapshot: &Snapshot, is_backward: bool) -> Option<Map> {
    let mut cursor = engine.keyspace(name)?.cursor_at(snapshot, KeyRange::all()).unwrap();
    let mut seen = Vec::new();
    let mut more = if is_backward { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while more {
        seen.push((cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec()));
        more = if is_backward { cursor.prev() } else { cursor.next() }.unwrap();
    }
    if is_backward {
        seen.reverse();
    }
    assert!(seen.is_sorted_by(|left, right| left.0 < right.0), "each key once, in order");
    Some(seen.into_iter().collect())
}

fn check(engine: &StorageEngine, snapshot: &Snapshot, model: &Model) {
    for name in NAMES {
        // A keyspace that was dropped since the snapshot is gone for the snapshot too; one made anew is another one.
        let Some(map) = model.get(name) else { continue };
        assert_eq!(walk(engine, name, snapshot, false).as_ref(), Some(map), "{name}, forward");
        assert_eq!(walk(engine, name, snapshot, true).as_ref(), Some(map), "{name}, backward");
        let keyspace = engine.keyspace(name).unwrap();
        for number in 0..96 {
            let key = key(number);
            assert_eq!(keyspace.get_at(snapshot, &key).unwrap().as_ref(), map.get(&key), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn keyspaces_and_ordered_maps_agree(ops in ops()) {
        let folder = tempfile::tempdir().unwrap();
        let reopen = || StorageEngine::open(folder.path(), tiny_tables()).unwrap();
        let mut engine = reopen();
        let mut model = Model::from([("default".to_owned(), Map::new())]);
        let mut snapshots: Vec<(Snapshot, Model)> = Vec::new();
        for op in ops {
            match op {
                Op::Write(changes) => write(&engine, &mut model, &changes),
                Op::Swap(space, key, holds, new) => swap(&engine, &mut model, space, key, holds, new),
                Op::Create(space) => {
                    engine.create_keyspace(NAMES[space]).unwrap();
                    model.entry(NAMES[space].to_owned()).or_default();
                }
                Op::Drop(space) => {
                    let was_there = engine.drop_keyspace(NAMES[space]).unwrap();
                    assert_eq!(was_there, model.remove(NAMES[space]).is_some());
                    snapshots.iter_mut().for_each(|(_, model)| drop(model.remove(NAMES[space])));
                }
                Op::Flush => engine.flush().unwrap(),
                Op::Compact => engine.compact().unwrap(),
                Op::Reopen => {
                    snapshots.clear();
                    engine.close().unwrap();
                    engine = reopen();
                }
                Op::Snapshot => snapshots.push((engine.snapshot(), model.clone())),
            }
        }
        for (snapshot, model) in &snapshots {
            check(&engine, snapshot, model);
        }
        check(&engine, &engine.snapshot(), &model);
        let names: Vec<String> = engine.keyspaces().into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| model.contains_key(name)) && names.len() == model.len(), "{names:?}");
        engine.close().unwrap();
        let vfs: std::sync::Arc<dyn kausal_engine::vfs::Vfs> = std::sync::Arc::new(kausal_engine::vfs::StdVfs);
        kausal_engine::check(&vfs, folder.path(), 64 << 20).unwrap();
    }
}

#[test]
fn what_a_dropped_keyspace_left_in_the_log_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let id = engine.create_keyspace("gone").unwrap().id();
    engine.keyspace("gone").unwrap().put(b"key", b"old").unwrap();
    assert!(engine.drop_keyspace("gone").unwrap());
    let refused = engine.create_keyspace("gone").unwrap();
    assert_ne!(refused.id(), id, "a number is used once");
    let mut batch = WriteBatch::new();
    batch.put_in(id, b"key", b"late").unwrap();
    let late = engine.write(&batch, WriteOptions::default());
    assert!(matches!(late, Err(Error::NoKeyspace { keyspace }) if keyspace == id), "{late:?}");
    engine.close().unwrap();
    let engine = open(folder.path());
    assert_eq!(engine.keyspace("gone").unwrap().get(b"key").unwrap(), None);
}

#[test]
fn names_are_checked_and_the_default_keyspace_stays() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for name in [String::new(), "n".repeat(256)] {
        assert!(matches!(engine.create_keyspace(&name), Err(Error::InvalidArgument { .. })));
    }
    assert!(matches!(engine.drop_keyspace("default"), Err(Error::InvalidArgument { .. })));
    assert!(!engine.drop_keyspace("never there").unwrap());
    assert_eq!(engine.create_keyspace("default").unwrap().id(), KeyspaceId::DEFAULT);
    assert_eq!(engine.keyspaces(), [("default".to_owned(), KeyspaceId::DEFAULT)]);
}

#[test]
fn many_keyspaces_rotate_instead_of_failing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let names: Vec<String> = (0..150).map(|number| format!("keyspace {number}")).collect();
    for name in &names {
        engine.create_keyspace(name).unwrap().put(b"name", name.as_bytes()).unwrap();
    }
    engine.flush().unwrap();
    assert!(engine.stats().flushes >= 2, "150 keyspaces do not fit into one memtable");
    engine.close().unwrap();
    let engine = open(folder.path());
    for name in &names {
        assert_eq!(engine.keyspace(name).unwrap().get(b"name").unwrap().as_deref(), Some(name.as_bytes()));
    }
    let mut batch = WriteBatch::new();
    for (_, id) in engine.keyspaces() {
        batch.put_in(id, b"name", b"all at once").unwrap();
    }
    // More than a memtable has places for: such a batch goes to tables.
    engine.write(&batch, WriteOptions::default()).unwrap();
    for name in &names {
        let value = engine.keyspace(name).unwrap().get(b"name").unwrap();
        assert_eq!(value.as_deref(), Some(&b"all at once"[..]));
    }
}

#[test]
fn a_batch_over_several_keyspaces_is_one_after_a_crash_too() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let (left, right) =
        (engine.create_keyspace("left").unwrap().id(), engine.create_keyspace("right").unwrap().id());
    for number in 0..200_u32 {
        let mut batch = WriteBatch::new();
        batch.put_in(left, b"count", &number.to_be_bytes()).unwrap();
        batch.put_in(right, b"count", &number.to_be_bytes()).unwrap();
        engine.write(&batch, WriteOptions::default()).unwrap();
    }
    // As after a kill: nothing is closed.
    std::mem::forget(engine);
    let lock = folder.path().join("LOCK");
    std::fs::remove_file(lock).unwrap();
    let engine = open(folder.path());
    for name in ["left", "right"] {
        let count = engine.keyspace(name).unwrap().get(b"count").unwrap();
        assert_eq!(count.as_deref(), Some(&199_u32.to_be_bytes()[..]));
    }
}

#[test]
fn a_batch_whose_condition_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"balance", b"10").unwrap();
    let large = vec![7; 400 << 10];
    let mut batch = WriteBatch::new();
    batch.require(b"balance", Some(b"20")).unwrap();
    batch.put(b"balance", b"0").unwrap();
    batch.put(b"receipt", &large).unwrap();
    let refused = engine.write(&batch, WriteOptions::default());
    assert!(matches!(&refused, Err(Error::Conflict { key, .. }) if key == b"balance"), "{refused:?}");
    assert_eq!(engine.get(b"receipt").unwrap(), None);
    let blobs = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".blob")).count()
    };
    assert_eq!(blobs(), 0, "the large value's file is gone with the batch");
    // Conditions on values in blob files compare their bytes.
    engine.put(b"large", &large).unwrap();
    assert!(!engine.compare_and_swap(b"large", Some(&large[1..]), Some(b"small")).unwrap());
    assert!(engine.compare_and_swap(b"large", Some(&large), Some(b"small")).unwrap());
    assert_eq!(engine.get(b"large").unwrap().unwrap(), b"small");
    assert!(engine.compare_and_swap(b"new", None, Some(b"1")).unwrap());
    assert!(!engine.compare_and_swap(b"new", None, Some(b"2")).unwrap());
}
