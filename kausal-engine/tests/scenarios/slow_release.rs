//! rocksdb PR 6041, scylladb#1551: milliseconds, or seconds, to give a flushed memtable's memory back, node by node.
//!
//! Here a memtable's entries lie in a region that goes back as a whole: giving it back frees nothing, however many there are.

use kausal_engine::sim::{self, SimVfs};
use kausal_engine::{Builder, StorageEngine};

use crate::{options, scattered};

#[test]
fn a_flush_of_twenty_times_the_entries_frees_no_node_of_them() {
    // On a simulated machine the flush, and all that it frees, is this thread's.
    let (environment, scheduler) = sim::environment(&SimVfs::new(), 1);
    let engine: StorageEngine = Builder::new("/db", options()).environment(environment).open().unwrap();
    let mut calls = Vec::new();
    for entries in [500_u32, 10_000] {
        // Twice, so that buffers have their size.
        for is_warm in [false, true] {
            for number in 0..entries {
                engine.put(&scattered(number), &[7; 40]).unwrap();
            }
            let counted = allocation_counter::measure(|| engine.flush().unwrap());
            while scheduler.run_one() {}
            if is_warm {
                calls.push(counted.count_total);
            }
        }
    }
    println!("allocator calls of a flush of 500 and of 10,000 entries: {calls:?}");
    assert!(calls[1] < calls[0] + 4_000, "9,500 entries more, each with a node or more: {calls:?}");
}
