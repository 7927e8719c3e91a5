//! rocksdb#12467: a log that was not the newest was corrupt, and the later ones were replayed all the same.

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error};

use crate::{files, fill_two_logs, killed, open, prefix, read_file, replace_file, try_open};

const VALUE: usize = 20_000;

/// Flips bits all over the first of two logs. Answers how often the opening was refused.
fn refusals(durability: Durability) -> u32 {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, VALUE, durability);
    let first_log = files(&vfs, "wal").remove(0);
    let whole = read_file(&vfs, &first_log);
    let mut refused = 0;
    for place in (0..whole.len()).step_by(24_989) {
        let left = killed(&vfs);
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        replace_file(&left, &first_log, &damaged);
        match try_open(&left) {
            Ok(engine) => {
                assert!(prefix(&engine, VALUE) <= (place / VALUE) as u32, "nothing from the damage on");
                assert!(engine.recovery_report().dropped_log_count == 1);
            }
            Err(Error::Corruption { file, .. }) => {
                assert_eq!(file, first_log);
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(count > 50);
    refused
}

#[test]
fn a_torn_log_ends_the_replay() {
    assert_eq!(refusals(Durability::Process), 0);
}

#[test]
fn damage_to_a_synced_log_is_refused() {
    assert!(refusals(Durability::Power) > 30);
}
