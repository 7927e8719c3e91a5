//! rocksdb#10536: iterators that stay open keep memtables and blocks in memory, without a bound.
//!
//! Here a cursor pins only inside a call. Between calls it holds the entries of its chunk, charged, and a number.

use kausal_engine::KeyRange;

use crate::{assert_inside_its_budget, open};

#[test]
fn cursors_that_stay_open_pin_no_memtable() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..1_000_u32 {
        engine.put(&number.to_be_bytes(), b"first").unwrap();
    }
    // A cursor per memtable that ever was: each stands in the middle of its walk.
    let mut cursors = Vec::new();
    for round in 0..40_u32 {
        let mut cursor = engine.cursor(KeyRange::all()).unwrap();
        assert!(cursor.seek(&(round * 10).to_be_bytes()).unwrap());
        cursors.push((round, cursor));
        for number in 0..1_000_u32 {
            engine.put(&number.to_be_bytes(), &[round as u8; 300]).unwrap();
        }
        engine.flush().unwrap();
    }
    assert!(engine.stats().flushes >= 40);
    assert_inside_its_budget(&engine);
    // Each goes on where it stood, at its own moment.
    for (round, cursor) in &mut cursors {
        let expected = if *round == 0 { b"first".to_vec() } else { vec![*round as u8 - 1; 300] };
        let mut seen = 0;
        loop {
            assert_eq!(cursor.key().unwrap(), (*round * 10 + seen).to_be_bytes());
            assert_eq!(cursor.value().unwrap(), expected);
            seen += 1;
            if !cursor.next().unwrap() {
                break;
            }
        }
        assert_eq!(seen, 1_000 - *round * 10);
    }
    assert_inside_its_budget(&engine);
}
