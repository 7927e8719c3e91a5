//! rocksdb#10257, rocksdb#11010, typedb#7877: a cap on memtable memory that, once reached, nothing ever gets below again.
//!
//! Here a writer that finds both regions full waits for the flush, whose memory was set aside when the database was opened: it
//! does not depend on the node that is full.

use kausal_engine::KeyRange;

use crate::{MIB, assert_inside_its_budget, open};

#[test]
fn writers_at_the_cap_wait_for_the_flush_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    // Readers hold what they can meanwhile: every byte of the requests' node, and cursors.
    let mut requests = Vec::new();
    while let Ok(request) = engine.request_with(256 << 10) {
        requests.push(request);
        assert!(requests.len() < 1000, "the requests' node has a ceiling");
    }
    let mut cursors: Vec<_> = (0..50).map(|_| engine.cursor(KeyRange::all()).unwrap()).collect();
    let written = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u32)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    for number in 0..3_000_u32 {
                        let key = (writer * 1_000_000 + number).to_be_bytes();
                        engine.put(&key, &[number as u8; 1000]).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..40 {
            for cursor in &mut cursors {
                // It may find that the budget has no room for it just now.
                let _ = cursor.seek_to_first();
            }
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).count()
    });
    assert_eq!(written, 4);
    let stats = engine.stats();
    assert!(stats.flushes >= 4, "12 MB went through two regions of 2 MiB: {stats:?}");
    drop((requests, cursors));
    assert_inside_its_budget(&engine);
    assert!(engine.memory_report().root().limit == 8 * MIB);
    for writer in 0..4_u32 {
        let key = (writer * 1_000_000 + 2_999).to_be_bytes();
        assert_eq!(engine.get(&key).unwrap().unwrap(), [2_999_u32 as u8; 1000]);
    }
}
