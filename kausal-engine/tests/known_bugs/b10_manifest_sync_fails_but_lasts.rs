//! rocksdb#5379, rocksdb#4990: a manifest's sync failed, its bytes lasted all the same, and files that it no longer named
//! were gone already.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error};

use crate::fault::{Fault, FaultyVfs};
use crate::{check, crashes, numbered, open, options, prefix, put, try_open_with};

/// The writes of a run whose manifest fails to sync at the n-th time. Answers how many were acknowledged, and whether it
/// came to the fault.
fn run(disk: &SimVfs, after: u64, is_done: bool) -> (u32, bool) {
    let counts = |name: &str, path: &Path| name == "sync" && path.to_string_lossy().contains("MANIFEST");
    let fault = Fault { after, kind: ErrorKind::Other, is_done, lasts: false, counts };
    let vfs = FaultyVfs::new(disk, fault);
    let mut acknowledged = 0;
    let mut script = || -> Result<(), Error> {
        let (engine, _scheduler) = try_open_with(Arc::new(vfs.clone()), options());
        let engine = engine?;
        for number in 0..12_u32 {
            let written = put(&engine, &number.to_be_bytes(), &numbered(number, 30), Durability::Power);
            if vfs.has_failed() {
                assert!(written.is_err(), "acknowledged after a failed sync");
            }
            written?;
            acknowledged += 1;
            if number % 3 == 2 && engine.flush().is_err() {
                // Reads go on; no write is taken any more.
                assert_eq!(prefix(&engine, 30), acknowledged);
            }
        }
        engine.compact()?;
        engine.close()
    };
    let ended = script();
    assert_eq!(ended.is_err(), vfs.has_failed(), "{ended:?}");
    (acknowledged, vfs.has_failed())
}

#[test]
fn either_outcome_of_a_failed_sync_is_recovered_from() {
    let mut failures = 0;
    for is_done in [false, true] {
        for after in 0.. {
            let disk = SimVfs::new();
            let (acknowledged, failed) = run(&disk, after, is_done);
            if !failed {
                break;
            }
            failures += 1;
            for left in crashes(&disk, 3) {
                let engine = open(&left);
                assert!(prefix(&engine, 30) >= acknowledged, "sync {after} fails, done: {is_done}");
                engine.close().unwrap();
                check(&left).unwrap();
            }
        }
    }
    assert!(failures >= 10, "{failures}");
}
