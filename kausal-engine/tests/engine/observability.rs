//! What the engine tells of itself: counts, latencies, events, stalls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kausal_engine::{
    Builder, EngineEvent, Error, EventListener, Metrics, StallReason, StorageEngine, WriteBatch, WriteOptions,
};

use crate::{open, small};

/// Keeps what it hears.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<EngineEvent>>);

impl EventListener for Heard {
    fn event(&self, event: &EngineEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn count(&self, is_wanted: impl Fn(&EngineEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is_wanted(event)).count()
    }
}

fn totals(metrics: &Metrics, wanted: StallReason) -> kausal_engine::StallTotals {
    metrics.stalls.iter().find(|(reason, _)| *reason == wanted).unwrap().1
}

#[test]
fn look_ups_and_writes_are_counted_by_where_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    (0..100_u32).for_each(|number| engine.put(&number.to_be_bytes(), &[1; 50]).unwrap());
    engine.compact().unwrap();
    // What is flushed stays in level 0.
    let _paused = engine.pause_compaction();
    (100..200_u32).for_each(|number| engine.put(&number.to_be_bytes(), &[1; 50]).unwrap());
    engine.flush().unwrap();
    let mut batch = WriteBatch::new();
    (200..300_u32).for_each(|number| batch.put(&number.to_be_bytes(), &[1; 50]).unwrap());
    engine.write(&batch, WriteOptions::durable(kausal_engine::Durability::Power)).unwrap();
    // Each by another way in.
    (0..100_u32).for_each(|number| assert!(engine.get(&number.to_be_bytes()).unwrap().is_some()));
    (100..200_u32).for_each(|number| assert!(engine.get_pinned(&number.to_be_bytes()).unwrap().is_some()));
    let keys: Vec<[u8; 4]> = (200..400_u32).map(u32::to_be_bytes).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    assert_eq!(engine.multi_get(&keys).unwrap().iter().flatten().count(), 100);

    let metrics = engine.metrics();
    assert_eq!((metrics.reads.memtable_hits, metrics.reads.absent, metrics.reads.gets()), (100, 100, 400));
    assert_eq!(metrics.reads.level_hits.iter().sum::<u64>(), 200);
    assert_eq!(metrics.reads.level_hits[0], 100, "{metrics:?}");
    assert_eq!((metrics.writes.writes, metrics.writes.changes, metrics.writes.bytes), (201, 300, 300 * 54));
    assert_eq!((metrics.stats.puts, metrics.stats.user_bytes_written), (300, 300 * 54));
    assert_eq!((metrics.writes.syncs, metrics.sync_latency.samples), (1, 1));
    assert!(metrics.writes.groups >= 1 && metrics.writes.group_writes_max >= 1, "{metrics:?}");
    // One in 64 of the 200 single look-ups and of the 201 writes, the first of a thread included.
    assert!((3..=8).contains(&metrics.get_latency.samples), "{metrics:?}");
    assert!((3..=8).contains(&metrics.write_latency.samples), "{metrics:?}");
    for latency in [metrics.get_latency, metrics.write_latency, metrics.sync_latency] {
        assert!(
            latency.p50 <= latency.p99 && latency.p99 <= latency.max && !latency.max.is_zero(),
            "{latency:?}"
        );
    }
    let moved_or_merged: u64 = metrics.compactions.iter().map(|flow| flow.bytes_moved + flow.bytes_out).sum();
    assert!(moved_or_merged > 0 && metrics.write_amplification().unwrap() >= 1.0, "{metrics:?}");
}

#[test]
fn counts_of_many_threads_are_summed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    // More threads than there are cells with the smallest budget.
    std::thread::scope(|threads| {
        for thread in 0..40_u32 {
            let engine = &engine;
            threads.spawn(move || {
                for number in 0..100_u32 {
                    engine.put(&(thread << 16 | number).to_be_bytes(), b"value").unwrap();
                    assert!(engine.get(&(thread << 16 | number).to_be_bytes()).unwrap().is_some());
                }
            });
        }
    });
    let metrics = engine.metrics();
    assert_eq!((metrics.reads.gets(), metrics.writes.changes), (4000, 4000));
}

#[test]
fn a_listener_hears_of_flushes_compactions_and_tables_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    let engine: StorageEngine =
        Builder::new(folder.path(), small()).listener(Arc::clone(&heard)).open().unwrap();
    for round in 0..3_u32 {
        (0..500_u32).for_each(|number| engine.put(&number.to_be_bytes(), &[round as u8; 100]).unwrap());
        engine.flush().unwrap();
    }
    engine.compact().unwrap();
    engine.close().unwrap();
    let is_flush = |event: &EngineEvent| matches!(event, EngineEvent::FlushCompleted { .. });
    assert_eq!(heard.count(is_flush), 3);
    assert_eq!(heard.count(|event| matches!(event, EngineEvent::LogRotated { .. })), 3);
    let created = heard.count(|event| matches!(event, EngineEvent::TableCreated { .. }));
    let deleted = heard.count(|event| matches!(event, EngineEvent::TableDeleted { .. }));
    assert!(created >= 4 && created - deleted == 1, "{created} created, {deleted} deleted");
    let events = heard.0.lock().unwrap();
    let mut open_jobs = (0, 0);
    for event in &*events {
        match event {
            EngineEvent::FlushBegun { entry_count, .. } => {
                assert_eq!(*entry_count, 500);
                open_jobs.0 += 1;
            }
            EngineEvent::FlushCompleted { bytes, table_count, .. } => {
                assert!(*bytes > 0 && *table_count == 1);
                open_jobs.0 -= 1;
            }
            EngineEvent::CompactionBegun { .. } => open_jobs.1 += 1,
            EngineEvent::CompactionCompleted { .. } => open_jobs.1 -= 1,
            _ => {}
        }
        assert!(open_jobs.0 <= 1 && open_jobs.1 <= 1, "one job of a kind at a time: {events:?}");
    }
    assert_eq!(open_jobs, (0, 0), "{events:?}");
}

#[derive(Debug)]
struct Panics;

impl EventListener for Panics {
    fn event(&self, _event: &EngineEvent) {
        panic!("a listener that panics");
    }
}

#[test]
fn a_listener_that_panics_is_not_called_again_and_hurts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine: StorageEngine = Builder::new(folder.path(), small()).listener(Panics).open().unwrap();
    for _ in 0..3 {
        engine.put(b"apple", b"red").unwrap();
        engine.flush().unwrap();
    }
    assert_eq!(engine.metrics().listener_panics, 1);
    assert_eq!(engine.get(b"apple").unwrap().unwrap(), b"red");
    engine.close().unwrap();
}

#[test]
fn a_stall_is_explained_while_it_lasts_and_counted_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    let options =
        small().level0_compaction_count(1).level0_stall_count(2).stall_timeout(Duration::from_secs(30));
    let engine: StorageEngine =
        Builder::new(folder.path(), options).listener(Arc::clone(&heard)).open().unwrap();
    assert_eq!(engine.explain_stall(), None);
    let pause = engine.pause_compaction();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let begun = |event: &EngineEvent| {
                matches!(event, EngineEvent::StallEnded { reason: StallReason::Level0, .. })
            };
            let mut number = 0_u32;
            while heard.count(begun) == 0 {
                engine.put(&number.to_be_bytes(), &[7; 2_000])?;
                number += 1;
            }
            Ok::<_, Error>(())
        });
        let stall = loop {
            match engine.explain_stall() {
                Some(stall) if stall.reason == StallReason::Level0 => break stall,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!((stall.writers, stall.pressure), (1, 1.0), "{stall:?}");
        assert!(stall.holders.iter().any(|holder| holder == "whoever paused compaction"), "{stall:?}");
        drop(pause);
        writer.join().unwrap().unwrap();
    });
    let stopped = totals(&engine.metrics(), StallReason::Level0);
    assert!(
        stopped.count >= 1 && stopped.longest <= stopped.total && !stopped.total.is_zero(),
        "{stopped:?}"
    );
    let begun = heard.count(|event| matches!(event, EngineEvent::StallBegun { .. }));
    let ended = heard.count(|event| matches!(event, EngineEvent::StallEnded { .. }));
    assert_eq!(begun, ended);
}

#[test]
fn writers_ahead_of_a_slow_flush_are_slowed_down_before_they_stop() {
    let folder = tempfile::tempdir().unwrap();
    let options = small().background_bytes_per_second(1 << 20).rate_limit_flushes(true);
    let engine = StorageEngine::open(folder.path(), options).unwrap();
    // Three memtables of 1.5 MiB: at 1 MiB a second a flush takes a good while, and a writer does not.
    for number in 0..50_000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap();
    }
    let paced = totals(&engine.metrics(), StallReason::FlushPace);
    assert!(paced.count > 0 && paced.total >= paced.longest, "{paced:?}");
    for number in (0..50_000_u32).step_by(997) {
        assert_eq!(engine.get(&number.to_be_bytes()).unwrap().unwrap(), [number as u8; 100]);
    }
}

#[test]
fn a_merge_for_the_sake_of_readers_is_given_up_when_a_memtable_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    // Nothing is due; and what is begun at rest takes many seconds.
    let options =
        small().level0_compaction_count(100).level0_stall_count(100).background_bytes_per_second(64 << 10);
    let options = options.settle_after(Some(Duration::from_millis(10)));
    let engine: StorageEngine =
        Builder::new(folder.path(), options).listener(Arc::clone(&heard)).open().unwrap();
    let write = |round: u32| {
        (0..500_u32).for_each(|number| engine.put(&number.to_be_bytes(), &[round as u8; 1_000]).unwrap());
        engine.flush().unwrap();
    };
    (0..5).for_each(write);
    let begun = || heard.count(|event| matches!(event, EngineEvent::CompactionBegun { .. }));
    for count in 1..=2 {
        while begun() < count {
            std::thread::yield_now();
        }
        assert_eq!(engine.stats().compactions, 0);
        // Another one begins only when the one before has ended, and it has not ended well.
        write(count as u32);
    }
}
