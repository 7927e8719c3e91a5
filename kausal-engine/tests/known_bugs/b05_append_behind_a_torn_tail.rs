//! cqlite#1379, cqlite#1390: after a crash in the midst of a record the log was appended to behind the torn tail, where no
//! replay ever came.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{files, killed, numbered, open, prefix, put, read_file, replace_file, without_window};

#[test]
fn what_is_acknowledged_after_a_torn_tail_survives_the_next_crash() {
    for durability in [Durability::Process, Durability::Power] {
        let vfs = SimVfs::new();
        let engine = open(&vfs);
        for number in 0..10_u32 {
            put(&engine, &number.to_be_bytes(), &numbered(number, 40), Durability::Process).unwrap();
        }
        let log = files(&vfs, "wal").remove(0);
        let whole = without_window(read_file(&vfs, &log));
        let record = (whole.len() - 64) / 10;
        for cut in 1..120 {
            let torn = killed(&vfs);
            replace_file(&torn, &log, &whole[..whole.len() - cut]);
            let engine = open(&torn);
            let found = prefix(&engine, 40);
            assert!(engine.recovery_report().dropped_bytes > 0 || cut == record, "{cut} bytes cut");
            put(&engine, &found.to_be_bytes(), &numbered(found, 40), durability).unwrap();
            let again = killed(&torn);
            assert_eq!(prefix(&open(&again), 40), found + 1, "{cut} bytes cut");
        }
    }
}
