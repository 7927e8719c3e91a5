//! crabka#823: a key that is overwritten for ever never makes the memtable "large", so it is never flushed, and the log grows
//! with every write.
//!
//! Here a memtable is full when its region is, whatever of it is still live.

use kausal_engine::KeyRange;

use crate::{MIB, assert_inside_its_budget, file_bytes, open};

#[test]
fn a_hot_key_is_flushed_and_its_log_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let mut log_bytes_max = 0;
    for number in 0..60_000_u32 {
        engine.put(b"hot", &[number as u8; 300]).unwrap();
        if number % 1_000 == 0 {
            log_bytes_max = log_bytes_max.max(file_bytes(folder.path(), ".wal"));
        }
    }
    engine.flush().unwrap();
    let stats = engine.stats();
    assert!(stats.flushes >= 8, "20 MB of one key: {stats:?}");
    assert!(log_bytes_max <= 8 * MIB as u64, "two memtables' logs and what is reserved: {log_bytes_max}");
    let entries: u64 = stats.levels.iter().map(|level| level.entry_count).sum();
    assert!(entries <= 16, "each flush writes one version: {stats:?}");
    assert_inside_its_budget(&engine);
    engine.compact().unwrap();
    assert_eq!(engine.get(b"hot").unwrap().unwrap(), [59_999_u32 as u8; 300]);
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    assert!(cursor.seek_to_first().unwrap() && !cursor.next().unwrap());
}
