//! rocksdb#5322: a cache whose limit is strict fails the reads that find no room in it.
//!
//! Here a look-up needs no room in the cache: what the cache refuses is lent from a buffer whose memory was set aside when the
//! database was opened. What values pin is limited; above the limit they are copied.

use kausal_engine::{KeyRange, StorageEngine};

use crate::{MIB, assert_inside_its_budget, open, scattered};

const COUNT: u32 = 12_000;

/// Every so many values is one whose block is too large for the cache to take.
const LARGE_EVERY: u32 = 100;

fn value(number: u32) -> Vec<u8> {
    vec![number as u8; if number.is_multiple_of(LARGE_EVERY) { 60_000 } else { 1_000 }]
}

fn read_everything(engine: &StorageEngine) {
    for number in 0..COUNT {
        assert_eq!(engine.get(&scattered(number)).unwrap().unwrap(), value(number));
    }
}

#[test]
fn reads_succeed_while_everything_that_can_be_held_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..COUNT {
        engine.put(&scattered(number), &value(number)).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    // Blocks are pinned, cursors stand in the middle of their walks, the requests' node is full.
    let pinned: Vec<_> =
        (0..COUNT).map(|number| engine.get_pinned(&scattered(number)).unwrap().unwrap()).collect();
    let mut cursors: Vec<_> = (0..8).map(|_| engine.cursor(KeyRange::all()).unwrap()).collect();
    assert!(cursors.iter_mut().all(|cursor| cursor.seek_to_first().unwrap()));
    let mut requests = Vec::new();
    while let Ok(request) = engine.request_with(256 << 10) {
        requests.push(request);
        assert!(requests.len() < 1000, "the requests' node has a ceiling");
    }
    let held = engine.stats().pinned_value_bytes;
    assert!(0 < held && held <= 8 * MIB / 16, "{held} bytes are pinned");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| read_everything(&engine));
        }
    });
    for cursor in &mut cursors {
        let mut count = 1;
        while cursor.next().unwrap() {
            count += 1;
        }
        assert_eq!(count, COUNT);
    }
    for (number, pinned) in (0..COUNT).zip(&pinned) {
        assert_eq!(**pinned, value(number));
    }
    assert_inside_its_budget(&engine);
}
