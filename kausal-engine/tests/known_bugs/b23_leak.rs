//! crossbeam#672, tikv#19285: racing removes, and the counts of a range's iterator, leaked a skip list's nodes: 613 MB in ten
//! seconds.
//!
//! Here no node is counted or freed by itself: a memtable's go with their region. The models of kausal-index
//! (`tests/loom_skip_list.rs`, and the same for the other indexes) show the links; this shows that nothing is left of rounds
//! of puts, deletes and walks by four threads, and of the database itself.

use kausal_engine::{KeyRange, Options, StorageEngine};

/// Bytes that rounds of work by four threads leave accounted for, in all.
fn held(engine: &StorageEngine) -> usize {
    engine.flush().unwrap();
    engine.compact().unwrap();
    engine.memory_report().leaves_used()
}

fn rounds(engine: &StorageEngine) {
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..50_u32 {
                    let key = [(round % 50) as u8];
                    engine.put(&key, &[thread; 40]).unwrap();
                    engine.delete(&key).unwrap();
                    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
                    let mut more = cursor.seek_to_first().unwrap();
                    while more {
                        more = cursor.next().unwrap();
                    }
                }
            });
        }
    });
    for key in 0..50 {
        engine.delete(&[key]).unwrap();
    }
}

#[test]
fn rounds_of_writes_and_walks_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20)).unwrap();
    rounds(&engine);
    let after_one = held(&engine);
    for _ in 0..4 {
        rounds(&engine);
    }
    assert_eq!(held(&engine), after_one);
}
