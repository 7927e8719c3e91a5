//! Memory: every byte has a node, comes back to it, and does not grow with the data.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use kausal_engine::{Error, KeyRange, MemoryReport, StorageEngine};

use crate::{open, small};

/// Used bytes by name of the node, those of table metadata apart: they are as many as the numbers in it have digits.
fn used_beside_tables(engine: &StorageEngine) -> BTreeMap<String, usize> {
    let report = engine.memory_report();
    assert_exact(&report);
    let nodes = report.nodes().iter().filter(|node| node.is_leaf && &*node.name != "tables");
    nodes.map(|node| (node.name.to_string(), node.used)).collect()
}

fn assert_exact(report: &MemoryReport) {
    assert_eq!(report.root().used, report.leaves_used(), "{report}");
    assert!(report.root().used_max <= report.root().limit, "{report}");
}

#[test]
fn s01_after_a_flush_the_budget_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let cycle = || {
        for number in 0..2_000_u32 {
            engine.put(&number.to_be_bytes(), &[7; 100]).unwrap();
        }
        engine.flush().unwrap();
        engine.compact().unwrap();
        let request = engine.request().unwrap();
        assert_eq!(request.get(&7_u32.to_be_bytes()).unwrap().unwrap(), [7; 100]);
        assert_eq!(request.scan(KeyRange::all(), 100).unwrap().pairs.len(), 100);
    };
    // Jobs leave their buffers to the next ones: from the second on these are as large as they get.
    cycle();
    cycle();
    let idle = used_beside_tables(&engine);
    // Two regions for twenty memtables: one that does not come back stops the third writer.
    for _ in 0..20 {
        cycle();
        assert_eq!(used_beside_tables(&engine), idle, "to the byte");
    }
}

/// What a table keeps whatever its size is what limits how many there are: the name of its file, its bounds, its place in lists.
#[test]
fn a_table_is_charged_for_its_name_and_its_bounds() {
    let charged = |tables: u32, key_bytes: usize| {
        let folder = tempfile::tempdir().unwrap();
        let options = small().level0_compaction_count(1_000).settle_after(None);
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        for number in 0..tables {
            engine.put(&[number.to_be_bytes().as_slice(), &vec![7; key_bytes]].concat(), b"").unwrap();
            engine.flush().unwrap();
        }
        let report = engine.memory_report();
        report.nodes().iter().find(|node| &*node.name == "tables").unwrap().used
    };
    let one = charged(1, 0);
    assert_eq!(charged(0, 0), 0);
    let more_for_keys = charged(1, 1_000) - one;
    assert!(more_for_keys >= 6_000, "bounds are kept here and by the reader, which has {more_for_keys}");
    let each = (charged(21, 0) - one) / 20;
    println!("a table takes {each} bytes, and {more_for_keys} more with a key of 1,000");
    assert!((1_200..3_000).contains(&each), "{each} bytes for each further table");
}

/// What a keyspace keeps is charged while it is there, as much after the next open, and limited: one too many is refused, and
/// nothing else is.
#[test]
fn a_keyspace_is_charged_for_its_tree_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let charged = |engine: &StorageEngine| {
        let report = engine.memory_report();
        assert_exact(&report);
        report.nodes().iter().find(|node| &*node.name == "keyspaces").unwrap().used
    };
    assert_eq!(charged(&engine), 0, "the one that every database has is no more than its engine");
    let mut count = 0;
    let refused = loop {
        match engine.create_keyspace(&format!("{count:0200}")) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::MemoryBudget(_)), "{refused}");
    let each = charged(&engine) / count;
    println!("a keyspace with a name of 200 bytes takes {each} bytes, {count} have room");
    assert!((600..2_000).contains(&each) && charged(&engine) <= (8 << 20) / 8);
    engine.put(b"apple", b"red").unwrap();
    engine.flush().unwrap();
    let full = charged(&engine);
    assert!(engine.drop_keyspace(&format!("{:0200}", 0)).unwrap());
    // A job may still look at what there was before.
    let has_come_back = || charged(&engine) == full - each;
    let mut looks = 0..10_000;
    while !has_come_back() && looks.next().is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(has_come_back(), "after {looks:?}");
    engine.close().unwrap();
    let engine = open(folder.path());
    assert_eq!(charged(&engine), full - each);
    engine.create_keyspace("short").unwrap();
}

#[test]
fn s04_the_engine_owns_the_root_and_every_subsystem_a_child() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..20_000_u32 {
        engine.put(&number.to_be_bytes(), &[7; 300]).unwrap();
    }
    let report = engine.memory_report();
    assert_exact(&report);
    let root = report.root();
    assert_eq!((&*root.name, root.limit), ("database", 8 << 20));
    let names: Vec<&str> = report.nodes().iter().map(|node| &*node.name).collect();
    for name in ["memtables", "wal", "tables", "flush", "compaction", "requests", "reads"] {
        assert!(names.contains(&name), "{name} has a node of its own: {names:?}");
    }
    let children: usize = report.nodes().iter().filter(|node| node.depth == 1).map(|node| node.used).sum();
    assert_eq!(root.used, children, "the root itself holds nothing: {report}");
}

#[test]
fn u4_the_working_set_of_a_compaction_does_not_grow_with_its_inputs() {
    let peak_of = |entries: u32| {
        let folder = tempfile::tempdir().unwrap();
        let engine = StorageEngine::open(folder.path(), small().table_bytes(256 << 10)).unwrap();
        for number in 0..entries {
            let scattered = number.wrapping_mul(2_654_435_761);
            engine.put(&scattered.to_be_bytes(), &[number as u8; 200]).unwrap();
        }
        engine.compact().unwrap();
        let report = engine.memory_report();
        assert_exact(&report);
        let node = report.nodes().iter().find(|node| &*node.name == "compaction").unwrap();
        (node.used_max, engine.stats().compaction_bytes_written)
    };
    let (small_peak, small_bytes) = peak_of(30_000);
    let (large_peak, large_bytes) = peak_of(120_000);
    println!("{small_bytes} bytes compacted with {small_peak} of memory, {large_bytes} with {large_peak}");
    assert!(large_bytes > 4 * small_bytes);
    assert!(10 * large_peak <= 13 * small_peak, "{small_peak} bytes, then {large_peak}");
}

#[test]
fn a_walk_over_large_values_is_not_refused_however_many_tables_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let options = || small().memory_budget(8 << 20).level0_compaction_count(100);
    let engine = StorageEngine::open(folder.path(), options()).unwrap();
    let (tables, rows) = (20_u32, 3_u32);
    let key = |number: u32| number.to_be_bytes();
    // Nearly the longest that lie beside their keys: each is a block of its own, which the cache may refuse.
    let value =
        |number: u32| vec![number as u8; 52_000 + number as usize * 11_000 / (tables * rows) as usize];
    for table in 0..tables {
        for row in 0..rows {
            let number = row * tables + table;
            engine.put(&key(number), &value(number)).unwrap();
        }
        engine.flush().unwrap();
    }
    let numbers = || (0..tables * rows).filter(|number| number % 7 != 3);
    for number in (0..tables * rows).filter(|number| number % 7 == 3) {
        engine.delete(&key(number)).unwrap();
    }
    for number in numbers() {
        assert_eq!(engine.get(&key(number)).unwrap(), Some(value(number)));
    }
    // The first holds its chunk while the others walk.
    let mut cursors = [(); 2].map(|()| engine.cursor(KeyRange::all()).unwrap());
    for cursor in &mut cursors {
        let mut stands = cursor.seek_to_first().unwrap();
        for number in numbers() {
            assert!(stands);
            assert_eq!((cursor.key(), cursor.value()), (Some(&key(number)[..]), Some(&value(number)[..])));
            stands = cursor.next().unwrap();
        }
        assert!(!stands);
        stands = cursor.seek_to_last().unwrap();
        for number in numbers().collect::<Vec<_>>().into_iter().rev() {
            assert!(stands);
            assert_eq!((cursor.key(), cursor.value()), (Some(&key(number)[..]), Some(&value(number)[..])));
            stands = cursor.prev().unwrap();
        }
        assert!(!stands);
        assert!(cursor.seek(&key(5)).unwrap());
    }
    // One walks while the other shows an entry and holds blocks.
    let mut seen = 0;
    let [outer, inner] = &mut cursors;
    let saw_all = outer.walk(|entry| {
        let at = numbers().nth(seen).unwrap();
        assert_eq!((entry.key(), entry.value()), (&key(at)[..], Some(&value(at)[..])));
        seen += 1;
        let mut rest = numbers().skip_while(|number| *number < at);
        let rest_seen = inner.walk_from(entry.key(), |entry| {
            let at = rest.next().unwrap();
            assert_eq!((entry.key(), entry.value()), (&key(at)[..], Some(&value(at)[..])));
            ControlFlow::Continue(())
        });
        assert!(rest_seen.unwrap() && rest.next().is_none());
        ControlFlow::Continue(())
    });
    assert!(saw_all.unwrap() && seen == numbers().count());
    assert_exact(&engine.memory_report());
}

/// Long keys beside values that just lie beside them: a block of one entry, and lines of an index and a root, are as long as a key,
/// and a flush and a compaction hold several of each.
#[test]
fn long_keys_are_flushed_and_compacted_in_the_smallest_budget() {
    // What is kept of a table grows with its bounds, so of the longest keys there cannot be many.
    for (key_bytes, shared_bytes, count) in
        [(60_000, 0, 24), (60_000, 59_000, 24), (16_000, 0, 120), (16_000, 15_000, 120)]
    {
        let key = |number: u32| {
            let number = (number * 17 % count).to_be_bytes();
            [&vec![7; shared_bytes], number.as_slice(), &vec![8; key_bytes - shared_bytes]].concat()
        };
        let folder = tempfile::tempdir().unwrap();
        let options = small().settle_after(None).stall_timeout(Duration::from_secs(5));
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        for round in 1..=3 {
            for number in 0..count {
                engine.put(&key(number), &vec![round; 60_000]).unwrap();
            }
            engine.flush().unwrap();
            engine.compact().unwrap();
            for number in 0..count {
                assert_eq!(engine.get(&key(number)).unwrap().unwrap(), vec![round; 60_000]);
            }
        }
        assert_exact(&engine.memory_report());
    }
}
