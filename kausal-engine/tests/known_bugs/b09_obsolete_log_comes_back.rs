//! rocksdb#7725: a log was tracked again after it had become obsolete, and missed at the next opening.
//!
//! A log is removed, or its file gets another name, after the manifest has forgotten it; the change itself may or may not last.
//! Neither its presence nor its absence may matter.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{check, crashes, files, open, put, read_all, try_open};

#[test]
fn a_removed_log_may_be_there_or_not() {
    let mut returned = 0;
    for seed in 0..10 {
        let vfs = SimVfs::new();
        let engine = open(&vfs);
        put(&engine, b"deleted", b"old", Durability::Power).unwrap();
        put(&engine, b"kept", b"old", Durability::Power).unwrap();
        engine.flush().unwrap();
        put(&engine, b"kept", b"new", Durability::Power).unwrap();
        engine.delete(b"deleted").unwrap();
        engine.sync().unwrap();
        engine.flush().unwrap();
        let expected = read_all(&engine);
        assert_eq!(expected.len(), 1);
        for is_compacted in [false, true] {
            if is_compacted {
                engine.compact().unwrap();
            }
            for left in crashes(&vfs, 4 + seed) {
                let before = files(&vfs, "wal");
                returned += u32::from(files(&left, "wal").iter().any(|log| !before.contains(log)));
                let engine = try_open(&left).unwrap();
                assert_eq!(read_all(&engine), expected);
                engine.close().unwrap();
                assert_eq!(check(&left).unwrap().unnamed_file_count, 0);
            }
        }
    }
    assert!(returned > 0, "no removal was ever undone");
}
