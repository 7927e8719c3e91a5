//! surrealkv#390, surrealdb#7426: the output of a compaction was never synced; after a power cut the manifest named an
//! empty table.

use kausal_engine::sim::{CrashMode, SimVfs};

use crate::{check, durable_script, durable_script_calls, open, prefix};

#[test]
fn nothing_that_a_manifest_names_is_lost_with_the_caches() {
    for calls in 0..=durable_script_calls() {
        let vfs = SimVfs::new();
        vfs.crash_after(calls);
        let acknowledged = durable_script(&vfs);
        let vfs = vfs.crash(CrashMode::DropUnsynced, 0);
        let engine = open(&vfs);
        assert!(prefix(&engine, 30) >= acknowledged, "crash after call {calls}");
        engine.close().unwrap();
        check(&vfs).unwrap();
    }
}
