//! What is found again after an end that was not clean.

use kausal_engine::{Durability, WriteBatch, WriteOptions};

use crate::{killed, open};

#[test]
fn acknowledged_writes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..20_000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 200]).unwrap();
    }
    // Nothing is in motion: the folder is the same throughout the copy.
    engine.flush().unwrap();
    engine.put(b"last", b"word").unwrap();
    let killed = killed(folder.path());
    let recovered = open(killed.path());
    assert!(!recovered.recovery_report().was_clean);
    assert_eq!(recovered.get(b"last").unwrap().unwrap(), b"word");
    for number in (0..20_000_u32).step_by(7) {
        assert_eq!(recovered.get(&number.to_be_bytes()).unwrap().unwrap(), [number as u8; 200]);
    }
}

/// Found by the simulation: the frame that did not fit into the buffer any more was padded twice.
#[test]
fn buffered_writes_of_any_length_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let value = |number: u32| vec![number as u8; 1_001 + 997 * number as usize % 90_000];
    let engine = open(folder.path());
    for number in 0..100_u32 {
        let mut batch = WriteBatch::new();
        batch.put(&number.to_be_bytes(), &value(number)).unwrap();
        engine.write(&batch, WriteOptions::durable(Durability::Buffered)).unwrap();
    }
    engine.close().unwrap();
    let engine = open(folder.path());
    for number in 0..100_u32 {
        assert_eq!(engine.get(&number.to_be_bytes()).unwrap().unwrap(), value(number), "{number}");
    }
}

#[test]
fn a_torn_log_keeps_whole_batches_only() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..10_u8 {
        let mut batch = WriteBatch::new();
        batch.put(&[number, 0], b"first").unwrap();
        batch.put(&[number, 1], b"second").unwrap();
        engine.write(&batch, WriteOptions::default()).unwrap();
    }
    let source = killed(folder.path());
    let is_log = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "wal");
    let names = std::fs::read_dir(source.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = names.filter(|path| is_log(path)).max().unwrap();
    let whole = std::fs::read(&log).unwrap();
    // Behind the last record there may be space that was allocated ahead.
    let written = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for len in (0..written).step_by(5) {
        let cut = killed(source.path());
        std::fs::write(cut.path().join(log.file_name().unwrap()), &whole[..len]).unwrap();
        let recovered = open(cut.path());
        let mut ended = false;
        for number in 0..10_u8 {
            let (first, second) =
                (recovered.get(&[number, 0]).unwrap(), recovered.get(&[number, 1]).unwrap());
            assert_eq!(first.is_some(), second.is_some(), "a batch is whole or absent");
            assert!(!(ended && first.is_some()), "what survives is a prefix");
            ended |= first.is_none();
        }
    }
}

#[test]
fn buffered_writes_reach_the_disk_in_order_and_by_sync() {
    let folder = tempfile::tempdir().unwrap();
    // A mapped log has no use for a buffer.
    let engine = crate::faulty::FaultyVfs::unmapped().open(folder.path(), crate::small());
    let buffered = WriteOptions::durable(Durability::Buffered);
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1").unwrap();
    engine.write(&batch, buffered).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), b"1");
    let before = killed(folder.path());
    assert_eq!(open(before.path()).get(b"a").unwrap(), None);
    engine.sync().unwrap();
    let after = killed(folder.path());
    assert_eq!(open(after.path()).get(b"a").unwrap().unwrap(), b"1");
}

#[test]
fn closing_after_the_scheduler_has_shut_down_ends() {
    let folder = tempfile::tempdir().unwrap();
    let environment = kausal_engine::Environment::system().unwrap();
    let builder = kausal_engine::Builder::<kausal_engine::DefaultIndex>::new(folder.path(), crate::small());
    let engine = builder.environment(environment.clone()).open().unwrap();
    engine.put(b"key", b"value").unwrap();
    environment.scheduler.shutdown();
    // Until the memtables are full, every write schedules a flush that is dropped unrun.
    let short = (0..200_000_u32).find(|number| {
        let mut batch = WriteBatch::new();
        batch.put(&number.to_be_bytes(), &[1; 1000]).unwrap();
        number * 1000 > 3_000_000 || engine.write(&batch, WriteOptions::default()).is_err()
    });
    assert!(short.is_some());
    engine.close().unwrap();
    assert_eq!(open(folder.path()).get(b"key").unwrap().unwrap(), b"value");
}

#[test]
fn a_closed_database_is_open_to_the_next_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200_u32 {
        let engine = open(folder.path());
        engine.put(&number.to_be_bytes(), b"value").unwrap();
        // A job ends right before the close, or while it waits.
        engine.flush().unwrap();
        engine.close().unwrap();
    }
}
