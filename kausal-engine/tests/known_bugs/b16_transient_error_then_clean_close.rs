//! redb#836, redb#1177: after one I/O error that passed, the handle was dropped and the database marked as closed cleanly.
//! `cargo xtask torture --syscalls` does the same to a real process.

use std::io::ErrorKind;
use std::sync::Arc;

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error};

use crate::fault::{Fault, FaultyVfs};
use crate::{check, crashes, killed, numbered, open, options, prefix, put, try_open_with};

/// Goes on with writes after every error but that of the opening; the handle is dropped at the end, whatever happened.
fn run(disk: &SimVfs, after: u64, is_done: bool) -> (u32, bool) {
    let fault = Fault { after, kind: ErrorKind::Other, is_done, lasts: false, counts: |_, _| true };
    let vfs = FaultyVfs::new(disk, fault);
    let (engine, _scheduler) = try_open_with(Arc::new(vfs.clone()), options());
    let Ok(engine) = engine else { return (0, vfs.has_failed()) };
    let (mut acknowledged, mut is_poisoned) = (0_u32, false);
    for number in 0..9 {
        // The same write again after an error, until it is acknowledged or the handle says that it never will be.
        while !is_poisoned {
            let durability = if number % 2 == 0 { Durability::Power } else { Durability::Process };
            let key = acknowledged.to_be_bytes();
            match put(&engine, &key, &numbered(acknowledged, 30), durability) {
                Ok(()) => {
                    acknowledged += 1;
                    break;
                }
                Err(Error::Poisoned { .. }) => is_poisoned = true,
                Err(_) => {}
            }
        }
        if number % 3 == 2 {
            // Its error is that of the fault, or of the poison.
            let _ = engine.flush();
        }
    }
    assert!(!is_poisoned || put(&engine, b"x", b"x", Durability::Process).is_err(), "poison passes");
    let _ = engine.compact();
    (acknowledged, vfs.has_failed())
}

#[test]
fn an_error_at_any_call_leaves_everything_acknowledged() {
    let mut errors = 0;
    for is_done in [false, true] {
        for after in 0.. {
            let disk = SimVfs::new();
            let (acknowledged, failed) = run(&disk, after, is_done);
            if !failed {
                break;
            }
            errors += 1;
            let left = killed(&disk);
            let context = format!("call {after} fails, done: {is_done}");
            let checked = check(&left);
            assert!(acknowledged == 0 || checked.is_ok(), "{context}: {checked:?}");
            let found = prefix(&open(&left), 30);
            // A write that failed after it was done may show.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "{context}: {found} of {acknowledged}"
            );
            for left in crashes(&disk, 1) {
                open(&left).close().unwrap();
                check(&left).unwrap();
            }
        }
    }
    assert!(errors > 150, "{errors}");
}

#[test]
fn a_walk_goes_on_by_a_seek_behind_a_move_that_failed() {
    let disk = SimVfs::new();
    let engine = open(&disk);
    for number in 0..300_u32 {
        put(&engine, &number.to_be_bytes(), &numbered(number, 30), Durability::Process).unwrap();
    }
    engine.flush().unwrap();
    let mut failures = 0;
    for after in 0.. {
        let counts = |name: &str, path: &std::path::Path| {
            name == "read" && path.extension().is_some_and(|extension| extension == "sst")
        };
        let fault = Fault { after, kind: ErrorKind::Other, is_done: false, lasts: false, counts };
        let vfs = FaultyVfs::new(&killed(&disk), fault);
        let Ok(engine) = try_open_with(Arc::new(vfs.clone()), options()).0 else { continue };
        let mut cursor = engine.cursor(kausal_engine::KeyRange::all()).unwrap();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut moved = cursor.seek_to_first();
        while !matches!(moved, Ok(false)) {
            if moved.is_ok() {
                keys.push(cursor.key().unwrap().to_vec());
                moved = cursor.next();
                continue;
            }
            failures += 1;
            assert!(cursor.key().is_none() && cursor.next().is_err());
            let next = keys.last().map_or(Vec::new(), |last| [&last[..], &[0]].concat());
            moved = cursor.seek(&next);
        }
        assert!(
            keys.iter()
                .eq((0..300_u32).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>().iter())
        );
        if !vfs.has_failed() {
            break;
        }
    }
    assert!(failures > 3, "{failures}");
}
