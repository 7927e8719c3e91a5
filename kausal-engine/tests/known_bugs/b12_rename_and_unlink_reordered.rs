//! leveldb#195: the rename of CURRENT reached the disk after the removal of the files that the old one named.

use kausal_engine::sim::{CrashMode, SimVfs};

use crate::{check, durable_script, open, prefix, try_open};

#[test]
fn the_files_of_the_old_and_of_the_new_current_are_there_in_any_order_of_names() {
    let vfs = SimVfs::new();
    let acknowledged = durable_script(&vfs);
    // Opening replaces CURRENT and removes what the new one does not name; closing replaces it again.
    let whole = vfs.crash(CrashMode::KeepUnsynced, 0);
    open(&whole).close().unwrap();
    for calls in 0..=whole.call_count() {
        for seed in 0..6 {
            let left = vfs.crash(CrashMode::KeepUnsynced, 0);
            left.crash_after(calls);
            if let Ok(engine) = try_open(&left) {
                let _ = engine.close();
            }
            let left = left.crash(CrashMode::Random, seed);
            let engine = open(&left);
            assert_eq!(prefix(&engine, 30), acknowledged, "crash after {calls} calls, seed {seed}");
            engine.close().unwrap();
            check(&left).unwrap();
        }
    }
}
