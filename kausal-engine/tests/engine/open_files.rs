//! How many files of tables are open.

use std::fs;
use std::path::Path;

use kausal_engine::{Options, StorageEngine};

use crate::range_deletes::keys;
use crate::small;

const TABLES: u32 = 40;

/// Every flush leaves a table, and nothing merges them.
fn options() -> Options {
    small().level0_compaction_count(1000).level0_stall_count(1000).settle_after(None)
}

/// Files of tables in `folder` that this process has open, if the system tells.
fn open_tables(folder: &Path) -> Option<usize> {
    let links = fs::read_dir("/proc/self/fd").ok()?;
    let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    let is_table = |path: &std::path::PathBuf| {
        path.starts_with(folder) && path.extension().is_some_and(|extension| extension == "sst")
    };
    Some(targets.filter(is_table).count())
}

fn fill(engine: &StorageEngine) {
    for number in 0..TABLES {
        engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap();
        engine.flush().unwrap();
    }
    assert_eq!(engine.stats().levels[0].table_count, TABLES as usize);
}

fn read_all(engine: &StorageEngine, open: &mut impl FnMut()) {
    // Tables are read in no order, so that some are closed before their turn and others are not.
    for turn in 0..3 * TABLES {
        let number = turn * 7 % TABLES;
        let value = engine.get(&number.to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&[number as u8; 100][..]));
        open();
    }
    assert_eq!(keys(engine).len(), TABLES as usize);
}

#[test]
fn no_more_files_of_tables_are_open_than_the_options_say() {
    let folder = tempfile::tempdir().unwrap();
    for (max, is_mapped) in [(1, false), (4, false), (4, true), (100, false)] {
        let options = options().open_tables_max(max).mapped_tables(is_mapped);
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        if max == 1 {
            fill(&engine);
        }
        let bound = max.min(TABLES as usize);
        read_all(&engine, &mut || {
            let Some(open) = open_tables(folder.path()) else { return };
            assert!(open <= bound, "{open} of {max}");
        });
        // Before the settling of a close merges them.
        if max == 100
            && let Some(open) = open_tables(folder.path())
        {
            assert_eq!(open, TABLES as usize);
        }
        engine.close().unwrap();
    }
}

#[test]
fn readers_beside_each_other_find_what_others_closed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), options().open_tables_max(2)).unwrap();
    fill(&engine);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| read_all(&engine, &mut || {}));
        }
    });
    // One for each reader at work may have been beside, until it was done.
    if let Some(open) = open_tables(folder.path()) {
        assert!(open <= 2 + 4, "{open}");
    }
}
