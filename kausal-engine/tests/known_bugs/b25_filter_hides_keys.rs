//! pebble#3627: a Bloom filter was asked with another form of the key than it was filled with, and hid keys that were there.

use std::sync::Arc;

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{numbered, options, put, try_open_with};

#[test]
fn look_ups_with_and_without_filters_agree() {
    let answers = [0, 1, 10, 20].map(|bits| {
        let options = options().filter_bits_per_key(bits);
        let (engine, _scheduler) = try_open_with(Arc::new(SimVfs::new()), options);
        let engine = engine.unwrap();
        for number in (0..600_u32).step_by(2) {
            put(&engine, &number.to_le_bytes(), &numbered(number, 20), Durability::Process).unwrap();
            if number % 200 == 0 {
                engine.flush().unwrap();
            }
        }
        for number in (0..600_u32).step_by(10) {
            engine.delete(&number.to_le_bytes()).unwrap();
        }
        engine.compact().unwrap();
        (0..700_u32).map(|number| engine.get(&number.to_le_bytes()).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(answers[0].iter().flatten().count(), 240);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}
