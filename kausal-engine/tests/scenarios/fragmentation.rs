//! rocksdb#5222: a process whose memory grows with the years, though the engine accounts for a constant: freed nodes of all
//! sizes between those that live.
//!
//! Here entries of all sizes lie in regions that are reset as a whole, and jobs leave their buffers to the next ones; the
//! allocator sees little more than the metadata of tables.
//!
//! A program of its own: what is resident is the process's, and other tests would be in it.

use kausal_engine::{Options, StorageEngine};

/// Resident bytes of this process.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn a_thousand_flushes_of_all_sizes_leave_the_process_as_it_was() {
    let Some(_) = resident() else {
        println!("skipped: no /proc");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20)).unwrap();
    // Kept memory becomes resident when it is first used: once, and a region that only a burst needs perhaps in the last cycle.
    // So a burst uses all of it before anything is measured: more than the regions hold, over and over.
    for number in 0..2_000_u32 {
        engine.put(&(number % 200).to_be_bytes(), &[1; 8 << 10]).unwrap();
    }
    engine.compact().unwrap();
    let mut number = 0_u32;
    let mut cycles = |count: u32| {
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
        resident().unwrap()
    };
    let begin = cycles(200);
    let end = cycles(1_000);
    println!("{begin} bytes resident after 200 flushes, {end} after 1,200");
    assert!(10 * end <= 11 * begin, "{begin}, then {end}");
    let report = engine.memory_report();
    assert!(report.root().used_max <= report.root().limit, "{report}");
}
