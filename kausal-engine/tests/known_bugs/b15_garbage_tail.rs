//! leveldb#251: a log whose tail was zeros was repaired into garbage.

use kausal_engine::Durability;
use kausal_engine::sim::{SimRandom, SimVfs};

use crate::{check, files, killed, numbered, open, prefix, put, read_file, replace_file, without_window};

#[test]
fn a_tail_of_zeros_of_noise_or_of_old_contents_is_cut_and_reported() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    for number in 0..40_u32 {
        put(&engine, &number.to_be_bytes(), &numbered(number, 60), Durability::Process).unwrap();
    }
    let log = files(&vfs, "wal").remove(0);
    let whole = without_window(read_file(&vfs, &log));
    let noise = SimRandom::new(3);
    for end in (65..whole.len()).step_by(41) {
        let zeros = vec![0; whole.len() - end];
        let random: Vec<u8> = (0..whole.len() - end).map(|_| noise.next() as u8).collect();
        let old = whole[64..][..whole.len() - end].to_vec();
        for tail in [zeros, random, old] {
            let left = killed(&vfs);
            let garbled = [&whole[..end], &tail[..]].concat();
            replace_file(&left, &log, &garbled);
            // Zeros behind a record are what is allocated ahead of the next.
            let noise = if tail.iter().all(|&byte| byte == 0) { 0 } else { tail.len() as u64 };
            assert!(check(&left).unwrap().torn_bytes >= noise);
            let engine = open(&left);
            let found = prefix(&engine, 60);
            assert!(found as usize <= end / 60, "{found} records in {end} bytes");
            assert!(engine.recovery_report().dropped_bytes >= noise);
        }
    }
}
