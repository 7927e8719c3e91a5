//! Ingestion: sorted entries that become tables, as a whole or not at all.

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use kausal_engine::{Compression, Error, Ingestion, KeyRange, StorageEngine};

use crate::faulty::FaultyVfs;
use crate::{open, small};

const DEEPEST: usize = 6;

fn key(number: u32) -> Vec<u8> {
    format!("key/{number:06}").into_bytes()
}

/// Puts the keys of `numbers`, each with `fill` a hundred times.
fn put_all(
    entries: &mut Ingestion<'_>,
    numbers: impl IntoIterator<Item = u32>,
    fill: u8,
) -> Result<(), Error> {
    numbers.into_iter().try_for_each(|number| entries.put(&key(number), &[fill; 100]))
}

fn fill_of(engine: &StorageEngine, number: u32) -> Option<u8> {
    engine.get(&key(number)).unwrap().map(|value| value[0])
}

fn tables_of(engine: &StorageEngine) -> Vec<usize> {
    engine.stats().levels.iter().map(|level| level.table_count).collect()
}

fn files_in(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn is_empty(engine: &StorageEngine) -> bool {
    !engine.cursor(KeyRange::all()).unwrap().seek_to_first().unwrap()
}

#[test]
fn more_than_the_budget_streams_to_the_deepest_level() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let count = 200_000;
    assert_eq!(engine.ingest(|entries| put_all(entries, 0..count, 7)).unwrap(), u64::from(count));
    let tables = tables_of(&engine);
    assert!(tables[DEEPEST] > 5, "{tables:?}");
    assert_eq!(tables.iter().sum::<usize>(), tables[DEEPEST], "{tables:?}");
    let report = engine.memory_report();
    assert!(report.root().used_max <= 8 << 20, "{report}");
    engine.close().unwrap();
    let engine = open(folder.path());
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let (mut more, mut seen) = (cursor.seek_to_first().unwrap(), 0);
    while more {
        assert_eq!(cursor.key(), Some(&key(seen)[..]));
        seen += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(seen, count);
}

#[test]
fn it_is_newer_than_what_was_and_older_than_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in [1, 2, 3, 4] {
        engine.put(&key(number), &[1; 100]).unwrap();
    }
    engine.flush().unwrap();
    engine.put(&key(2), &[2; 100]).unwrap();
    engine.delete_range(&key(3), &key(9)).unwrap();
    let before = engine.snapshot();
    engine.ingest(|entries| put_all(entries, [2, 3, 5], 5)).unwrap();
    engine.put(&key(5), &[6; 100]).unwrap();
    let expected = [(1, Some(1)), (2, Some(5)), (3, Some(5)), (4, None), (5, Some(6))];
    let check = |engine: &StorageEngine| {
        for (number, fill) in expected {
            assert_eq!(fill_of(engine, number), fill, "key {number}");
        }
    };
    check(&engine);
    assert_eq!(engine.get_at(&before, &key(2)).unwrap().unwrap(), [2; 100]);
    assert_eq!(engine.get_at(&before, &key(3)).unwrap(), None);
    assert_eq!(engine.get_at(&before, &key(5)).unwrap(), None);
    drop(before);
    engine.compact().unwrap();
    check(&engine);
    engine.close().unwrap();
    check(&open(folder.path()));
}

#[test]
fn only_tables_that_overlap_nothing_go_down() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.ingest(|entries| put_all(entries, 100..200, 1)).unwrap();
    // Behind it, before it, and over it.
    engine.ingest(|entries| put_all(entries, 200..300, 2)).unwrap();
    engine.ingest(|entries| put_all(entries, 0..100, 3)).unwrap();
    assert_eq!(tables_of(&engine)[DEEPEST], 3);
    engine.ingest(|entries| put_all(entries, 150..250, 4)).unwrap();
    assert_eq!(tables_of(&engine)[DEEPEST - 1], 1, "above what it replaces");
    let level0 = engine.pause_compaction();
    engine.put(&key(400), b"in level 0").unwrap();
    engine.put(&key(500), b"in level 0").unwrap();
    engine.ingest(|entries| put_all(entries, 450..460, 5)).unwrap();
    assert_eq!(tables_of(&engine)[0], 2, "beside the flushed one");
    drop(level0);
    let fills = [(99, 3), (149, 1), (150, 4), (249, 4), (250, 2), (450, 5)];
    for (number, fill) in fills {
        assert_eq!(fill_of(&engine, number), Some(fill), "key {number}");
    }
}

#[test]
fn tables_are_packed_as_those_of_their_level() {
    let bytes_with = |compression| {
        let folder = tempfile::tempdir().unwrap();
        let options = small().compression(1, compression);
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        engine.ingest(|entries| put_all(entries, 0..10_000, 7)).unwrap();
        assert_eq!(fill_of(&engine, 9_999), Some(7));
        engine.stats().levels.iter().map(|level| level.bytes).sum::<u64>()
    };
    assert!(2 * bytes_with(Compression::Lz4) < bytes_with(Compression::None));
}

#[test]
fn keys_that_do_not_ascend_are_named_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"before", b"it").unwrap();
    engine.flush().unwrap();
    let before = files_in(folder.path());
    for (numbers, second) in [([1, 3, 2], 2), ([1, 3, 3], 3)] {
        match engine.ingest(|entries| put_all(entries, numbers, 1)) {
            Err(error @ Error::Unsorted { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains(&format!("\"key/00000{second}\" comes after \"key/000003\"")),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // Whoever does not listen gets nothing either.
    let deaf = engine.ingest(|entries| {
        let _ = put_all(entries, [1, 3, 2], 1);
        assert!(entries.put(&key(9), b"").is_err());
        Ok::<(), Error>(())
    });
    assert!(matches!(deaf, Err(Error::InvalidArgument { .. })), "{deaf:?}");
    assert!(matches!(
        engine.ingest(|entries| entries.put(&vec![0; 70_000], b"")),
        Err(Error::InvalidArgument { .. })
    ));
    assert_eq!(files_in(folder.path()), before);
    assert_eq!(fill_of(&engine, 1), None);
    assert_eq!(engine.get(b"before").unwrap().unwrap(), b"it");
}

#[test]
fn an_error_of_the_source_comes_back_and_nothing_stays() {
    #[derive(Debug)]
    enum Mine {
        Engine(Error),
        NoMore,
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Self::Engine(error)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let before = files_in(folder.path());
    let failed = engine.ingest(|entries| {
        put_all(entries, 0..40_000, 1)?;
        entries.put(b"large", &vec![1; 600 << 10])?;
        assert_eq!(entries.entry_count(), 40_001);
        Err(Mine::NoMore)
    });
    assert!(matches!(failed, Err(Mine::NoMore)));
    assert_eq!(files_in(folder.path()), before);
    assert!(is_empty(&engine));
    assert_eq!(engine.ingest(|_| Ok::<(), Error>(())).unwrap(), 0);
    let own = engine.ingest(|entries| {
        put_all(entries, 0..10, 1)?;
        engine.put(b"from within", b"it").map_err(Mine::Engine)
    });
    assert!(matches!(own, Err(Mine::Engine(Error::InvalidArgument { .. }))), "{own:?}");
    engine.put(b"afterwards", b"it").unwrap();
}

#[test]
fn values_of_any_size_survive_a_reopening_in_their_keyspace() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let users = engine.create_keyspace("users").unwrap();
    let large = vec![9; 600 << 10];
    users
        .ingest(|entries| -> Result<(), Error> {
            entries.put(b"", b"the empty key")?;
            entries.put(b"a", b"")?;
            entries.put(b"b", &large)?;
            entries.put(b"c", &large[1..])
        })
        .unwrap();
    assert!(is_empty(&engine));
    engine.close().unwrap();
    let engine = open(folder.path());
    let users = engine.keyspace("users").unwrap();
    assert_eq!(users.get(b"").unwrap().unwrap(), b"the empty key");
    assert_eq!(users.get(b"a").unwrap().unwrap(), b"");
    assert_eq!(users.get(b"b").unwrap().unwrap(), large);
    assert_eq!(users.get(b"c").unwrap().unwrap(), large[1..]);
    engine.close().unwrap();
    let engine = StorageEngine::open(folder.path(), small().read_only(true)).unwrap();
    let refused = engine.ingest(|entries| put_all(entries, [1], 1));
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
}

#[test]
fn other_writers_wait_and_win_and_readers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(&key(1), &[1; 100]).unwrap();
    let is_streaming = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            is_streaming.wait();
            engine.put(&key(1), &[3; 100]).unwrap();
        });
        engine
            .ingest(|entries| {
                put_all(entries, 0..5, 2)?;
                is_streaming.wait();
                assert_eq!(fill_of(&engine, 1), Some(1));
                put_all(entries, 5..20_000, 2)
            })
            .unwrap();
    });
    assert_eq!(fill_of(&engine, 1), Some(3));
    assert_eq!(fill_of(&engine, 19_999), Some(2));
}

#[test]
fn a_full_disk_leaves_nothing_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::default();
    let engine = vfs.open(folder.path(), small());
    let before = files_in(folder.path());
    for full_from in [0, 30_000] {
        let failed = engine.ingest(|entries| {
            put_all(entries, 0..full_from, 1)?;
            vfs.faults.set(|faults| &faults.is_full, true);
            put_all(entries, full_from..40_000, 1)
        });
        assert!(matches!(failed, Err(Error::Io { op: "write", .. })), "{failed:?}");
        vfs.faults.set(|faults| &faults.is_full, false);
        assert_eq!(files_in(folder.path()), before);
        assert!(is_empty(&engine));
    }
    engine.ingest(|entries| put_all(entries, 0..40_000, 1)).unwrap();
    assert_eq!(fill_of(&engine, 39_999), Some(1));
    engine.put(b"after", b"it").unwrap();
}
