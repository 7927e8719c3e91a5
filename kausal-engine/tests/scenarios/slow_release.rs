//! rocksdb PR 6041, scylladb#1551: milliseconds, or seconds, to give a flushed memtable's memory back, node by node.
//!
//! Here a memtable's entries lie in a region that goes back as a whole: giving it back frees nothing, however many there are.

use kausal_engine::sim::{self, SimVfs};
use kausal_engine::{Builder, DefaultIndex, StorageEngine};
use kausal_index::{BTreeIndex, BlockIndex};

use crate::{options, scattered};

/// How often memory is given back to the global allocator in a flush of 500 and of 10,000 entries.
fn frees<I: BlockIndex + 'static>() -> [i64; 2] {
    // On a simulated machine the flush, and all that it frees, is this thread's.
    let (environment, scheduler) = sim::environment(&SimVfs::new(), 1);
    let engine: StorageEngine<I> = Builder::new("/db", options()).environment(environment).open().unwrap();
    [500_u32, 10_000].map(|entries| {
        let mut frees = 0;
        // Twice, so that buffers have their size.
        for _ in 0..2 {
            for number in 0..entries {
                engine.put(&scattered(number), &[7; 40]).unwrap();
            }
            let counted = allocation_counter::measure(|| {
                engine.flush().unwrap();
                while scheduler.run_one() {}
            });
            frees = counted.count_total as i64 - counted.count_current;
        }
        frees
    })
}

#[test]
fn a_flush_of_twenty_times_the_entries_frees_no_node_of_them() {
    let of_regions = frees::<DefaultIndex>();
    // The remedy switched off: an index whose nodes are the allocator's.
    let of_nodes = frees::<BTreeIndex>();
    println!(
        "frees of a flush of 500 and of 10,000 entries: {of_regions:?}; of nodes of the heap: {of_nodes:?}"
    );
    assert!(of_regions[1] < of_regions[0] + 4_000, "9,500 entries more: {of_regions:?}");
    assert!(of_nodes[1] > of_nodes[0] + 4_000, "nodes that are freed one by one are seen: {of_nodes:?}");
}
