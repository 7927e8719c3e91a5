//! Models of the adaptive radix tree: small cases in every interleaving and allowed memory order (`--cfg loom`), larger
//! ones in many random schedules (`--cfg shuttle`), and all of them on real threads otherwise.
//!
//! Under a model checker nodes are shrunk (2, 3, 4, 5, 6 and 8 children), so key bytes stay below 8.
//!
//! ```console
//! $ LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg loom" cargo test -p kausal-index --release --target-dir target/loom --test loom_art
//! $ RUSTFLAGS="--cfg shuttle" cargo test -p kausal-index --release --target-dir target/shuttle --test loom_art
//! ```
//!
//! Planted defects that the models must find, one at a time: `--cfg 'kausal_planted="art_relaxed_link"'` links nodes
//! without publishing them, `--cfg 'kausal_planted="art_grow_unlocked"'` copies a node that others write to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::sync::{Arc, model, thread};
use kausal_arena::{Region, Writer};
use kausal_index::{ArtIndex, BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo};

/// An index and its region, shared by the threads of one run.
struct Shared {
    index: ArtIndex,
    region: Region,
}

/// A small index that holds `keys`, each with the number of its place, from 1.
fn holding(keys: &[&[u8]]) -> Arc<Shared> {
    let region = kausal_arena::testing::region(1 << 16);
    let pen = region.writer();
    let index = ArtIndex::create(region.lease(), &pen).unwrap();
    for (number, key) in (1..).zip(keys) {
        put(&index, &pen, key, number).unwrap();
    }
    drop(pen);
    Arc::new(Shared { index, region })
}

/// Inserts `key`, with itself as value.
fn put(index: &ArtIndex, pen: &Writer, key: &[u8], number: u64) -> Result<(), InsertError> {
    index.insert(pen, EntryRef { key, seqno: SeqNo::new(number).unwrap(), kind: Kind::Put, value: key })
}

/// The number of the newest version of `key`, which is seen whole.
fn newest(index: &ArtIndex, key: &[u8]) -> Option<u64> {
    let entry = index.get(key, SeqNo::MAX)?;
    assert!(entry.key == key && entry.value == key, "an entry is seen whole");
    Some(entry.seqno.get())
}

/// A thread that inserts `writes` one after the other and finds each of them at once.
fn writing(shared: &Arc<Shared>, writes: &'static [(&'static [u8], u64)]) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let pen = shared.region.writer();
        for (key, number) in writes {
            put(&shared.index, &pen, key, *number).unwrap();
            assert!(newest(&shared.index, key).unwrap() >= *number);
        }
    })
}

/// Keys in order, forward; the same backward.
fn walk(index: &ArtIndex) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = index.cursor().unwrap();
    let mut forward = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        forward.push((entry.key.to_vec(), entry.seqno.get()));
        more = cursor.next().unwrap();
    }
    forward
}

/// What the index holds at the end: exactly `expected`, in this order.
fn holds(shared: &Shared, expected: &[(&[u8], u64)]) {
    let expected: Vec<_> = expected.iter().map(|(key, number)| (key.to_vec(), *number)).collect();
    assert_eq!(walk(&shared.index), expected);
    assert_eq!(shared.index.len(), expected.len());
}

#[test]
fn a_child_is_added_while_another_key_is_read() {
    model(|| {
        let shared = holding(&[&[1], &[3]]);
        let writer = writing(&shared, &[(&[2], 9)]);
        assert_eq!(newest(&shared.index, &[1]), Some(1));
        let seen = newest(&shared.index, &[2]);
        assert!(matches!(seen, None | Some(9)));
        if seen.is_some() {
            assert_eq!(newest(&shared.index, &[2]), Some(9), "what was seen once is seen again");
        }
        writer.join().unwrap();
        holds(&shared, &[(&[1], 1), (&[2], 9), (&[3], 2)]);
    });
}

#[test]
fn a_node_grows_while_its_keys_are_read() {
    model(|| {
        let shared = holding(&[&[1], &[3], &[5]]);
        let writer = writing(&shared, &[(&[2], 8), (&[4], 9)]);
        assert_eq!(newest(&shared.index, &[5]), Some(3));
        let later = newest(&shared.index, &[4]);
        if later.is_some() {
            assert_eq!(newest(&shared.index, &[2]), Some(8), "one writer's entries appear in order");
        }
        assert_eq!(newest(&shared.index, &[1]), Some(1));
        writer.join().unwrap();
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 2), (&[4], 9), (&[5], 3)]);
    });
}

#[test]
fn a_compressed_path_is_split_while_keys_below_it_are_read() {
    model(|| {
        let shared = holding(&[&[1, 1, 1, 1], &[1, 1, 1, 2]]);
        let writer = writing(&shared, &[(&[1, 2], 8), (&[1, 1], 9)]);
        assert_eq!(newest(&shared.index, &[1, 1, 1, 2]), Some(2));
        assert!(matches!(newest(&shared.index, &[1, 2]), None | Some(8)));
        assert_eq!(newest(&shared.index, &[1, 1, 1, 1]), Some(1));
        writer.join().unwrap();
        let all: [(&[u8], u64); 4] = [(&[1, 1], 9), (&[1, 1, 1, 1], 1), (&[1, 1, 1, 2], 2), (&[1, 2], 8)];
        holds(&shared, &all);
    });
}

#[test]
fn a_version_is_pushed_while_versions_are_read() {
    model(|| {
        let shared = holding(&[&[1]]);
        let writer = writing(&shared, &[(&[1], 5), (&[1], 9)]);
        let numbers: Vec<_> =
            shared.index.versions(&[1], SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
        assert!(matches!(numbers[..], [1] | [5, 1] | [9, 5, 1]));
        assert_eq!(shared.index.get(&[1], SeqNo::new(4).unwrap()).unwrap().seqno.get(), 1);
        writer.join().unwrap();
        holds(&shared, &[(&[1], 9), (&[1], 5), (&[1], 1)]);
    });
}

#[test]
fn a_version_comes_late_while_versions_are_read() {
    model(|| {
        let shared = holding(&[&[1]]);
        put(&shared.index, &shared.region.writer(), &[1], 9).unwrap();
        let writer = writing(&shared, &[(&[1], 5)]);
        let seen = shared.index.get(&[1], SeqNo::new(7).unwrap()).unwrap().seqno.get();
        assert!(seen == 1 || seen == 5);
        assert_eq!(newest(&shared.index, &[1]), Some(9));
        writer.join().unwrap();
        holds(&shared, &[(&[1], 9), (&[1], 5), (&[1], 1)]);
    });
}

#[test]
fn two_writers_add_to_one_node() {
    model(|| {
        let shared = holding(&[&[1]]);
        let writers = [writing(&shared, &[(&[2], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 9)]);
    });
}

#[test]
fn two_writers_grow_one_node() {
    model(|| {
        let shared = holding(&[&[1], &[4]]);
        let writers = [writing(&shared, &[(&[2], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 9), (&[4], 2)]);
    });
}

#[test]
fn a_node_grows_while_the_one_below_it_does() {
    model(|| {
        let shared = holding(&[&[1, 1], &[1, 2], &[2]]);
        let writers = [writing(&shared, &[(&[1, 3], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1, 1], 1), (&[1, 2], 2), (&[1, 3], 8), (&[2], 3), (&[3], 9)]);
    });
}

#[test]
fn a_child_is_added_while_the_node_grows() {
    model(|| {
        // Of three children there is room for one more in no kind but the second: one writer fills it, the other grows.
        let shared = holding(&[&[1], &[2]]);
        let writers = [writing(&shared, &[(&[3], 8)]), writing(&shared, &[(&[4], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 2), (&[3], 8), (&[4], 9)]);
    });
}

#[test]
fn one_of_two_equal_entries_is_a_duplicate() {
    model(|| {
        let shared = holding(&[&[1]]);
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || put(&shared.index, &shared.region.writer(), &[2], 7).is_ok())
        };
        let here = put(&shared.index, &shared.region.writer(), &[2], 7);
        assert!(here.is_ok() != other.join().unwrap(), "exactly one is taken");
        assert!(matches!(here, Ok(()) | Err(InsertError::Duplicate(_))));
        holds(&shared, &[(&[1], 1), (&[2], 7)]);
    });
}

#[test]
fn two_writers_begin_an_empty_tree() {
    model(|| {
        let shared = holding(&[]);
        let writers = [writing(&shared, &[(&[], 8)]), writing(&shared, &[(&[1, 1], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[], 8), (&[1, 1], 9)]);
    });
}

#[test]
fn a_cursor_walks_while_its_node_grows() {
    model(|| {
        let shared = holding(&[&[1], &[4]]);
        let writer = writing(&shared, &[(&[2], 8), (&[5], 9)]);
        let mut cursor = shared.index.cursor().unwrap();
        assert!(cursor.seek_to_first().unwrap());
        assert_eq!(cursor.entry().unwrap().key, [1]);
        let saw_last = newest(&shared.index, &[5]).is_some();
        let mut keys = vec![1];
        while cursor.next().unwrap() {
            keys.push(cursor.entry().unwrap().key[0]);
        }
        assert!(matches!(keys[..], [1, 4] | [1, 2, 4] | [1, 2, 4, 5] | [1, 4, 5]));
        if saw_last {
            assert_eq!(keys, [1, 2, 4, 5], "what was inserted before a movement began is met by it");
        }
        writer.join().unwrap();
        assert!(cursor.seek_to_last().unwrap() && cursor.prev().unwrap());
        assert_eq!(cursor.entry().unwrap().key, [4]);
    });
}

#[test]
fn three_threads_write_read_and_walk() {
    // Too large for every interleaving: loom is left out.
    if cfg!(loom) {
        return;
    }
    model(|| {
        let shared = holding(&[&[1, 1], &[3]]);
        let first: &'static [(&'static [u8], u64)] =
            &[(&[1, 2], 10), (&[2], 11), (&[4], 12), (&[1, 1], 13), (&[5], 14), (&[], 15)];
        let second: &'static [(&'static [u8], u64)] =
            &[(&[1], 20), (&[1, 3], 21), (&[6], 22), (&[1, 1], 23), (&[7], 24), (&[0], 25)];
        let writers = [writing(&shared, first), writing(&shared, second)];
        let walker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let seen = walk(&shared.index);
                assert!(seen.is_sorted_by(|left, right| {
                    left.0 < right.0 || left.0 == right.0 && left.1 > right.1
                }));
                assert!(seen.contains(&(vec![1, 1], 1)) && seen.contains(&(vec![3], 2)));
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        walker.join().unwrap();
        let mut all = [first, second].concat();
        all.extend([(&[1, 1][..], 1), (&[3][..], 2)]);
        all.sort_by(|left, right| left.0.cmp(right.0).then(right.1.cmp(&left.1)));
        holds(&shared, &all);
        let bytes = shared.index.bytes();
        assert!(bytes.live > 0 && bytes.dead > 0);
    });
}
