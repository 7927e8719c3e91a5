//! Compacting what is asked for, all or a part: nothing changes for a reader, the part ends on one level, the rest stays where it
//! was, and what is written meanwhile is not waited for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use kausal_engine::{Error, KeyRange, KeyspaceId, Options, StorageEngine};

use crate::small;

/// Tables of 4 KiB on several levels.
fn many_tables() -> Options {
    small().block_bytes(512).table_bytes(4 << 10).level1_bytes(16 << 10).level0_compaction_count(2)
}

fn range(lower: u32, upper: u32) -> KeyRange {
    KeyRange {
        lower: Bound::Included(lower.to_be_bytes().to_vec()),
        upper: Bound::Excluded(upper.to_be_bytes().to_vec()),
    }
}

fn all(engine: &StorageEngine) -> BTreeMap<u32, u8> {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut seen = BTreeMap::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let key = u32::from_be_bytes(cursor.key().unwrap().try_into().unwrap());
        seen.insert(key, cursor.value().unwrap()[0]);
        more = cursor.next().unwrap();
    }
    seen
}

#[test]
fn compact_range_and_an_ordered_map_agree() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    let mut model = BTreeMap::new();
    let mut random = 0x9E37_79B9_u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    for round in 0..40_u8 {
        for _ in 0..60 {
            let key = next(600);
            if next(4) == 0 {
                engine.delete(&key.to_be_bytes()).unwrap();
                model.remove(&key);
            } else {
                engine.put(&key.to_be_bytes(), &[round; 100]).unwrap();
                model.insert(key, round);
            }
        }
        if round % 7 == 3 {
            let start = next(500);
            engine.delete_range(&start.to_be_bytes(), &(start + 40).to_be_bytes()).unwrap();
            model.retain(|&key, _| !(start..start + 40).contains(&key));
        }
        let snapshot = (round % 3 == 0).then(|| (engine.snapshot(), model.clone()));
        if round % 2 == 0 {
            engine.flush().unwrap();
        }
        let lower = next(600);
        engine.compact_range(&range(lower, lower + 1 + next(200))).unwrap();
        assert_eq!(all(&engine), model, "round {round}");
        if let Some((snapshot, then)) = snapshot {
            for key in 0..600_u32 {
                let value = engine.get_at(&snapshot, &key.to_be_bytes()).unwrap();
                assert_eq!(value.map(|value| value[0]), then.get(&key).copied(), "round {round}, key {key}");
            }
        }
    }
    engine.close().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    assert_eq!(all(&engine), model);
}

#[test]
fn the_range_ends_on_one_level_and_takes_its_memtable_along() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    let pause = engine.pause_compaction();
    for round in 0..3_u8 {
        (0..200_u32).for_each(|key| engine.put(&key.to_be_bytes(), &[round; 100]).unwrap());
        engine.flush().unwrap();
    }
    (0..200_u32).for_each(|key| engine.delete(&key.to_be_bytes()).unwrap());
    engine.compact_range(&KeyRange::all()).unwrap();
    assert!(all(&engine).is_empty());
    let levels = engine.stats().levels;
    assert_eq!(levels.iter().map(|level| level.entry_count).sum::<u64>(), 0, "{levels:?}");
    drop(pause);
}

#[test]
fn a_range_of_nothing_costs_nothing_and_a_keyspace_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), many_tables()).unwrap();
    (0..100_u32).for_each(|key| engine.put(&key.to_be_bytes(), &[1; 100]).unwrap());
    engine.compact().unwrap();
    let before = engine.stats();
    engine.compact_range(&range(1000, 2000)).unwrap();
    assert_eq!(engine.stats().compactions, before.compactions);
    let other = engine.create_keyspace("other").unwrap();
    other.compact_range(&KeyRange::all()).unwrap();
    engine.drop_keyspace("other").unwrap();
    let refused = other.compact_range(&KeyRange::all());
    assert!(matches!(refused, Err(Error::NoKeyspace { keyspace }) if keyspace != KeyspaceId::DEFAULT));
}

/// What compaction writes while `compact` runs beside somebody who flushes without a pause, in units of the data.
fn written_beside_a_writer(compact: impl Fn(&StorageEngine)) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let options = small().table_bytes(256 << 10).level1_bytes(256 << 10).settle_after(None);
    let options = options.level0_compaction_count(100);
    let engine = StorageEngine::open(folder.path(), options).unwrap();
    (0..20_000_u32).for_each(|key| engine.put(&key.to_be_bytes(), &[1; 200]).unwrap());
    engine.compact().unwrap();
    let data: u64 = engine.stats().levels.iter().map(|level| level.bytes).sum();
    let before = engine.stats().compaction_bytes_written;
    let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0..300_u32 {
                // Spread over all tables.
                (0..20_000).step_by(500).for_each(|place| {
                    engine.put(&(place + key % 500).to_be_bytes(), &[2; 200]).unwrap();
                });
                engine.flush().unwrap();
                begun.store(true, Ordering::SeqCst);
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        while !begun.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        compact(&engine);
        ended.store(true, Ordering::SeqCst);
    });
    (engine.stats().compaction_bytes_written - before) as f64 / data as f64
}

#[test]
fn a_writer_does_not_keep_a_compaction_from_ending() {
    let all = written_beside_a_writer(|engine| engine.compact().unwrap());
    let range = written_beside_a_writer(|engine| engine.compact_range(&KeyRange::all()).unwrap());
    println!("written while all was compacted: {all:.2} of the data; a range of everything: {range:.2}");
    assert!(all < 4.0 && range < 4.0, "all {all}, range {range}");
}
