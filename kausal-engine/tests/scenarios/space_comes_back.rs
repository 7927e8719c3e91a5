//! redb#907: a database whose file never gets smaller, whatever is deleted.
//!
//! Here deletes are compacted away with what they hide, also without a word from the user.

use std::time::{Duration, Instant};

use crate::{file_bytes, open, scattered};

fn on_disk(folder: &std::path::Path) -> u64 {
    file_bytes(folder, "")
}

#[test]
fn deleting_everything_gives_the_disk_back() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..60_000_u32 {
        engine.put(&scattered(number), &[number as u8; 400]).unwrap();
    }
    engine.put(b"large", &vec![7; 3 << 20]).unwrap();
    let peak = on_disk(folder.path());
    assert!(peak > 25 << 20, "{peak}");
    for number in 0..60_000_u32 {
        engine.delete(&scattered(number)).unwrap();
    }
    engine.delete(b"large").unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    let left = on_disk(folder.path());
    assert!(20 * left < peak, "{left} of {peak} bytes are left");
}

#[test]
fn a_range_delete_gives_the_disk_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..60_000_u32 {
        engine.put(&scattered(number), &[number as u8; 400]).unwrap();
    }
    engine.compact().unwrap();
    let peak = on_disk(folder.path());
    engine.delete_range(b"", &[0xFF; 5]).unwrap();
    engine.flush().unwrap();
    // Nobody asks for a compaction: the next flushes see that there is something to gain.
    let begun = Instant::now();
    let mut round = 0_u32;
    while 4 * on_disk(folder.path()) > peak {
        assert!(begun.elapsed() < Duration::from_secs(120), "{} of {peak} bytes", on_disk(folder.path()));
        engine.put(&round.to_be_bytes(), b"more").unwrap();
        engine.flush().unwrap();
        round += 1;
    }
}
