//! Tables that are mapped: the same answers as with tables that are read, while files come and go, and damage found at first use.
//! The models, walks, checkpoints, compressed tables and counts of allocations and locks have mapped tables among their cases.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kausal_engine::{Error, KeyRange, StorageEngine};

use crate::{open_as, small};

const KEYS: u32 = 4_000;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// What `round` wrote: each value says which round that was, and whose it is.
fn value(number: u32, round: u8) -> Vec<u8> {
    let mut value = vec![round; 100];
    value[..4].copy_from_slice(&number.to_le_bytes());
    value
}

fn fill(engine: &StorageEngine, round: u8) {
    (0..KEYS).for_each(|number| engine.put(&key(number), &value(number, round)).unwrap());
}

/// All entries, by a cursor that copies and by a walk that lends.
fn entries(engine: &StorageEngine) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let (mut copied, mut lent) = (Vec::new(), Vec::new());
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        copied.push((cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec()));
        more = cursor.next().unwrap();
    }
    let saw_all = cursor.walk(|entry| {
        lent.push((entry.key().to_vec(), entry.value().unwrap().to_vec()));
        ControlFlow::Continue(())
    });
    assert!(saw_all.unwrap());
    assert_eq!(copied, lent);
    copied
}

fn tables(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}

#[test]
fn data_blocks_are_looked_at_where_they_lie_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_as(true, folder.path());
    fill(&engine, 1);
    engine.compact().unwrap();
    let stats = engine.stats();
    let bytes: u64 = stats.levels.iter().map(|level| level.bytes).sum();
    assert_eq!((stats.mapped_table_count, stats.mapped_table_bytes), (tables(folder.path()).len(), bytes));
    assert!(stats.mapped_table_count > 0);
    assert_eq!(stats.mapped_block_count, 0, "nobody has looked yet");

    assert_eq!(engine.get(&key(7)).unwrap(), Some(value(7, 1)));
    assert_eq!(engine.stats().mapped_block_count, 1);
    assert_eq!(entries(&engine).len(), KEYS as usize);
    let used = engine.stats();
    assert!(used.mapped_block_count > bytes / 5_000, "{used:?}");
    assert_eq!((used.block_cache_hits, used.block_cache_misses), (0, 0));
    let report = engine.memory_report();
    assert_eq!(report.root().used, report.leaves_used(), "{report}");

    // What was checked is checked again after the next open.
    engine.close().unwrap();
    let engine = open_as(true, folder.path());
    assert_eq!(engine.stats().mapped_block_count, 0);
    assert_eq!(entries(&engine).len(), KEYS as usize);
}

#[test]
fn a_database_may_be_opened_with_mapped_tables_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (round, is_mapped) in [(1, false), (2, true), (3, false), (4, true)] {
        let engine = open_as(is_mapped, folder.path());
        assert_eq!(entries(&engine), expected);
        fill(&engine, round);
        engine.flush().unwrap();
        expected = (0..KEYS).map(|number| (key(number).to_vec(), value(number, round))).collect();
        assert_eq!(entries(&engine), expected);
        assert_eq!(engine.stats().mapped_table_count > 0, is_mapped);
        engine.close().unwrap();
    }
    let read_only = StorageEngine::open(folder.path(), small().mapped_tables(true).read_only(true)).unwrap();
    assert_eq!(entries(&read_only), expected);
}

/// What readers of the two engines see at a snapshot each is the same, whatever a writer does to both meanwhile.
#[test]
fn answers_are_those_of_unmapped_tables_while_tables_come_and_go() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let engines = [false, true].map(|is_mapped| {
        let engine = open_as(is_mapped, folders[usize::from(is_mapped)].path());
        fill(&engine, 0);
        engine.compact().unwrap();
        engine
    });
    let is_done = AtomicBool::new(false);
    let rounds = std::thread::scope(|threads| {
        let readers: Vec<_> = (0..3_u32)
            .map(|reader| {
                let (engines, is_done) = (&engines, &is_done);
                threads.spawn(move || {
                    let mut rounds = 0_u32;
                    while !is_done.load(Ordering::Relaxed) {
                        rounds += 1;
                        read_some(&engines[rounds as usize % 2], reader.wrapping_mul(997) + rounds);
                    }
                    rounds
                })
            })
            .collect();
        for round in 1..=12_u8 {
            for engine in &engines {
                fill(engine, round);
                if round % 3 == 0 { engine.compact() } else { engine.flush() }.unwrap();
            }
            assert_eq!(entries(&engines[0]), entries(&engines[1]));
        }
        is_done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>()
    });
    assert!(rounds > 0);
    let stats = engines[1].stats();
    assert!(
        stats.mapped_table_count > 0 && stats.block_cache_hits + stats.block_cache_misses == 0,
        "{stats:?}"
    );
}

/// Whatever round it is of, a value is its key's, and a walk stays in one moment.
fn read_some(engine: &StorageEngine, start: u32) {
    let check = |number: u32, found: &[u8]| {
        assert_eq!((found.len(), &found[..4]), (100, &number.to_le_bytes()[..]));
        assert!(found[4..].iter().all(|&byte| byte == found[99]));
    };
    for turn in 0..50 {
        let number = (start + turn * 31) % KEYS;
        check(number, &engine.get(&key(number)).unwrap().unwrap());
        check(number, &engine.get_pinned(&key(number)).unwrap().unwrap());
    }
    let names: Vec<[u8; 4]> = (0..40).map(|turn| key((start + turn * 97) % KEYS)).collect();
    let keys: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    for (name, found) in names.iter().zip(engine.multi_get(&keys).unwrap()) {
        check(u32::from_be_bytes(*name), &found.unwrap());
    }
    let (first, mut count) = (start % (KEYS - 300), 0);
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let walked = cursor.walk_from(&key(first), |entry| {
        assert_eq!(entry.key(), key(first + count));
        check(first + count, entry.value().unwrap());
        count += 1;
        if count == 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(!walked.unwrap());
}

#[test]
fn a_walk_goes_on_in_tables_whose_files_are_removed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_as(true, folder.path());
    fill(&engine, 1);
    engine.compact().unwrap();
    let before = tables(folder.path());
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut count = 0;
    let saw_all = cursor.walk(|entry| {
        if count == 100 {
            fill(&engine, 2);
            engine.compact().unwrap();
        }
        assert_eq!((entry.key(), entry.value()), (&key(count)[..], Some(&value(count, 1)[..])));
        count += 1;
        ControlFlow::Continue(())
    });
    assert!(saw_all.unwrap() && count == KEYS);
    drop(cursor);
    assert_eq!(entries(&engine).len(), KEYS as usize);
    engine.close().unwrap();
    assert!(before.iter().all(|path| !path.exists()), "{before:?}");
}

#[test]
fn a_pinned_value_is_a_copy_and_keeps_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_as(true, folder.path());
    fill(&engine, 1);
    engine.compact().unwrap();
    let pinned = engine.get_pinned(&key(7)).unwrap().unwrap();
    assert!(pinned.is_copy());
    assert_eq!(engine.stats().pinned_value_bytes, 0);
    fill(&engine, 2);
    engine.compact().unwrap();
    drop(engine);
    assert_eq!(pinned[..], value(7, 1));
}

/// As with tables that are read: the file, the place, and nothing but the keys of that block.
#[test]
fn a_damaged_block_is_an_error_when_it_is_first_used_and_after_that() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_as(true, folder.path());
    fill(&engine, 1);
    engine.compact().unwrap();
    engine.close().unwrap();
    let [path] = &tables(folder.path())[..] else { panic!("one table") };
    let sound = std::fs::read(path).unwrap();
    // Data blocks come first, and there are more of them than this.
    for place in (0..100_000_usize).step_by(6_007) {
        let mut damaged = sound.clone();
        damaged[place] ^= 1 << (place % 8);
        std::fs::write(path, damaged).unwrap();
        let errors = [false, true].map(|is_mapped| {
            let engine = open_as(is_mapped, folder.path());
            let mut failed = Vec::new();
            for turn in 0..2 {
                failed.clear();
                for number in 0..KEYS {
                    match engine.get(&key(number)) {
                        Ok(found) => assert_eq!(found, Some(value(number, 1)), "byte {place}"),
                        Err(Error::Corruption { file, offset, what }) => {
                            assert_eq!(&file, path);
                            assert!(offset as usize <= place && place < offset as usize + 8_192);
                            failed.push((number, offset, what));
                        }
                        Err(error) => panic!("byte {place}, turn {turn}: {error}"),
                    }
                }
            }
            let walked = engine.cursor(KeyRange::all()).unwrap().walk(|_| ControlFlow::Continue(()));
            assert!(matches!(walked, Err(Error::Corruption { .. })), "byte {place}");
            assert!(!failed.is_empty(), "byte {place}");
            failed
        });
        assert_eq!(errors[0], errors[1], "byte {place}");
    }
}
