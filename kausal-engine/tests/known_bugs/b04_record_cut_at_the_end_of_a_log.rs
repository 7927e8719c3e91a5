//! pebble#3865: a reader kept half of a record when it went on to the next log, and took both for one.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{check, files, fill_two_logs, killed, open, prefix, read_file, replace_file};

const VALUE: usize = 3_000;

#[test]
fn a_record_cut_anywhere_ends_the_replay_before_the_next_log() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, VALUE, Durability::Process);
    let first_log = files(&vfs, "wal").remove(0);
    let mut whole = read_file(&vfs, &first_log);
    // Zeros behind the last record were allocated ahead: without them nothing is missing.
    whole.truncate(1 + whole.iter().rposition(|&byte| byte != 0).unwrap());
    let in_second_log = 4;
    for cut in (1..2 * VALUE).step_by(999).chain((1..40).step_by(4)) {
        let left = killed(&vfs);
        replace_file(&left, &first_log, &whole[..whole.len() - cut]);
        let engine = open(&left);
        let found = prefix(&engine, VALUE);
        assert!(found < count - in_second_log, "{cut} bytes cut: {found} of {count}");
        let report = engine.recovery_report();
        assert_eq!(report.dropped_log_count, 1, "{report:?}");
        engine.close().unwrap();
        check(&left).unwrap();
    }
}
