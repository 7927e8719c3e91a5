//! Damage to what was synced: refused, unless the options ask for what is before it.

use std::path::{Path, PathBuf};

use kausal_engine::{Durability, Error, StorageEngine, WriteBatch, WriteOptions};

use crate::{open, small};

/// A database of twenty synced batches in one log, not closed, and the log.
fn synced(folder: &Path) -> PathBuf {
    let engine = open(folder);
    for number in 0..20_u8 {
        let mut batch = WriteBatch::new();
        batch.put(&[number], &[number; 50]).unwrap();
        engine.write(&batch, WriteOptions::durable(Durability::Power)).unwrap();
    }
    // As after a kill.
    std::mem::forget(engine);
    std::fs::remove_file(folder.join("LOCK")).unwrap();
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).max().unwrap()
}

#[test]
fn salvage_keeps_what_is_before_the_damage_and_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = synced(folder.path());
    let mut bytes = std::fs::read(&log).unwrap();
    let place = bytes.windows(50).position(|window| window == [7; 50]).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let refused = StorageEngine::open(folder.path(), small());
    let Err(error @ Error::Corruption { file, offset, .. }) = &refused else { panic!("{refused:?}") };
    assert!(*file == log && (*offset as usize) < place, "{refused:?}");
    assert!(error.to_string().contains("open with `Options::salvage`"), "{error}");

    let engine = StorageEngine::open(folder.path(), small().salvage(true)).unwrap();
    let report = engine.recovery_report();
    assert_eq!(report.salvaged.len(), 1, "{report:?}");
    assert_eq!((&report.salvaged[0].file, report.salvaged[0].offset), (file, *offset));
    for number in 0..20_u8 {
        assert_eq!(engine.get(&[number]).unwrap().is_some(), number < 7, "a prefix: {number}");
    }
    engine.put(b"after", b"salvage").unwrap();
    engine.close().unwrap();
    // What was salvaged is an ordinary database.
    let engine = open(folder.path());
    assert_eq!(engine.get(b"after").unwrap().unwrap(), b"salvage");
    assert!(engine.recovery_report().salvaged.is_empty());
}

#[test]
fn a_log_that_is_missing_is_refused_and_can_be_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"key", b"value").unwrap();
    engine.close().unwrap();
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let log =
        names.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).max().unwrap();
    std::fs::remove_file(&log).unwrap();
    let refused = StorageEngine::open(folder.path(), small());
    assert!(matches!(&refused, Err(Error::Corruption { file, .. }) if *file == log), "{refused:?}");
    let engine = StorageEngine::open(folder.path(), small().salvage(true)).unwrap();
    assert_eq!(engine.recovery_report().salvaged[0].file, log);
    assert_eq!(engine.get(b"key").unwrap(), None);
}
