//! bichon#317: a write stall that spins, and with it an async runtime that stands still.
//!
//! Here a writer that has to wait sleeps on an event, once per thing that happens, and has a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kausal_engine::event::{Event, Ticket};
use kausal_engine::scheduler::{Job, Lane, Scheduler, ThreadScheduler, Waited};
use kausal_engine::{Builder, Environment, Error, StorageEngine};

use crate::options;

/// The system's threads; counts the waits.
#[derive(Debug)]
struct CountingScheduler {
    threads: ThreadScheduler,
    waits: AtomicU64,
}

impl Scheduler for CountingScheduler {
    fn spawn(&self, lane: Lane, job: Job) {
        self.threads.spawn(lane, job);
    }

    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.threads.wait(event, ticket, deadline)
    }

    fn shutdown(&self) {
        self.threads.shutdown();
    }

    fn panic_count(&self) -> usize {
        self.threads.panic_count()
    }
}

#[test]
fn a_stalled_writer_sleeps_until_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let scheduler =
        Arc::new(CountingScheduler { threads: ThreadScheduler::start().unwrap(), waits: AtomicU64::new(0) });
    let shared: Arc<dyn Scheduler> = Arc::<CountingScheduler>::clone(&scheduler);
    let environment = Environment { scheduler: shared, ..Environment::system().unwrap() };
    let options =
        options().level0_compaction_count(1).level0_stall_count(2).stall_timeout(Duration::from_millis(500));
    let engine: StorageEngine = Builder::new(folder.path(), options).environment(environment).open().unwrap();
    let pause = engine.pause_compaction();
    let mut number = 0_u32;
    let begun = std::time::Instant::now();
    let refused = loop {
        match engine.put(&number.to_be_bytes(), &[7; 2_000]) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100_000, "two tables and two memtables hold less");
    };
    assert!(matches!(refused, Error::Stalled { .. }), "{refused:?}");
    let waits = scheduler.waits.load(Ordering::Relaxed);
    let waited = begun.elapsed();
    let stalls = engine.metrics().stalls;
    let paces: u64 =
        stalls.iter().filter(|(reason, _)| reason.is_pace()).map(|(_, totals)| totals.count).sum();
    println!("{number} writes, {waits} waits, {paces} of them to slow down, in {waited:?}");
    // A wait for each flush that ended, and a few for the last stall; those that slow a writer down have a length.
    assert!(waits < 40 + paces, "{waits} waits in half a second is a loop");
    assert!(paces <= 40 + waited.as_micros() as u64 / 100, "{paces} short waits are a loop");
    drop(pause);
    engine.put(&number.to_be_bytes(), b"goes on").unwrap();
}
