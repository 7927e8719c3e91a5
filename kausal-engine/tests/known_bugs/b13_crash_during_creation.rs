//! leveldb#189, leveldb#604: in a fresh database CURRENT named a manifest that was not synced.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{crashes, open, put, try_open};

#[test]
fn a_creation_that_crashed_is_opened_or_done_again() {
    let whole = SimVfs::new();
    drop(open(&whole));
    for calls in 0..=whole.call_count() {
        let vfs = SimVfs::new();
        vfs.crash_after(calls);
        drop(try_open(&vfs));
        for left in crashes(&vfs, 8) {
            let engine = open(&left);
            put(&engine, b"key", b"value", Durability::Power).unwrap();
            drop(engine);
            assert_eq!(open(&left).get(b"key").unwrap().unwrap(), b"value");
        }
    }
}
