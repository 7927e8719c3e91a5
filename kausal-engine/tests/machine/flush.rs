//! When memtables are sealed and flushed, and who waits for that.

use std::sync::Arc;
use std::time::Duration;

use kausal_engine::sim::{self, SimScheduler, SimVfs};
use kausal_engine::{Builder, Error, Options, StorageEngine};

fn open(options: Options) -> (StorageEngine, Arc<SimScheduler>) {
    let (environment, scheduler) = sim::environment(&SimVfs::new(), 1);
    (Builder::new("/db", options).environment(environment).open().unwrap(), scheduler)
}

/// Writes three tenths of a memtable.
fn write_some(engine: &StorageEngine, round: u32) {
    for number in 0..50_u32 {
        engine.put(&(round * 1000 + number).to_be_bytes(), &[round as u8; 9_000]).unwrap();
    }
}

#[test]
fn s11_a_writer_waits_for_the_disk_only_when_every_region_is_full() {
    let (engine, scheduler) = open(Options::new().memory_budget(8 << 20));
    // Two regions of 1.5 MiB. No job runs, so whatever is written goes to memory and to the log alone.
    for round in 0..6 {
        write_some(&engine, round);
        let stats = engine.stats();
        assert_eq!((stats.flushes, stats.write_stalls), (0, 0), "round {round}: {stats:?}");
    }
    assert_eq!(engine.stats().memtable_entry_count, 300, "a sealed memtable is still read");
    // The second region is full now: the writer waits, and the flush that gives the first one back runs.
    (6..10).for_each(|round| write_some(&engine, round));
    let stats = engine.stats();
    assert!(stats.flushes >= 1 && stats.write_stalls >= 1, "{stats:?}");
    for round in 0..10_u32 {
        assert_eq!(engine.get(&(round * 1000).to_be_bytes()).unwrap().unwrap(), [round as u8; 9_000]);
    }
    // A reader of a sealed memtable keeps its region; whoever comes after it gets it reset.
    while scheduler.run_one() {}
    engine.flush().unwrap();
    let stats = engine.stats();
    assert_eq!(stats.memtable_entry_count, 0, "{stats:?}");
}

#[test]
fn u5_a_writer_that_must_wait_gets_a_typed_error_at_its_deadline() {
    let options = Options::new().memory_budget(8 << 20).stall_timeout(Duration::from_secs(5));
    // Nothing is compacted for a while, and three tables of level 0 are too many.
    let (engine, _scheduler) = open(options.level0_compaction_count(2).level0_stall_count(3));
    let pause = engine.pause_compaction();
    let mut written = 0_u32;
    let refused = loop {
        match engine.put(&written.to_be_bytes(), &[1; 9_000]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "three tables and two memtables hold less");
    };
    let Error::Stalled { reason, waited } = &refused else { panic!("{refused:?}") };
    assert_eq!((*reason, *waited), ("level 0 is being compacted", Duration::from_secs(5)));
    // What was acknowledged is there, and the rest of the engine goes on.
    for number in (0..written).step_by(50) {
        assert_eq!(engine.get(&number.to_be_bytes()).unwrap().unwrap(), [1; 9_000]);
    }
    assert_eq!(engine.get(&written.to_be_bytes()).unwrap(), None);
    drop(pause);
    engine.put(&written.to_be_bytes(), &[1; 9_000]).unwrap();
}

#[test]
fn a_stall_that_no_compaction_would_end_is_none() {
    let options = Options::new().memory_budget(8 << 20).level0_compaction_count(100).level0_stall_count(2);
    let (engine, scheduler) = open(options.settle_after(None));
    (0..40).for_each(|round| write_some(&engine, round));
    while scheduler.run_one() {}
    assert!(engine.stats().levels[0].table_count > 2, "{:?}", engine.stats());
}
