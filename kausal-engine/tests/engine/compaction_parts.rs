//! Compactions in parts: what is there afterwards is what a whole merge leaves, on as many threads as there are.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kausal_engine::vfs::{StdVfs, Vfs};
use kausal_engine::{Error, KeyRange, Options, Snapshot, StorageEngine};
use proptest::prelude::*;

use crate::faulty::FaultyVfs;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const KEYS: u16 = 400;

/// As long as to lie in a blob file.
const BLOB_BYTES: u16 = u16::MAX;

#[derive(Clone, Debug)]
enum Op {
    Put(u16, u16),
    Delete(u16),
    /// The first key, and how many.
    DeleteRange(u16, u16),
    Flush,
    Compact,
    Snapshot,
    DropSnapshot,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        16 => (0..KEYS, 0..500_u16).prop_map(|(key, len)| Op::Put(key, len)),
        1 => (0..KEYS).prop_map(|key| Op::Put(key, BLOB_BYTES)),
        6 => (0..KEYS).prop_map(Op::Delete),
        2 => (0..KEYS, 1..KEYS).prop_map(|(key, count)| Op::DeleteRange(key, count)),
        2 => Just(Op::Flush),
        2 => Just(Op::Compact),
        2 => Just(Op::Snapshot),
        1 => Just(Op::DropSnapshot),
    ];
    proptest::collection::vec(op, 1..120)
}

fn key(number: u16) -> Vec<u8> {
    format!("key/{number:05}").into_bytes()
}

fn value(number: u16, len: u16) -> Vec<u8> {
    // Longer than the longest beside its key at this budget.
    let len = if len == BLOB_BYTES { 300_000 } else { usize::from(len) };
    (0..len).map(|place| (usize::from(number) ^ place) as u8).collect()
}

/// Tables of a few KiB, so that there is something to cut, and compactions only when they are asked for.
fn options(threads: usize) -> Options {
    let options = Options::new().memory_budget(32 << 20).compaction_threads(threads).block_bytes(512);
    options.table_bytes(6 << 10).level1_bytes(1 << 30).level0_compaction_count(1_000).settle_after(None)
}

fn collect(engine: &StorageEngine, snapshot: &Snapshot, backward: bool) -> Model {
    let mut cursor = engine.cursor_at(snapshot, KeyRange::all()).unwrap();
    let mut seen = Vec::new();
    let mut more = if backward { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while more {
        let mut value = Vec::new();
        cursor.value_reader().unwrap().read_to_end(&mut value).unwrap();
        seen.push((cursor.key().unwrap().to_vec(), value));
        more = if backward { cursor.prev() } else { cursor.next() }.unwrap();
    }
    if backward {
        seen.reverse();
    }
    assert!(seen.is_sorted_by(|left, right| left.0 < right.0), "each key once, in order");
    seen.into_iter().collect()
}

fn assert_holds(engine: &StorageEngine, snapshot: &Snapshot, model: &Model) {
    assert!(collect(engine, snapshot, false) == *model);
    assert!(collect(engine, snapshot, true) == *model);
    for number in 0..KEYS {
        let found = engine.get_at(snapshot, &key(number)).unwrap();
        assert!(found.as_ref() == model.get(&key(number)), "{number}");
    }
}

fn check(folder: &Path) {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    let report = kausal_engine::check(&vfs, folder, 8 << 20).unwrap();
    assert_eq!(report.unnamed_file_count, 0, "{report:?}");
}

/// Two tables over the same keys, several parts' worth.
fn fill(engine: &StorageEngine, model: &mut Model) {
    for round in 0..2 {
        for number in (round..KEYS).step_by(2) {
            engine.put(&key(number), &value(number, 200)).unwrap();
            model.insert(key(number), value(number, 200));
        }
        engine.flush().unwrap();
    }
}

fn run(ops: &[Op], threads: usize) {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), options(threads)).unwrap();
    let (mut model, mut snapshots) = (Model::new(), Vec::new());
    fill(&engine, &mut model);
    for op in ops.iter().chain([&Op::Compact]) {
        match *op {
            Op::Put(number, len) => {
                engine.put(&key(number), &value(number, len)).unwrap();
                model.insert(key(number), value(number, len));
            }
            Op::Delete(number) => {
                engine.delete(&key(number)).unwrap();
                model.remove(&key(number));
            }
            Op::DeleteRange(first, count) => {
                let (start, end) = (key(first), key(first + count));
                engine.delete_range(&start, &end).unwrap();
                model.retain(|key, _| !(start <= *key && *key < end));
            }
            Op::Flush => engine.flush().unwrap(),
            Op::Compact => engine.compact().unwrap(),
            Op::Snapshot => snapshots.push((engine.snapshot(), model.clone())),
            Op::DropSnapshot => drop(snapshots.pop()),
        }
    }
    assert_eq!(engine.stats().compaction_parts > 0, threads > 1, "{:?}", engine.stats());
    for (snapshot, model) in &snapshots {
        assert_holds(&engine, snapshot, model);
    }
    assert_holds(&engine, &engine.snapshot(), &model);
    let report = engine.memory_report();
    assert_eq!(report.root().used, report.leaves_used(), "{report}");
    drop(snapshots);
    engine.close().unwrap();
    check(folder.path());
    let engine = StorageEngine::open(folder.path(), options(1)).unwrap();
    assert_holds(&engine, &engine.snapshot(), &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn in_parts_or_whole_a_compaction_leaves_the_same(ops in ops()) {
        run(&ops, 1);
        run(&ops, 4);
    }
}

/// One range tombstone over all borders but the ends, and one that a snapshot keeps apart from it.
#[test]
fn a_range_tombstone_across_all_borders_hides_what_it_did() {
    let delete = |first, count| Op::DeleteRange(first, count);
    let ops = [delete(10, 300), Op::Snapshot, Op::Put(100, 30), delete(90, 250), Op::Flush, Op::Compact];
    run(&ops, 4);
    run(&[delete(0, KEYS), Op::Compact], 4);
}

#[test]
fn a_compaction_is_cut_only_where_it_has_the_bytes_of_several_tables() {
    let folder = tempfile::tempdir().unwrap();
    let parts = |table_bytes: u64, threads: usize| {
        let folder = folder.path().join(format!("{table_bytes}/{threads}"));
        let engine = StorageEngine::open(folder, options(threads).table_bytes(table_bytes)).unwrap();
        fill(&engine, &mut Model::new());
        engine.compact().unwrap();
        assert_eq!(engine.stats().compactions, 1);
        engine.stats().compaction_parts
    };
    // 400 keys with values of 200 bytes: about 95 KiB.
    assert_eq!(parts(6 << 10, 1), 0);
    assert_eq!(parts(6 << 10, 2), 2);
    assert_eq!(parts(6 << 10, 4), 4);
    assert_eq!(parts(40 << 10, 4), 2);
    assert_eq!(parts(64 << 10, 4), 0);
}

/// No part has more than it said, or waits for it: the smallest budget has room for two parts or so.
#[test]
fn parts_stay_inside_the_smallest_budget() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().memory_budget(8 << 20).compaction_threads(4).table_bytes(1 << 20);
    let engine = StorageEngine::open(folder.path(), options).unwrap();
    let count = 60_000_u32;
    let scattered = |number: u32| number.wrapping_mul(2_654_435_761).to_be_bytes();
    for number in 0..count {
        // Some as long as they may be beside their keys: far longer than the mean.
        let len = if number.is_multiple_of(1_000) { 60_000 } else { 300 };
        engine.put(&scattered(number), &vec![number as u8; len]).unwrap();
    }
    engine.compact().unwrap();
    let (stats, report) = (engine.stats(), engine.memory_report());
    assert!(report.root().used_max <= 8 << 20, "{report}");
    assert_eq!(report.root().used, report.leaves_used(), "{report}");
    assert!(stats.compaction_parts > 0, "{stats:?}");
    let parts = report.nodes().iter().find(|node| &*node.name == "compaction parts").unwrap();
    assert_eq!((parts.used, parts.reserved), (0, 0), "nothing stays set aside: {report}");
    assert!(parts.used_max > 0, "{report}");
    for number in (0..count).step_by(97) {
        assert_eq!(engine.get(&scattered(number)).unwrap().unwrap()[..300], [number as u8; 300]);
    }
    engine.close().unwrap();
    check(folder.path());
}

fn table_names(folder: &Path) -> Vec<std::ffi::OsString> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".sst")).collect();
    names.sort();
    names
}

/// The thread that asked for the compaction is not the one that panics, and it learns of it.
#[test]
fn a_panic_in_a_part_is_a_failure_and_no_wait_without_end() {
    let (folder, vfs) = (tempfile::tempdir().unwrap(), FaultyVfs::default());
    let engine = vfs.open(folder.path(), options(4));
    let mut model = Model::new();
    fill(&engine, &mut model);
    let before = table_names(folder.path());
    vfs.faults.set(|faults| &faults.panics_in_compaction, true);
    let failed = engine.compact();
    assert!(matches!(failed, Err(Error::BackgroundPanic)), "{failed:?}");
    assert_eq!(table_names(folder.path()), before, "what other parts wrote is gone");
    vfs.faults.set(|faults| &faults.panics_in_compaction, false);
    engine.compact().unwrap();
    assert_holds(&engine, &engine.snapshot(), &model);
    assert_eq!(engine.stats().compaction_parts, 4);
    engine.close().unwrap();
    check(folder.path());
}

/// Whoever merges a part lets go of the database before the close ends, and of its files: the next open finds no lock.
#[test]
fn a_close_in_the_middle_of_parts_lets_the_folder_go() {
    let folder = tempfile::tempdir().unwrap();
    let options = || options(4).level0_compaction_count(2).level1_bytes(64 << 10);
    let mut model = Model::new();
    for round in 0..40_u16 {
        let engine = StorageEngine::open(folder.path(), options()).unwrap();
        for number in (0..KEYS).filter(|number| number % 4 != round % 4) {
            engine.put(&key(number), &value(number ^ round, 200)).unwrap();
            model.insert(key(number), value(number ^ round, 200));
        }
        engine.flush().unwrap();
        // Sometimes a merge has begun, sometimes it has ended.
        for _ in 0..round % 8 {
            assert_holds(&engine, &engine.snapshot(), &model);
        }
        engine.close().unwrap();
        check(folder.path());
    }
    let engine = StorageEngine::open(folder.path(), options()).unwrap();
    engine.compact().unwrap();
    assert_holds(&engine, &engine.snapshot(), &model);
}
