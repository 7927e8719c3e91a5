//! slatedb#1769: a compaction that was stopped and went on later left out entries on a table's boundary, because the oldest
//! snapshot had moved meanwhile.
//!
//! Here a compaction that is stopped begins anew. It is stopped by a crash at every call, which is at every boundary of its
//! output as well; the snapshot that it had to respect is gone when it begins again.

use std::sync::Arc;

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error};

use crate::{check, files, killed, options, put, read_all, try_open_with};

#[test]
fn a_compaction_stopped_anywhere_is_done_again_and_leaves_nothing_out() {
    let small_tables = || options().table_bytes(1_000);
    let vfs = SimVfs::new();
    let engine = try_open_with(Arc::new(vfs.clone()), small_tables()).0.unwrap();
    for version in 0..3_u8 {
        for key in 0..40_u8 {
            put(&engine, &[key / 2], &[version ^ key; 90], Durability::Process).unwrap();
        }
        engine.flush().unwrap();
    }
    let expected = read_all(&engine);
    drop(engine);
    // How many calls a compaction takes, with a snapshot that keeps the last versions of every key but one apart.
    let compact = |vfs: &SimVfs, crash_after: u64| -> Result<u64, Error> {
        let engine = try_open_with(Arc::new(vfs.clone()), small_tables()).0?;
        let before = engine.snapshot();
        put(&engine, &[0], b"later", Durability::Power)?;
        engine.flush()?;
        let begun = vfs.call_count();
        vfs.crash_after(crash_after);
        engine.compact()?;
        let calls = vfs.call_count() - begun;
        drop(before);
        Ok(calls)
    };
    let whole = killed(&vfs);
    let calls = compact(&whole, u64::MAX / 2).unwrap();
    assert!(files(&whole, "sst").len() >= 2, "an output with boundaries");
    for crash in 0..calls {
        let left = killed(&vfs);
        // Behind its last step a crash goes unnoticed.
        let _ = compact(&left, crash);
        let left = killed(&left);
        let engine = try_open_with(Arc::new(left.clone()), small_tables()).0.unwrap();
        engine.compact().unwrap();
        let mut state = read_all(&engine);
        assert_eq!(state.insert(vec![0], expected[&vec![0]].clone()).unwrap(), b"later");
        assert_eq!(state, expected, "stopped after {crash} of {calls} calls");
        engine.close().unwrap();
        check(&left).unwrap();
    }
}
