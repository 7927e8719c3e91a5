//! rocksdb#12918: records of a recycled log's earlier life were taken for new ones.
//!
//! This engine writes zeros over the file of a log before it is used again. A loss of power may bring back what they were
//! written over, and a file system may give a file blocks that were another log's: valid records of an older log, at their own
//! offsets, behind the tail of a younger one.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{files, killed, numbered, open, put, read_all, read_file, replace_file, without_window};

#[test]
fn records_of_an_older_log_end_the_replay() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    for number in 0..20_u32 {
        put(&engine, &number.to_be_bytes(), &numbered(number, 40), Durability::Power).unwrap();
    }
    let older = without_window(read_file(&vfs, &files(&vfs, "wal")[0]));
    engine.flush().unwrap();
    for number in 0..20_u32 {
        engine.delete(&number.to_be_bytes()).unwrap();
    }
    engine.flush().unwrap();
    for number in 100..105_u32 {
        put(&engine, &number.to_be_bytes(), &numbered(number, 40), Durability::Process).unwrap();
    }
    let expected = read_all(&engine);
    assert_eq!(expected.len(), 5);
    let log = files(&vfs, "wal").pop().unwrap();
    let tail = without_window(read_file(&vfs, &log));
    assert!(tail.len() < older.len());
    // At each record's offset, and as it is, record for record, behind the tail.
    for start in [tail.len(), 64, 64 + 88] {
        let left = killed(&vfs);
        let stale = [&tail[..], &older[start..]].concat();
        replace_file(&left, &log, &stale);
        let engine = open(&left);
        assert_eq!(read_all(&engine), expected, "from byte {start}");
        assert!(engine.recovery_report().dropped_bytes > 0);
    }
}
