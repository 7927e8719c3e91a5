//! seaweedfs#11180: an engine that takes a gigabyte of cache because nobody said otherwise.
//!
//! Here the default is 64 MiB for everything, one number, and it is what the engine accounts for.

use kausal_engine::{Options, StorageEngine};

use crate::{MIB, assert_inside_its_budget, scattered};

#[test]
fn without_a_word_it_is_64_mib_for_everything() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), Options::new()).unwrap();
    assert_eq!(engine.memory_report().root().limit, 64 * MIB);
    for number in 0..120_000_u32 {
        engine.put(&scattered(number), &[number as u8; 300]).unwrap();
    }
    for number in (0..120_000_u32).step_by(3) {
        assert_eq!(engine.get(&scattered(number)).unwrap().unwrap(), [number as u8; 300]);
    }
    assert_inside_its_budget(&engine);
}
