//! The laws of the tree where its own shape matters: many splits, keys with a common beginning, versions, exhaustion,
//! bytes, and threads.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use kausal_arena::{Region, Writer};
use kausal_index::{BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo, TreeIndex};

/// Positions in the order of a cursor: key ascending, number descending.
type Model = BTreeSet<(Vec<u8>, std::cmp::Reverse<u64>)>;

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

fn put<'a>(key: &'a [u8], number: u64) -> EntryRef<'a> {
    EntryRef { key, seqno: seqno(number), kind: Kind::Put, value: key }
}

fn tree(bytes: usize) -> (Region, Writer, TreeIndex) {
    let region = kausal_arena::testing::region(bytes);
    let pen = region.writer();
    let index = TreeIndex::create(region.lease(), &pen).unwrap();
    (region, pen, index)
}

/// A permutation of `0..count` that visits the range in no obvious order.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| number.wrapping_mul(0x9E37_79B9) % count)
}

/// A name, and key number `n`.
type Shape = (&'static str, fn(u64) -> Vec<u8>);

/// The shapes of keys that reach different parts of a node: short, long, alike for longer than a node can leave out.
fn shapes() -> Vec<Shape> {
    vec![
        ("big-endian", |number| number.to_be_bytes().to_vec()),
        ("little-endian", |number| number.to_le_bytes().to_vec()),
        ("text", |number| number.to_string().into_bytes()),
        ("16 in common", |number| format!("sixteen in common{number:08}").into_bytes()),
        ("100 in common", |number| format!("{}{number:x}", "c".repeat(100)).into_bytes()),
        ("paths", |number| {
            format!("/usr/share/doc/package-{}/{}/file{}", number % 7, number % 49, number).into_bytes()
        }),
        ("zeros", |number| vec![0; number as usize % 300]),
        ("two worlds", |number| {
            format!("{}/{number}", ["aaaaaaaaaaaa", "zz"][number as usize % 2]).into_bytes()
        }),
    ]
}

fn check_against_model(index: &TreeIndex, model: &Model, name: &str) {
    assert_eq!(index.len(), model.len(), "{name}");
    let mut cursor = index.cursor().unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    for (key, number) in model {
        let entry = cursor.entry().unwrap();
        assert_eq!((entry.key, entry.seqno.get(), entry.value), (&key[..], number.0, &key[..]), "{name}");
        assert_eq!(index.get(key, entry.seqno), Some(entry), "{name}");
        more = cursor.next().unwrap();
    }
    assert!(!more, "{name}");
    cursor.seek_to_last().unwrap();
    for (key, number) in model.iter().rev() {
        let entry = cursor.entry().unwrap();
        assert_eq!((entry.key, entry.seqno.get()), (&key[..], number.0), "{name}");
        more = cursor.prev().unwrap();
    }
    assert!(!more, "{name}");
}

#[test]
fn every_shape_of_key_in_every_order_is_kept_and_walked() {
    let count = 5_003;
    for (name, key_of) in shapes() {
        let orders: [Vec<u64>; 3] =
            [(0..count).collect(), (0..count).rev().collect(), scattered(count).collect()];
        for order in orders {
            let (_region, pen, index) = tree(16 << 20);
            let mut model = Model::new();
            for number in order {
                let key = key_of(number);
                let is_new = model.insert((key.clone(), std::cmp::Reverse(1 + number % 3)));
                let inserted = index.insert(&pen, put(&key, 1 + number % 3));
                assert_eq!(inserted.is_ok(), is_new, "{name}");
                assert!(is_new || matches!(inserted, Err(InsertError::Duplicate(_))), "{name}");
            }
            check_against_model(&index, &model, name);
        }
    }
}

#[test]
fn versions_of_one_key_across_many_leaves_come_newest_first() {
    let (_region, pen, index) = tree(4 << 20);
    for number in scattered(2_000) {
        for key in [&b"a"[..], b"b", b"c"] {
            index.insert(&pen, put(key, 1 + number)).unwrap();
        }
    }
    for at in [1, 2, 63, 64, 65, 1_000, 2_000, 5_000] {
        assert_eq!(index.get(b"b", seqno(at)).unwrap().seqno.get(), at.min(2_000));
        let numbers: Vec<u64> = index.versions(b"b", seqno(at)).map(|entry| entry.seqno.get()).collect();
        let expected: Vec<u64> = (1..=at.min(2_000)).rev().collect();
        assert_eq!(numbers, expected);
    }
    assert_eq!(index.versions(b"bb", SeqNo::MAX).count(), 0);
}

#[test]
fn many_keys_at_once_are_found_as_one_by_one() {
    let (_region, pen, index) = tree(16 << 20);
    for number in scattered(10_007) {
        index.insert(&pen, put(&(2 * number).to_be_bytes(), 5)).unwrap();
    }
    let keys: Vec<[u8; 8]> = scattered(20_100).map(u64::to_be_bytes).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    for (at, count) in [(5, 20_100), (4, 3), (9, 8), (9, 9), (9, 0)] {
        let mut places = 0;
        index.get_many(&keys[..count], seqno(at), |place, entry| {
            assert_eq!(place, places);
            assert_eq!(entry, index.get(keys[place], seqno(at)));
            places += 1;
        });
        assert_eq!(places, count);
    }
}

#[test]
fn a_run_that_is_not_sorted_is_inserted_all_the_same() {
    let (_region, pen, index) = tree(16 << 20);
    let keys: Vec<[u8; 8]> = scattered(3_001).chain(3_001..9_000).map(u64::to_be_bytes).collect();
    index.insert_sorted(&pen, keys.iter().map(|key| put(key, 1))).unwrap();
    let model = keys.iter().map(|key| (key.to_vec(), std::cmp::Reverse(1))).collect();
    check_against_model(&index, &model, "run");
    let (before, more) = (index.len(), [0_u64, 9_001, 9_002].map(u64::to_be_bytes));
    let repeated =
        index.insert_sorted(&pen, [&more[1], &more[0], &more[2]].map(|key| put(key, 1)).into_iter());
    assert!(matches!(repeated, Err(InsertError::Duplicate(_))));
    assert_eq!(index.len(), before + 1, "those before the refused one are in");
}

#[test]
fn ascending_input_fills_leaves() {
    let bytes = |order: Vec<u64>| {
        let (_region, pen, index) = tree(16 << 20);
        for number in order {
            index.insert(&pen, put(&number.to_be_bytes(), 1)).unwrap();
        }
        index.bytes().live
    };
    let (ascending, mixed) = (bytes((0..20_000).collect()), bytes(scattered(20_000).collect()));
    assert!(ascending * 10 < mixed * 9, "{ascending} of {mixed} bytes");
}

#[test]
fn bytes_are_counted_to_the_byte_and_no_insert_takes_more_than_its_bound() {
    let region = kausal_arena::testing::region(32 << 20);
    let permit = region.permit(24 << 20).unwrap();
    let pen = permit.pen();
    let whole = pen.block_bytes_left();
    let index = TreeIndex::create(region.lease(), pen).unwrap();
    let taken = || whole - pen.block_bytes_left();
    assert!(taken() <= TreeIndex::bytes_max(0, 0));
    for number in scattered(30_011) {
        let key = number.to_string().into_bytes();
        let before = taken();
        index.insert(pen, put(&key, 1)).unwrap();
        let bound = TreeIndex::bytes_max(1, 2 * key.len()) - TreeIndex::bytes_max(0, 0);
        assert!(taken() - before <= bound);
        let bytes = index.bytes();
        assert_eq!(bytes.live + bytes.dead + bytes.slack, taken());
    }
    assert!(matches!(index.insert(pen, put(b"7", 1)), Err(InsertError::Duplicate(_))));
    let bytes = index.bytes();
    assert_eq!(
        (bytes.live + bytes.slack, bytes.dead),
        (taken(), 0),
        "a duplicate is refused before it is written"
    );
}

#[test]
fn exhaustion_anywhere_leaves_the_index_as_before() {
    // A step that shares nothing with the sizes of nodes and entries: memory ends before an entry, a leaf, an inner node.
    for room in (1_000..400_000).step_by(7_919) {
        let region = kausal_arena::testing::region(room + 4096);
        let permit = region.permit(room).unwrap();
        let pen = permit.pen();
        let whole = pen.block_bytes_left();
        let index = TreeIndex::create(region.lease(), pen).unwrap();
        let mut model = Model::new();
        for number in scattered(20_011) {
            let key = format!("{number:06}").into_bytes();
            match index.insert(pen, put(&key, 1)) {
                Ok(()) => assert!(model.insert((key, std::cmp::Reverse(1)))),
                Err(error) => {
                    assert!(matches!(error, InsertError::Alloc(_)));
                    assert_eq!(index.get(&key, SeqNo::MAX), None);
                    // Smaller requests may still be granted: go on for a while.
                    if pen.block_bytes_left() < 30 {
                        break;
                    }
                }
            }
        }
        check_against_model(&index, &model, "exhausted");
        let bytes = index.bytes();
        assert_eq!(bytes.live + bytes.dead + bytes.slack, whole - pen.block_bytes_left());
    }
}

#[test]
fn separators_left_out_for_want_of_memory_are_put_in_later() {
    let region = kausal_arena::testing::region(64 << 20);
    let index = TreeIndex::create(region.lease(), &region.writer()).unwrap();
    let mut model = Model::new();
    // Permits that cover an entry and a leaf, but no inner node: the tree becomes a list of leaves.
    for number in scattered(4_001) {
        let key = number.to_be_bytes();
        let permit = region.permit(14 + 16 + 64 * 12 + 64 + 63).unwrap();
        index.insert(permit.pen(), put(&key, 1)).unwrap();
        model.insert((key.to_vec(), std::cmp::Reverse(1)));
    }
    check_against_model(&index, &model, "a list of leaves");
    let live = index.bytes().live;
    for number in scattered(4_001) {
        let key = number.to_be_bytes();
        index.insert(&region.writer(), put(&key, 2)).unwrap();
        model.insert((key.to_vec(), std::cmp::Reverse(2)));
    }
    check_against_model(&index, &model, "a tree again");
    assert!(index.bytes().live > live);
}

#[test]
fn readers_and_cursors_beside_writers_see_whole_entries_in_order() {
    for (name, key_of) in shapes() {
        let region = kausal_arena::testing::region(64 << 20);
        let index = TreeIndex::create(region.lease(), &region.writer()).unwrap();
        let (writers, per_writer) = (3_u64, 3_001_u64);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (index, pen) = (&index, region.writer());
                scope.spawn(move || {
                    for (step, number) in scattered(per_writer).enumerate() {
                        let key = key_of(number);
                        let number = 1 + step as u64 * writers + writer;
                        index.insert(&pen, put(&key, number)).unwrap();
                        assert_eq!(index.get(&key, seqno(number)).unwrap().seqno, seqno(number), "{name}");
                        assert!(index.get(&key, SeqNo::MAX).unwrap().seqno >= seqno(number), "{name}");
                    }
                });
            }
            scope.spawn(|| (0..10).map(|_| walk_both_ways(&index)).max());
        });
        assert_eq!(index.len() as u64, writers * per_writer, "{name}");
        assert_eq!(walk_both_ways(&index), index.len(), "{name}");
    }
}

/// Walks to the end and back; entries met on the way there are met on the way back.
fn walk_both_ways(index: &TreeIndex) -> usize {
    let mut cursor = index.cursor().unwrap();
    let mut seen: Vec<(Vec<u8>, SeqNo)> = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        assert_eq!(entry.key, entry.value, "an entry is seen whole");
        if let Some((key, number)) = seen.last() {
            assert!(entry.cmp_position(key, *number).is_gt());
        }
        seen.push((entry.key.to_vec(), entry.seqno));
        more = cursor.next().unwrap();
    }
    let count = seen.len();
    let mut more = cursor.seek_to_last().unwrap();
    let mut last: Option<(Vec<u8>, SeqNo)> = None;
    while more {
        let entry = cursor.entry().unwrap();
        if let Some((key, number)) = &last {
            assert!(entry.cmp_position(key, *number).is_lt());
        }
        if seen.last().is_some_and(|(key, number)| entry.cmp_position(key, *number).is_eq()) {
            seen.pop();
        }
        last = Some((entry.key.to_vec(), entry.seqno));
        more = cursor.prev().unwrap();
    }
    assert!(seen.is_empty(), "{} entries were not met again", seen.len());
    count
}
