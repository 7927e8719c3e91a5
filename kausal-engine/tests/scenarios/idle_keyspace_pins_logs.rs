//! fjall#288: a keyspace that is written once and then left alone keeps every later log from being removed.
//!
//! Here a flush takes all keyspaces of a memtable, so none of them pins its log.

use crate::{MIB, file_bytes, open};

#[test]
fn an_idle_keyspace_pins_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let idle = engine.create_keyspace("idle").unwrap();
    idle.put(b"written", b"once").unwrap();
    for number in 0..80_000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 300]).unwrap();
    }
    engine.flush().unwrap();
    let logs = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let logs = logs.filter(|name| name.to_string_lossy().ends_with(".wal")).count();
    assert_eq!(logs, 1, "28 MB went through the log, and only the current one is left");
    assert!(file_bytes(folder.path(), ".wal") < 4 * MIB as u64);
    assert_eq!(idle.get(b"written").unwrap().unwrap(), b"once");
    engine.close().unwrap();
    let engine = open(folder.path());
    assert_eq!(engine.keyspace("idle").unwrap().get(b"written").unwrap().unwrap(), b"once");
}
