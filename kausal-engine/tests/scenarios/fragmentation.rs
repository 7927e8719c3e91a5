//! rocksdb#5222: a process whose memory grows with the years, though the engine accounts for a constant: freed nodes of all
//! sizes between those that live.
//!
//! Here entries of all sizes lie in regions that are reset as a whole, and jobs leave their buffers to the next ones; the
//! allocator sees little more than the metadata of tables.
//!
//! A program of its own: what is resident is the process's, and other tests would be in it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_engine::{Builder, DefaultIndex, Options, StorageEngine};
use kausal_index::{BTreeIndex, BlockIndex};

const BUDGET: usize = 8 << 20;

/// What a process may have resident beside the budget's tenth: stacks, code that runs for the first time, the allocator's.
const BESIDE: usize = 1 << 20;

/// Resident bytes of this process.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Bytes that became resident with an engine, 200 flushes after a burst and `cycles` flushes later.
fn grown<I: BlockIndex + 'static>(cycles: u32) -> [usize; 2] {
    let before = resident().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().memory_budget(BUDGET);
    let engine: StorageEngine<I> = Builder::new(folder.path(), options).open().unwrap();
    // Kept memory becomes resident when it is first used: once, and a region that only a burst needs perhaps in the last cycle.
    // So a burst uses all of it before anything is measured: more than the regions hold, over and over.
    for number in 0..2_000_u32 {
        engine.put(&(number % 200).to_be_bytes(), &[1; 8 << 10]).unwrap();
    }
    engine.compact().unwrap();
    let mut number = 0_u32;
    let grown = [200, cycles].map(|count: u32| {
        for cycle in 0..count {
            for _ in 0..40 {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let len = 1 << (number >> 28);
                // Some thousand keys again and again: tables, and what they keep in memory, do not become more.
                let key = (number >> 12) % 4_000;
                engine.put(&key.to_be_bytes(), &vec![number as u8; len.min(20_000)]).unwrap();
            }
            engine.flush().unwrap();
            // Or else the tables of level 0 would become more, and with them what is kept of each: a flush that is asked for
            // does not wait for compaction.
            if cycle % 20 == 19 {
                engine.compact().unwrap();
            }
        }
        resident().unwrap() - before
    });
    let report = engine.memory_report();
    assert!(report.root().used_max <= report.root().limit, "{report}");
    grown
}

#[test]
fn a_thousand_flushes_of_all_sizes_leave_the_process_as_it_was() {
    let Some(before) = resident() else {
        println!("skipped: no /proc");
        return;
    };
    let of_regions = grown::<DefaultIndex>(1_000);
    // The remedy switched off: an index whose nodes are the allocator's, each freed by itself.
    let of_nodes = grown::<BTreeIndex>(0);
    println!(
        "grown by {of_regions:?} bytes in 200 and in 1,200 flushes; with nodes of the heap by {of_nodes:?}"
    );
    let [begin, end] = of_regions;
    assert!(10 * (before + end) <= 11 * (before + begin), "{before}, then {begin} and {end} more");
    // In both cases the engine accounts for no more than the budget.
    let bound = BUDGET + BUDGET / 10 + BESIDE;
    assert!(end <= bound, "{end} of {bound}");
    assert!(of_nodes[0] > bound, "nodes that are freed one by one are seen: {} of {bound}", of_nodes[0]);
}
