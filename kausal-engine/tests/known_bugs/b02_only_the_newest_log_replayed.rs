//! surrealkv#264: replay read the newest segment of the log only.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{files, fill_two_logs, killed, open, prefix, try_open};

#[test]
fn every_log_is_replayed() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, 20_000, Durability::Process);
    let left = killed(&vfs);
    let engine = open(&left);
    assert_eq!(engine.recovery_report().log_count, 2);
    assert_eq!(prefix(&engine, 20_000), count);
}

#[test]
fn and_so_are_the_logs_of_openings_that_crashed() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, 20_000, Durability::Process);
    let mut left = killed(&vfs);
    let whole = killed(&left);
    drop(try_open(&whole).unwrap());
    let mut most = 0;
    // Each opening dies near its end, on what the one before left: it has begun a log by then.
    for calls in whole.call_count().saturating_sub(25)..whole.call_count() {
        left.crash_after(calls);
        let opened = try_open(&left).is_ok();
        left = killed(&left);
        most = most.max(files(&left, "wal").len());
        if opened || most > 3 {
            break;
        }
    }
    assert!(most >= 3, "{most} logs at once");
    assert_eq!(prefix(&open(&left), 20_000), count);
}
