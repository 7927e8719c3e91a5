//! What users of other engines reported, reproduced and ended well (design, section 9). One file each; its first line names the
//! reports.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod busy_wait;
mod cap_wedges_writers;
mod cursors_pin_memory;
mod default_of_a_gigabyte;
mod disk_full_needs_a_restart;
mod hot_key;
mod idle_keyspace_pins_logs;
mod memory_like_the_data;
mod slow_open;
mod slow_release;
mod space_comes_back;
mod strict_cache_limit;

use std::path::Path;

use kausal_engine::{Options, StorageEngine};

const MIB: usize = 1 << 20;

fn options() -> Options {
    Options::new().memory_budget(8 * MIB)
}

fn open(folder: &Path) -> StorageEngine {
    StorageEngine::open(folder, options()).unwrap()
}

/// Bytes of all files in a folder whose names end so.
fn file_bytes(folder: &Path, end: &str) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(end));
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The peak of what the engine accounts for must never pass its budget, and the sums must be exact.
fn assert_inside_its_budget(engine: &StorageEngine) {
    let report = engine.memory_report();
    assert!(report.root().used_max <= report.root().limit, "{report}");
    assert_eq!(report.root().used, report.leaves_used(), "{report}");
}

/// Keys in no order.
fn scattered(number: u32) -> [u8; 4] {
    number.wrapping_mul(2_654_435_761).to_be_bytes()
}
