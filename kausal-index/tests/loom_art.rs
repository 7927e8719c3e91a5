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

use std::collections::BTreeMap;
use std::fmt::Debug;

use kausal_arena::sync::{Arc, model, thread};
use kausal_arena::{Region, Writer};
use kausal_index::{ArtIndex, BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo};

/// Runs `check` in every way this build knows, and says in how many runs and with which outcomes. Under loom, where all
/// interleavings are tried, every outcome of `expected` must have come up: else the model is not the one that was meant.
fn explore<O: Ord + Debug + Send + 'static>(expected: &[O], check: impl Fn() -> O + Send + Sync + 'static) {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<O, usize>::new()));
    let outcomes = std::sync::Arc::clone(&seen);
    model(move || {
        let outcome = check();
        *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    });
    let seen = seen.lock().unwrap();
    println!("{} runs: {seen:?}", seen.values().sum::<usize>());
    assert!(seen.keys().all(|outcome| expected.contains(outcome)), "{seen:?}");
    assert!(!cfg!(loom) || expected.len() == seen.len(), "{seen:?}");
}

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

/// A thread that reads. Not the model's main thread: loom takes what that one does after a spawn for something that
/// happened before it, and would try no other order.
fn reading<O: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&ArtIndex) -> O + Send + 'static,
) -> thread::JoinHandle<O> {
    let shared = Arc::clone(shared);
    thread::spawn(move || read(&shared.index))
}

/// What the index holds at the end: exactly `expected`, in this order.
fn holds(shared: &Shared, expected: &[(&[u8], u64)]) {
    let expected: Vec<_> = expected.iter().map(|(key, number)| (key.to_vec(), *number)).collect();
    assert_eq!(walk(&shared.index), expected);
    assert_eq!(shared.index.len(), expected.len());
}

#[test]
fn a_child_is_added_while_another_key_is_read() {
    explore(&[None, Some(9)], || {
        let shared = holding(&[&[1], &[3]]);
        let writer = writing(&shared, &[(&[2], 9)]);
        let reader = reading(&shared, |index| {
            assert_eq!(newest(index, &[1]), Some(1));
            let seen = newest(index, &[2]);
            assert!(seen.is_none() || newest(index, &[2]) == seen, "what was seen once is seen again");
            seen
        });
        writer.join().unwrap();
        let seen = reader.join().unwrap();
        holds(&shared, &[(&[1], 1), (&[2], 9), (&[3], 2)]);
        seen
    });
}

#[test]
fn a_node_grows_while_its_keys_are_read() {
    explore(&[None, Some(9)], || {
        let shared = holding(&[&[1], &[3], &[5]]);
        let writer = writing(&shared, &[(&[2], 8), (&[4], 9)]);
        let reader = reading(&shared, |index| {
            assert_eq!(newest(index, &[5]), Some(3));
            let later = newest(index, &[4]);
            let earlier = newest(index, &[2]);
            assert!(later.is_none() || earlier == Some(8), "one writer's entries appear in order");
            assert_eq!(newest(index, &[1]), Some(1));
            later
        });
        writer.join().unwrap();
        let later = reader.join().unwrap();
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 2), (&[4], 9), (&[5], 3)]);
        later
    });
}

#[test]
fn a_compressed_path_is_split_while_keys_below_it_are_read() {
    explore(&[None, Some(8)], || {
        let shared = holding(&[&[1, 1, 1, 1], &[1, 1, 1, 2]]);
        let writer = writing(&shared, &[(&[1, 2], 8), (&[1, 1], 9)]);
        let reader = reading(&shared, |index| {
            assert_eq!(newest(index, &[1, 1, 1, 2]), Some(2));
            let seen = newest(index, &[1, 2]);
            assert_eq!(newest(index, &[1, 1, 1, 1]), Some(1));
            seen
        });
        writer.join().unwrap();
        let seen = reader.join().unwrap();
        let all: [(&[u8], u64); 4] = [(&[1, 1], 9), (&[1, 1, 1, 1], 1), (&[1, 1, 1, 2], 2), (&[1, 2], 8)];
        holds(&shared, &all);
        seen
    });
}

#[test]
fn a_version_is_pushed_while_versions_are_read() {
    explore(&[vec![1], vec![5, 1], vec![9, 5, 1]], || {
        let shared = holding(&[&[1]]);
        let writer = writing(&shared, &[(&[1], 5), (&[1], 9)]);
        let reader = reading(&shared, |index| {
            let numbers: Vec<_> = index.versions(&[1], SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
            assert_eq!(index.get(&[1], SeqNo::new(4).unwrap()).unwrap().seqno.get(), 1);
            numbers
        });
        writer.join().unwrap();
        let numbers = reader.join().unwrap();
        holds(&shared, &[(&[1], 9), (&[1], 5), (&[1], 1)]);
        numbers
    });
}

#[test]
fn a_version_comes_late_while_versions_are_read() {
    explore(&[1, 5], || {
        let shared = holding(&[&[1]]);
        put(&shared.index, &shared.region.writer(), &[1], 9).unwrap();
        let writer = writing(&shared, &[(&[1], 5)]);
        let reader = reading(&shared, |index| {
            let seen = index.get(&[1], SeqNo::new(7).unwrap()).unwrap().seqno.get();
            assert_eq!(newest(index, &[1]), Some(9));
            seen
        });
        writer.join().unwrap();
        let seen = reader.join().unwrap();
        holds(&shared, &[(&[1], 9), (&[1], 5), (&[1], 1)]);
        seen
    });
}

#[test]
fn two_writers_add_to_one_node() {
    explore(&[()], || {
        let shared = holding(&[&[1]]);
        let writers = [writing(&shared, &[(&[2], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 9)]);
    });
}

#[test]
fn two_writers_grow_one_node() {
    explore(&[()], || {
        let shared = holding(&[&[1], &[4]]);
        let writers = [writing(&shared, &[(&[2], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[3], 9), (&[4], 2)]);
    });
}

#[test]
fn a_node_grows_while_the_one_below_it_does() {
    explore(&[()], || {
        let shared = holding(&[&[1, 1], &[1, 2], &[2]]);
        let writers = [writing(&shared, &[(&[1, 3], 8)]), writing(&shared, &[(&[3], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1, 1], 1), (&[1, 2], 2), (&[1, 3], 8), (&[2], 3), (&[3], 9)]);
    });
}

#[test]
fn a_child_is_added_while_the_node_grows() {
    explore(&[()], || {
        // Of three children there is room for one more in no kind but the second: one writer fills it, the other grows.
        let shared = holding(&[&[1], &[2]]);
        let writers = [writing(&shared, &[(&[3], 8)]), writing(&shared, &[(&[4], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 2), (&[3], 8), (&[4], 9)]);
    });
}

#[test]
fn one_of_two_equal_entries_is_a_duplicate() {
    explore(&[[false, true], [true, false]], || {
        let shared = holding(&[&[1]]);
        let writers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match put(&shared.index, &shared.region.writer(), &[2], 7) {
                Ok(()) => true,
                Err(InsertError::Duplicate(_)) => false,
                Err(error) => panic!("{error}"),
            })
        });
        let taken = writers.map(|writer| writer.join().unwrap());
        holds(&shared, &[(&[1], 1), (&[2], 7)]);
        taken
    });
}

#[test]
fn two_writers_begin_an_empty_tree() {
    explore(&[()], || {
        let shared = holding(&[]);
        let writers = [writing(&shared, &[(&[], 8)]), writing(&shared, &[(&[1, 1], 9)])];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        holds(&shared, &[(&[], 8), (&[1, 1], 9)]);
    });
}

#[test]
fn a_cursor_walks_while_its_node_grows() {
    explore(&[vec![1, 2, 4], vec![1, 4]], || {
        let shared = holding(&[&[1], &[4]]);
        let writer = writing(&shared, &[(&[2], 8)]);
        let reader = reading(&shared, |index| {
            let mut cursor = index.cursor().unwrap();
            assert!(cursor.seek(&[1], SeqNo::MAX).unwrap());
            let was_there = newest(index, &[2]).is_some();
            let mut keys = vec![1];
            while cursor.next().unwrap() {
                keys.push(cursor.entry().unwrap().key[0]);
            }
            assert!(!was_there || keys == [1, 2, 4], "a movement meets what was inserted before it");
            keys
        });
        writer.join().unwrap();
        let keys = reader.join().unwrap();
        holds(&shared, &[(&[1], 1), (&[2], 8), (&[4], 2)]);
        keys
    });
}

#[test]
fn three_threads_write_read_and_walk() {
    // Too large for every interleaving: loom is left out.
    if cfg!(loom) {
        return;
    }
    explore(&[()], || {
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
