//! What a look-up does not do: no lock, and no read-modify-write of a word that another thread could share, counted by the
//! facade that every lock and atomic of the read path comes through.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::sync::counts;
use kausal_engine::{Options, StorageEngine};

/// Keys in the table; as many again are in the memtable, and as many are nowhere.
const COUNT: u32 = 500;

fn filled(folder: &std::path::Path, is_mapped: bool) -> StorageEngine {
    let options = Options::new().memory_budget(16 << 20).mapped_tables(is_mapped);
    let engine = StorageEngine::open(folder, options).unwrap();
    let put = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap());
    };
    put(0..COUNT);
    engine.compact().unwrap();
    put(COUNT..2 * COUNT);
    engine
}

#[test]
fn a_cached_get_takes_no_lock_and_shares_no_read_modify_write() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(folder.path(), false);
    get_takes_no_lock_and_shares_no_read_modify_write(&engine);
    let hits = engine.stats().block_cache_hits;
    assert!(hits >= u64::from(COUNT), "the table was read from the cache: {hits} hits");
}

#[test]
#[cfg(unix)]
fn a_get_from_a_mapping_takes_no_lock_and_shares_no_read_modify_write() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(folder.path(), true);
    get_takes_no_lock_and_shares_no_read_modify_write(&engine);
    let stats = engine.stats();
    assert!(stats.mapped_block_count > 0 && stats.block_cache_hits == 0, "{stats:?}");
}

fn get_takes_no_lock_and_shares_no_read_modify_write(engine: &StorageEngine) {
    let places =
        [("table, used before", 0..COUNT), ("memtable", COUNT..2 * COUNT), ("nowhere", 2 * COUNT..3 * COUNT)];
    let mut value = Vec::new();
    for (place, numbers) in places {
        let mut look_up = || {
            for number in numbers.clone() {
                let is_there = engine.get_into(&number.to_be_bytes(), &mut value).unwrap();
                assert_eq!(
                    is_there.then_some(&value[..]),
                    (number < 2 * COUNT).then_some(&[number as u8; 100][..])
                );
            }
        };
        look_up();
        let (seen, ()) = counts::of(look_up);
        println!(
            "get, {place}: {} locks, {} read-modify-writes in {COUNT} gets",
            seen.locks, seen.read_modify_writes
        );
        assert_eq!((seen.locks, seen.read_modify_writes), (0, 0), "{place}");
    }
}

#[test]
fn many_threads_read_what_a_writer_flushes_and_compacts() {
    for is_mapped in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        read_beside_a_writer(&filled(folder.path(), is_mapped));
    }
}

fn read_beside_a_writer(engine: &StorageEngine) {
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let mut value = Vec::new();
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    for number in (0..COUNT).step_by(3) {
                        assert!(engine.get_into(&number.to_be_bytes(), &mut value).unwrap());
                        assert!(value == [number as u8; 100] || value == [!number as u8; 100]);
                        let pinned = engine.get_pinned(&number.to_be_bytes()).unwrap().unwrap();
                        assert!(pinned[..] == [number as u8; 100] || pinned[..] == [!number as u8; 100]);
                    }
                }
            });
        }
        for round in 0..20_u32 {
            for number in 0..COUNT {
                let byte = if round % 2 == 0 { !number as u8 } else { number as u8 };
                engine.put(&number.to_be_bytes(), &[byte; 100]).unwrap();
            }
            if round % 3 == 0 { engine.compact() } else { engine.flush() }.unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
