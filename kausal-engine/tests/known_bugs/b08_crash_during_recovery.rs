//! rocksdb#9634, rocksdb#9922, redb 4.x: a second crash, while the first was being recovered from, left a manifest ahead of
//! the log. `cargo xtask sim` does the same with long scripts.

use kausal_engine::sim::SimVfs;

use crate::{check, crashes, durable_script, durable_script_calls, open, prefix, try_open};

#[test]
fn every_crash_of_a_recovery_from_every_crash_is_recovered_from() {
    let mut nested = 0;
    for first in (0..=durable_script_calls()).step_by(5) {
        let vfs = SimVfs::new();
        vfs.crash_after(first);
        let acknowledged = durable_script(&vfs);
        for left in crashes(&vfs, 1) {
            let whole = left.crash(kausal_engine::sim::CrashMode::KeepUnsynced, 0);
            drop(try_open(&whole).unwrap());
            for second in (0..whole.call_count()).step_by(7) {
                let again = left.crash(kausal_engine::sim::CrashMode::KeepUnsynced, 0);
                again.crash_after(second);
                drop(try_open(&again));
                for again in crashes(&again, 1) {
                    let engine = open(&again);
                    let found = prefix(&engine, 30);
                    assert!(found >= acknowledged, "crash after call {first}, then {second}");
                    drop(engine);
                    check(&again).unwrap();
                    nested += 1;
                }
            }
        }
    }
    assert!(nested > 400, "{nested} nested crashes");
}
