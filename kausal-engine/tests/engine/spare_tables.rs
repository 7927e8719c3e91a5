//! The files of tables that were merged away are those of later tables, unless somebody counts on what is in them.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use kausal_engine::{KeyRange, Options, StorageEngine};

use crate::{keeps_files, killed, small};

const KEYS: u32 = 4_000;

/// What makes a file the same file: the number of its inode is another's once it has been removed.
type Identity = (u64, Option<SystemTime>);

/// Of trees that are merged while they are written, and not once nobody does.
fn options() -> Options {
    small().settle_after(None).table_bytes(64 << 10).level1_bytes(256 << 10)
}

fn open(folder: &Path) -> StorageEngine {
    StorageEngine::open(folder, options()).unwrap()
}

/// The tables of a folder, by name.
fn tables(folder: &Path) -> BTreeMap<String, Identity> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let tables = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "sst"));
    let identity = |about: std::fs::Metadata| (about.ino(), about.created().ok());
    // One that is removed meanwhile has nothing to tell.
    let named = |entry: std::fs::DirEntry| {
        Some((entry.file_name().into_string().unwrap(), identity(entry.metadata().ok()?)))
    };
    tables.filter_map(named).collect()
}

/// Waits until `is_so`.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        sleep(Duration::from_millis(2));
    }
}

fn value(number: u32, round: u32) -> Vec<u8> {
    [number.to_le_bytes(), round.to_le_bytes()].concat().repeat(12)
}

/// Writes all keys, those of later rounds in other orders, and waits for what is to be merged.
fn fill(engine: &StorageEngine, round: u32) {
    for number in 0..KEYS {
        let number = number * 7 % KEYS;
        engine.put(&number.to_be_bytes(), &value(number, round)).unwrap();
    }
    engine.flush().unwrap();
    wait_until(|| engine.metrics().pending_compaction_bytes == 0);
}

fn assert_is_of(engine: &StorageEngine, round: u32) {
    for number in 0..KEYS {
        assert_eq!(engine.get(&number.to_be_bytes()).unwrap().unwrap(), value(number, round));
    }
}

/// How many tables of one file had another name in `before`.
fn renamed(before: &BTreeMap<String, Identity>, after: &BTreeMap<String, Identity>) -> usize {
    let files: BTreeMap<Identity, &String> = before.iter().map(|(name, &file)| (file, name)).collect();
    after.iter().filter(|&(name, file)| files.get(file).is_some_and(|&old| old != name)).count()
}

fn table_count(engine: &StorageEngine) -> usize {
    engine.stats().levels.iter().map(|level| level.table_count).sum()
}

/// Files of tables that the tree has no table of. Nothing is being merged.
fn spare_count(engine: &StorageEngine, folder: &Path) -> usize {
    tables(folder).len() - table_count(engine)
}

#[test]
fn the_files_of_merged_tables_are_written_over_and_show_nothing_of_what_was_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let (mut before, mut reused) = (BTreeMap::new(), 0);
    for round in 0..20 {
        fill(&engine, round);
        let after = tables(folder.path());
        reused += renamed(&before, &after);
        before = after;
        assert_is_of(&engine, round);
    }
    if !keeps_files(folder.path()) {
        return;
    }
    assert!(reused > 10, "{reused} files had another name before");
    let spares = spare_count(&engine, folder.path());
    assert!((1..=32).contains(&spares), "{spares}");

    // A spare is nothing to whoever recovers.
    let killed = killed(folder.path());
    let recovered = open(killed.path());
    assert_is_of(&recovered, 19);
    assert_eq!(spare_count(&recovered, killed.path()), 0);

    engine.compact().unwrap();
    assert_eq!(spare_count(&engine, folder.path()), 0, "whoever asks for it gets the space");
    fill(&engine, 20);
    fill(&engine, 21);
    let of_the_tree = table_count(&engine);
    engine.close().unwrap();
    assert_eq!(tables(folder.path()).len(), of_the_tree, "a close removes them");
    assert_is_of(&open(folder.path()), 21);
}

#[test]
fn a_cursor_sees_its_moment_while_files_are_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    fill(&engine, 0);
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    let snapshot = engine.snapshot();
    for number in 0..KEYS {
        assert!(more);
        assert_eq!(cursor.value().unwrap(), value(number, 0));
        more = cursor.next().unwrap();
        if number % 500 == 0 {
            fill(&engine, 1 + number / 500);
            let old = engine.get_at(&snapshot, &number.to_be_bytes()).unwrap();
            assert_eq!(old.unwrap(), value(number, 0));
        }
    }
    assert!(!more);
}

#[test]
fn a_table_that_has_another_name_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    fill(&engine, 0);
    let target = folder.path().join("checkpoint");
    engine.checkpoint(&target).unwrap();
    let linked: BTreeSet<Identity> = tables(&target).into_values().collect();
    for round in 1..12 {
        fill(&engine, round);
    }
    engine.compact().unwrap();
    let now = tables(folder.path());
    assert!(now.values().all(|file| !linked.contains(file)), "all of them were merged meanwhile");
    assert_is_of(&engine, 11);
    assert_is_of(&open(&target), 0);
}

#[test]
fn mapped_tables_are_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_files(folder.path()) {
        return;
    }
    let engine = StorageEngine::open(folder.path(), options().mapped_tables(true)).unwrap();
    let mut before = BTreeMap::new();
    for round in 0..12 {
        fill(&engine, round);
        let after = tables(folder.path());
        assert_eq!(renamed(&before, &after), 0);
        before = after;
    }
    assert_is_of(&engine, 11);
}

#[test]
fn spares_go_when_the_tree_is_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let soon = Some(Duration::from_millis(20));
    let engine = StorageEngine::open(folder.path(), options().settle_after(soon)).unwrap();
    for round in 0..12 {
        fill(&engine, round);
    }
    wait_until(|| tables(folder.path()).len() == table_count(&engine));
    assert_is_of(&engine, 11);
}
