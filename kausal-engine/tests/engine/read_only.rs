//! Databases that are only read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kausal_engine::{Error, KeyRange, StorageEngine, WriteBatch, WriteOptions};

use crate::{open, small};

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn who_only_reads_sees_everything_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // No job changes anything behind the back of the readers.
    let engine = StorageEngine::open(folder.path(), small().settle_after(None)).unwrap();
    let users = engine.create_keyspace("users").unwrap().id();
    for number in 0..9_000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 300]).unwrap();
    }
    engine.flush().unwrap();
    let mut batch = WriteBatch::new();
    batch.put_in(users, b"7", b"Ada").unwrap();
    batch.put(b"large", &vec![3; 600 << 10]).unwrap();
    engine.write(&batch, WriteOptions::default()).unwrap();
    // As after a kill: tables and a log.
    std::mem::forget(engine);
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    std::fs::write(folder.path().join("999999.sst"), b"what nobody names").unwrap();
    std::fs::write(folder.path().join("LOCK"), b"").unwrap();
    let before = contents(folder.path());

    let readers = [0, 1].map(|_| StorageEngine::open(folder.path(), small().read_only(true)).unwrap());
    assert!(matches!(StorageEngine::open(folder.path(), small()), Err(Error::Locked { .. })));
    for reader in &readers {
        assert_eq!(reader.keyspace("users").unwrap().get(b"7").unwrap().unwrap(), b"Ada");
        assert_eq!(reader.get(b"large").unwrap().unwrap().len(), 600 << 10);
        let mut cursor = reader.cursor(KeyRange::all()).unwrap();
        let mut count = 0;
        let mut more = cursor.seek_to_first().unwrap();
        while more {
            count += 1;
            more = cursor.next().unwrap();
        }
        assert_eq!(count, 9_001);
    }
    let [reader, other] = readers;
    drop(other);
    let refusals = [
        reader.put(b"key", b"value").unwrap_err(),
        reader.delete_range(b"a", b"b").unwrap_err(),
        reader.flush().unwrap_err(),
        reader.compact().unwrap_err(),
        reader.sync().unwrap_err(),
        reader.create_keyspace("more").unwrap_err(),
        reader.drop_keyspace("users").unwrap_err(),
        reader.checkpoint(&folder.path().join("checkpoint")).unwrap_err(),
        reader
            .put_reader(b"key", &mut &[0_u8; 1_000_000][..], 1_000_000, WriteOptions::default())
            .unwrap_err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Error::ReadOnly), "{refusal:?}");
    }
    reader.close().unwrap();
    assert!(contents_of_files(folder.path()) == before, "not a byte has changed");
    assert_eq!(open(folder.path()).get(&8_999_u32.to_be_bytes()).unwrap().unwrap(), [8_999_u32 as u8; 300]);
}

/// The same without folders.
fn contents_of_files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    assert!(!folder.join("checkpoint").exists(), "a checkpoint that was refused leaves no folder");
    contents(folder)
}

#[test]
fn where_there_is_no_database_there_is_nothing_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for path in [missing.as_path(), folder.path()] {
        let refused = StorageEngine::open(path, small().read_only(true));
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    }
    assert!(!missing.exists());
}

#[test]
fn a_log_beyond_the_memtables_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let large = small().memory_budget(96 << 20);
    let engine = StorageEngine::open(folder.path(), large.clone()).unwrap();
    for number in 0..60_000_u32 {
        engine.put(&number.to_be_bytes(), &[7; 100]).unwrap();
    }
    engine.close().unwrap();
    let refused = StorageEngine::open(folder.path(), small().read_only(true));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("larger memory budget"), "{message}");
    let reader = StorageEngine::open(folder.path(), large.read_only(true)).unwrap();
    assert_eq!(reader.get(&59_999_u32.to_be_bytes()).unwrap().unwrap(), [7; 100]);
}
