//! rocksdb#7784: the disk was full, the process crashed, and after space had been freed the database would not open: a table
//! was ahead of the log.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error};

use crate::fault::{Fault, FaultyVfs};
use crate::{check, crashes, numbered, open, options, prefix, put, try_open_with};

/// Writes until an error; the disk is full from the n-th call on that takes space.
fn run(disk: &SimVfs, after: u64) -> (u32, bool) {
    let counts = |name: &str, _: &Path| name == "write" || name == "create";
    let fault = Fault { after, kind: ErrorKind::StorageFull, is_done: false, lasts: true, counts };
    let vfs = FaultyVfs::new(disk, fault);
    let mut acknowledged = 0;
    let mut script = || -> Result<(), Error> {
        let short = options().stall_timeout(Duration::from_millis(50));
        let (engine, _scheduler) = try_open_with(Arc::new(vfs.clone()), short);
        let engine = engine?;
        for number in 0..9_u32 {
            put(&engine, &number.to_be_bytes(), &numbered(number, 30), Durability::Process)?;
            acknowledged += 1;
            if number % 3 == 2 {
                engine.flush()?;
            }
        }
        engine.compact()?;
        engine.close()
    };
    // An error is what a full disk gives; it need not be one.
    let _ = script();
    (acknowledged, vfs.has_failed())
}

#[test]
fn a_database_opens_and_writes_again_once_there_is_space() {
    let mut full = 0;
    for after in 0.. {
        let disk = SimVfs::new();
        let (acknowledged, failed) = run(&disk, after);
        if !failed {
            break;
        }
        full += 1;
        // Killed: nothing is lost. The other crashes may lose what was not synced, and must open.
        for (place, left) in crashes(&disk, 2).enumerate() {
            let engine = open(&left);
            let found = prefix(&engine, 30);
            assert!(
                place != 1 || found >= acknowledged,
                "full after {after} calls: {found} of {acknowledged}"
            );
            put(&engine, &found.to_be_bytes(), &numbered(found, 30), Durability::Power).unwrap();
            engine.flush().unwrap();
            engine.close().unwrap();
            check(&left).unwrap();
            assert_eq!(prefix(&open(&left), 30), found + 1);
        }
    }
    assert!(full > 20, "{full}");
}
