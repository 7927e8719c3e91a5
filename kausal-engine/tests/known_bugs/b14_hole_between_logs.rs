//! leveldb#193: a later log was synced and an earlier one was not; after a crash the history had a hole.

use std::path::Path;

use kausal_engine::Durability;
use kausal_engine::sim::{CrashMode, SimVfs};
use kausal_engine::vfs::Vfs;

use crate::{
    crashes, files, fill_two_logs, killed, numbered, open, prefix, put, read_file, replace_file,
    without_window,
};

const VALUE: usize = 20_000;

#[test]
fn syncing_the_later_log_syncs_the_earlier_one_first() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, VALUE, Durability::Process);
    put(&engine, &count.to_be_bytes(), &numbered(count, VALUE), Durability::Power).unwrap();
    for left in crashes(&vfs, 6) {
        assert_eq!(prefix(&open(&left), VALUE), count + 1);
    }
}

#[test]
fn a_later_log_counts_for_nothing_without_the_earlier_one() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, VALUE, Durability::Process);
    let first_log = files(&vfs, "wal").remove(0);
    let whole = without_window(read_file(&vfs, &first_log));
    // Its name did not last; it is empty; it has a part; its last sector is missing.
    let gone = killed(&vfs);
    gone.remove(&first_log).unwrap();
    gone.sync_dir(Path::new(crate::FOLDER)).unwrap();
    assert_eq!(prefix(&open(&gone), VALUE), 0);
    for len in [0, 64, whole.len() / 2, whole.len() - 512] {
        let left = killed(&vfs);
        replace_file(&left, &first_log, &whole[..len]);
        let found = prefix(&open(&left), VALUE);
        assert!(found < count - 4 && found as usize >= (len.saturating_sub(64)) / (VALUE + 100), "{found}");
    }
}

#[test]
fn whatever_a_crash_keeps_of_two_unsynced_logs_is_a_prefix() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let synced = 5_u32;
    for number in 0..synced {
        put(&engine, &number.to_be_bytes(), &numbered(number, VALUE), Durability::Power).unwrap();
    }
    let count = fill_two_logs(&vfs, &engine, VALUE, Durability::Process);
    let mut partial = 0;
    for seed in 0..20 {
        let left = vfs.crash(CrashMode::Random, seed);
        let found = prefix(&open(&left), VALUE);
        assert!(found >= synced);
        partial += u32::from(found < count);
    }
    assert!(partial > 0, "no crash kept a part");
}
