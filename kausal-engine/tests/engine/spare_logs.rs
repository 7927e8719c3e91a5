//! The file of a log that was flushed is that of a later one.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kausal_engine::{Durability, StorageEngine};

use crate::{keeps_files, killed, open, small};

const SPARE: &str = "SPARE";

/// The logs of a database, the spare one included, by name, with what makes a file the same file.
fn logs(folder: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let is_log = |path: &Path| path.ends_with(SPARE) || path.extension().is_some_and(|kind| kind == "wal");
    let logs = entries.filter(|entry| is_log(&entry.path()));
    logs.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino())).collect()
}

/// The spare log, which holds nothing. A flush has made it when it returns.
fn spare(folder: &Path) -> u64 {
    assert!(std::fs::read(folder.join(SPARE)).unwrap().iter().all(|&byte| byte == 0));
    logs(folder)[SPARE]
}

fn put_some(engine: &StorageEngine, numbers: std::ops::Range<u32>) {
    for number in numbers {
        engine.put(&number.to_be_bytes(), &[number as u8; 300]).unwrap();
    }
}

#[test]
fn a_flushed_log_s_file_is_the_next_log_s_and_shows_nothing_of_what_was_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    put_some(&engine, 0..2_000);
    engine.flush().unwrap();
    if !keeps_files(folder.path()) {
        return;
    }
    let first = spare(folder.path());

    put_some(&engine, 2_000..2_010);
    engine.flush().unwrap();
    let second = spare(folder.path());
    put_some(&engine, 2_010..2_013);
    // The first log's file is that of the third one, which has the three entries.
    let now = logs(folder.path());
    assert!(second != first && now.values().filter(|&&file| file == first).count() == 1, "{now:?}");

    let killed = killed(folder.path());
    let recovered = open(killed.path());
    let report = recovered.recovery_report();
    assert_eq!((report.batch_count, report.dropped_bytes, report.dropped_log_count), (3, 0, 0));
    for number in 0..2_013_u32 {
        assert_eq!(recovered.get(&number.to_be_bytes()).unwrap().unwrap(), [number as u8; 300]);
    }
    assert!(!logs(killed.path()).contains_key(SPARE), "an open removes it");
    engine.close().unwrap();
    assert!(!logs(folder.path()).contains_key(SPARE), "and so does a close");
}

#[test]
fn a_log_that_has_another_name_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    put_some(&engine, 0..1_000);
    let (name, _) = logs(folder.path()).pop_first().unwrap();
    let elsewhere = tempfile::tempdir_in(folder.path()).unwrap();
    let second = elsewhere.path().join(&name);
    std::fs::hard_link(folder.path().join(&name), &second).unwrap();
    let before = std::fs::read(&second).unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    assert!(std::fs::read(&second).unwrap() == before, "the backup's log was written to");
}

#[test]
fn where_every_write_is_synced_no_log_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), small().durability(Durability::Power)).unwrap();
    put_some(&engine, 0..50);
    engine.flush().unwrap();
    assert!(!logs(folder.path()).contains_key(SPARE));
}

#[test]
fn what_is_synced_into_a_kept_log_survives_with_all_that_lies_before() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    put_some(&engine, 0..3_000);
    engine.flush().unwrap();
    put_some(&engine, 3_000..3_100);
    engine.flush().unwrap();
    put_some(&engine, 3_100..3_200);
    engine.sync().unwrap();
    let killed = killed(folder.path());
    let recovered = open(killed.path());
    assert_eq!(recovered.recovery_report().dropped_bytes, 0);
    for number in 0..3_200_u32 {
        assert_eq!(recovered.get(&number.to_be_bytes()).unwrap().unwrap(), [number as u8; 300]);
    }
}
