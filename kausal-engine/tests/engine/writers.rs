//! Many writers at once, and disks that fail them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kausal_engine::{Durability, Error, KeyRange, StorageEngine, WriteBatch, WriteOptions};

use crate::faulty::FaultyVfs;
use crate::{killed, open, small};

const PAIRS: u32 = 8;

fn durable(durability: Durability) -> WriteOptions {
    WriteOptions::durable(durability)
}

/// Both keys of a pair get the same value.
fn pair(pair: u32, value: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for half in [b'a', b'b'] {
        batch.put(&key(pair, half), &[&value.to_le_bytes()[..], &[7; 100]].concat()).unwrap();
    }
    batch
}

fn key(pair: u32, half: u8) -> Vec<u8> {
    [&pair.to_be_bytes()[..], &[half]].concat()
}

fn value(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// The values of all pairs at one moment; both halves of each are the same.
fn read_pairs(engine: &StorageEngine) -> Vec<Option<u64>> {
    let snapshot = engine.snapshot();
    let read = |pair, half| engine.get_at(&snapshot, &key(pair, half)).unwrap().map(|bytes| value(&bytes));
    (0..PAIRS)
        .map(|pair| {
            let (first, second) = (read(pair, b'a'), read(pair, b'b'));
            assert_eq!(first, second, "a batch is whole or absent");
            first
        })
        .collect()
}

/// Threads write pairs in every durability, a reader looks for halves, and what is found after a kill and after a close is
/// what was acknowledged.
fn check_writers(engine: &StorageEngine, threads: u32, rounds: u64) -> Vec<Option<u64>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 1..=rounds {
                        let durability = match round % 64 {
                            0 => Durability::Power,
                            1..4 => Durability::Buffered,
                            _ => Durability::Process,
                        };
                        engine.write(&pair(thread, round), durable(durability)).unwrap();
                        // A write that has returned is seen.
                        let seen = engine.get(&key(thread, b'b')).unwrap().unwrap();
                        assert_eq!(value(&seen), round);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = vec![None; PAIRS as usize];
            while !done.load(Ordering::Relaxed) {
                let now = read_pairs(engine);
                assert!(last.iter().zip(&now).all(|(last, now)| last <= now), "nothing goes back");
                last = now;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let expected: Vec<_> = (0..PAIRS).map(|pair| (pair < threads).then_some(rounds)).collect();
    assert_eq!(read_pairs(engine), expected);
    expected
}

#[test]
fn concurrent_batches_are_whole_in_order_and_found_again() {
    for (threads, is_mapped) in [(2, true), (4, true), (4, false)] {
        let folder = tempfile::tempdir().unwrap();
        let vfs = if is_mapped { FaultyVfs::default() } else { FaultyVfs::unmapped() };
        let engine = vfs.open(folder.path(), small());
        let expected = check_writers(&engine, threads, 6000);
        assert!(engine.stats().flushes > 0, "memtables were rotated under the writers");
        engine.close().unwrap();
        assert_eq!(read_pairs(&open(folder.path())), expected);
    }
}

/// Writers append numbers that they take one after the other: who has taken a larger one began later than the other ended,
/// or both were under way. Each reads the whole before it writes.
#[test]
fn batches_become_visible_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let before = engine.stats().last_seqno;
                    count.fetch_add(1, Ordering::SeqCst);
                    engine.put(b"key", &before.to_le_bytes()).unwrap();
                    assert!(engine.stats().last_seqno > before, "a put that has returned is published");
                    let seen = value(&engine.get(b"key").unwrap().unwrap());
                    assert!(seen >= before || engine.stats().last_seqno > before);
                }
            });
        }
    });
    // No number is lost, and none is given twice.
    assert_eq!(engine.stats().last_seqno, count.load(Ordering::SeqCst));
}

#[test]
fn compare_and_swap_counts_every_writer_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"sum", &0_u64.to_le_bytes()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Others must not starve those who need the database for themselves for a moment.
            while !done.load(Ordering::Relaxed) {
                engine.put(b"noise", &[0; 100]).unwrap();
            }
        });
        let adders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..300 {
                        loop {
                            let old = engine.get(b"sum").unwrap().unwrap();
                            let new = (value(&old) + 1).to_le_bytes();
                            if engine.compare_and_swap(b"sum", Some(&old), Some(&new)).unwrap() {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(value(&engine.get(b"sum").unwrap().unwrap()), 900);
}

#[test]
fn u6_synced_writers_share_their_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::default();
    let engine = vfs.open(folder.path(), small());
    thread::scope(|scope| {
        for thread in 0..PAIRS {
            let engine = &engine;
            scope.spawn(move || {
                (1..=100).for_each(|round| {
                    engine.write(&pair(thread, round), durable(Durability::Power)).unwrap();
                });
            });
        }
    });
    let syncs = vfs.faults.syncs.load(Ordering::SeqCst);
    println!("800 synced writes of {PAIRS} threads: {syncs} syncs");
    assert!(syncs < 800, "groups form");
}

#[test]
fn a_full_disk_pauses_writers_and_nothing_is_lost_when_it_has_room_again() {
    for (is_unmapped, tears, durability) in [
        (false, false, Durability::Process),
        (true, true, Durability::Process),
        (false, true, Durability::Power),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let vfs = if is_unmapped { FaultyVfs::unmapped() } else { FaultyVfs::default() };
        let engine = vfs.open(folder.path(), small());
        engine.write(&pair(0, 1), durable(durability)).unwrap();
        vfs.faults.set(|faults| &faults.tears, tears);
        vfs.faults.set(|faults| &faults.is_full, true);
        thread::scope(|scope| {
            for thread in 0..4 {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 2..2000 {
                        engine.write(&pair(thread, round), durable(durability)).unwrap();
                    }
                });
            }
            // However long they have waited: they go on by themselves.
            thread::sleep(Duration::from_millis(100));
            vfs.faults.set(|faults| &faults.tears, false);
            vfs.faults.set(|faults| &faults.is_full, false);
        });
        let expected: Vec<_> = (0..PAIRS).map(|pair| (pair < 4).then_some(1999)).collect();
        assert_eq!(read_pairs(&engine), expected);
        engine.close().unwrap();
        let again = open(folder.path());
        assert!(again.recovery_report().was_clean);
        assert_eq!(read_pairs(&again), expected);
    }
}

#[test]
fn on_a_full_disk_a_write_stalls_for_its_timeout_or_not_at_all_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::unmapped();
    let engine = vfs.open(folder.path(), small().stall_timeout(Duration::from_millis(120)));
    engine.put(b"key", b"value").unwrap();
    vfs.faults.set(|faults| &faults.is_full, true);
    let stalled = engine.put(b"key", b"other");
    assert!(matches!(stalled, Err(Error::Stalled { reason: "the disk is full", .. })), "{stalled:?}");
    let mut batch = WriteBatch::new();
    batch.put(b"key", b"other").unwrap();
    let refused = engine.write(&batch, WriteOptions::default().no_wait());
    assert!(matches!(refused, Err(Error::Stalled { waited: Duration::ZERO, .. })), "{refused:?}");
    let flushed = engine.flush();
    assert!(matches!(flushed, Err(Error::Stalled { reason: "the disk is full", .. })), "{flushed:?}");
    assert_eq!(engine.get(b"key").unwrap().unwrap(), b"value");
    vfs.faults.set(|faults| &faults.is_full, false);
    engine.put(b"key", b"third").unwrap();
    engine.flush().unwrap();
    assert_eq!(engine.get(b"key").unwrap().unwrap(), b"third");
}

#[test]
fn a_flush_and_a_compaction_that_find_the_disk_full_are_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::default();
    let engine = vfs.open(folder.path(), small());
    let write = |from: u32, to: u32| {
        for number in from..to {
            let mut batch = WriteBatch::new();
            batch.put(&number.to_be_bytes(), &[number as u8; 1000]).unwrap();
            if engine.write(&batch, WriteOptions::default().no_wait()).is_err() {
                return number;
            }
        }
        to
    };
    write(0, 1000);
    vfs.faults.set(|faults| &faults.is_full, true);
    // As far as the mapped window and the memtables go.
    let reached = write(1000, 100_000);
    assert!(reached < 100_000);
    vfs.faults.set(|faults| &faults.is_full, false);
    engine.flush().unwrap();
    engine.compact().unwrap();
    let tables = std::fs::read_dir(folder.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "sst")
    });
    let named: usize = engine.stats().levels.iter().map(|level| level.table_count).sum();
    assert_eq!(tables.count(), named, "what was written in part is gone");
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let (mut more, mut count) = (cursor.seek_to_first().unwrap(), 0);
    while more {
        count += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(count, reached);
}

fn check_poisoned(engine: &StorageEngine) {
    let refused = engine.put(b"later", b"never");
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    assert_eq!(engine.get(b"before").unwrap().unwrap(), b"value");
    assert_eq!(engine.get(b"later").unwrap(), None);
}

#[test]
fn a_write_that_fails_poisons_all_writers_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::unmapped();
    let engine = vfs.open(folder.path(), small());
    engine.put(b"before", b"value").unwrap();
    vfs.faults.set(|faults| &faults.fails_writes, true);
    thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || engine.write(&pair(thread, 1), WriteOptions::default()).unwrap_err());
        }
    });
    check_poisoned(&engine);
    vfs.faults.set(|faults| &faults.fails_writes, false);
    check_poisoned(&engine);
    drop(engine);
    assert_eq!(open(folder.path()).get(b"before").unwrap().unwrap(), b"value");
}

#[test]
fn a_sync_that_fails_poisons_whatever_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::default();
    let engine = vfs.open(folder.path(), small());
    engine.put(b"before", b"value").unwrap();
    vfs.faults.set(|faults| &faults.fails_syncs, true);
    thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || engine.write(&pair(thread, 1), durable(Durability::Power)).unwrap_err());
        }
    });
    vfs.faults.set(|faults| &faults.fails_syncs, false);
    check_poisoned(&engine);
    drop(engine);
    let again = open(folder.path());
    assert!(!again.recovery_report().was_clean);
    assert_eq!(again.get(b"before").unwrap().unwrap(), b"value");
}

#[test]
fn space_allocated_ahead_of_the_log_is_no_damage_and_goes_with_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"key", b"value").unwrap();
    let killed = killed(folder.path());
    let recovered = open(killed.path());
    assert_eq!(recovered.recovery_report().dropped_bytes, 0);
    assert_eq!(recovered.get(b"key").unwrap().unwrap(), b"value");
    engine.close().unwrap();
    let logs = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let logs: Vec<u64> = logs
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wal"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(!logs.is_empty() && logs.iter().all(|&len| len < 4096), "{logs:?}");
}
