//! pebble#4921: recovery flushed several memtables and deleted all logs after the first of them; a crash then lost the rest.

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, Error, StorageEngine, WriteBatch, WriteOptions};

use crate::{fill_two_logs, killed, numbered, open, prefix, read_all, try_open};

const VALUE: usize = 60_000;

/// A batch of `count` values, as one.
fn write_batch(engine: &StorageEngine, count: u32) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    for number in 0..count {
        batch.put(&number.to_be_bytes(), &numbered(number, VALUE))?;
    }
    engine.write(&batch, WriteOptions::durable(Durability::Process))
}

#[test]
fn recovery_with_several_flushes_may_crash_at_each_call() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    let count = fill_two_logs(&vfs, &engine, VALUE, Durability::Process);
    let left = killed(&vfs);
    // A memtable that did not hold all of the first log does not hold both: recovery flushes at least twice.
    let whole = killed(&left);
    let before = whole.call_count();
    assert_eq!(prefix(&open(&whole), VALUE), count);
    let calls = whole.call_count() - before;
    for crash in (0..calls).step_by(13) {
        let again = killed(&left);
        again.crash_after(crash);
        let _ = try_open(&again);
        let again = killed(&again);
        assert_eq!(prefix(&open(&again), VALUE), count, "crash after {crash} of {calls} calls");
    }
}

#[test]
fn a_batch_of_any_size_is_whole_after_two_restarts_or_refused() {
    let mut accepted = Vec::new();
    for count in [1, 8, 16, 24, 30, 33, 40, 80] {
        let vfs = SimVfs::new();
        let engine = open(&vfs);
        match write_batch(&engine, count) {
            Ok(()) => accepted.push(count),
            Err(Error::MemoryBudget(_)) => {
                assert!(read_all(&engine).is_empty());
                continue;
            }
            Err(error) => panic!("{count} values: {error:?}"),
        }
        let once = killed(&vfs);
        assert_eq!(prefix(&open(&once), VALUE), count);
        assert_eq!(prefix(&open(&killed(&once)), VALUE), count);
    }
    assert!(accepted.contains(&24), "{accepted:?}");
}
