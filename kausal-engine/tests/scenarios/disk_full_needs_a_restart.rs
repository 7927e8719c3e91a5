//! rocksdb#9762, rocksdb-js#730: the disk was full for a moment, and the database takes no more writes until it is opened again.
//!
//! Here a write that finds no room waits and goes on by itself when there is some again; flushes and compactions remove what
//! they have written and try again. What a full disk leaves of each edit of the manifest is in `known_bugs`.

use std::sync::Arc;

use kausal_engine::sim::{self, SimVfs};
use kausal_engine::{Builder, StorageEngine};

use crate::{options, scattered};

const COUNT: u32 = 9_000;

fn value(number: u32) -> [u8; 500] {
    [number as u8; 500]
}

fn open(disk: &SimVfs) -> (StorageEngine, Arc<sim::SimScheduler>) {
    let (environment, scheduler) = sim::environment(disk, 1);
    (Builder::new("/db", options()).environment(environment).open().unwrap(), scheduler)
}

#[test]
fn writers_go_on_by_themselves_whenever_there_is_room_again() {
    // How much room there is at first decides who finds none: the log, a flush, a compaction.
    let mut refused = 0;
    for room in [0, 100_000, 700_000, 2_000_000] {
        let disk = SimVfs::new();
        let (engine, scheduler) = open(&disk);
        for number in 0..COUNT {
            if number % 1_500 == 100 {
                // There is more after that many refusals, and questions whether there is.
                disk.limit_space(room, 20);
            }
            engine.put(&scattered(number), &value(number)).unwrap();
        }
        engine.flush().unwrap();
        engine.compact().unwrap();
        while scheduler.run_one() {}
        refused += disk.refused_count();
        engine.close().unwrap();
        let (engine, _scheduler) = open(&disk);
        assert!(engine.recovery_report().was_clean);
        for number in 0..COUNT {
            assert_eq!(engine.get(&scattered(number)).unwrap().unwrap(), value(number));
        }
    }
    assert!(refused >= 10, "the disk was full {refused} times");
}
