//! Models of the tree: small cases in every interleaving and allowed memory order (`--cfg loom`), in many random
//! schedules (`--cfg shuttle`), and on real threads otherwise. Under a model checker nodes have four slots.
//!
//! ```console
//! $ RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p kausal-index --release --target-dir target/loom --test loom_tree
//! $ RUSTFLAGS="--cfg shuttle" cargo test -p kausal-index --release --target-dir target/shuttle --test loom_tree
//! ```
//!
//! With `--cfg 'kausal_planted="tree_swap"'` the length of a node is published after its last slot was overwritten
//! instead of before; the models of shifts find that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::Region;
use kausal_arena::sync::{Arc, AtomicU64, Ordering, model, thread};
use kausal_index::{BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo, TreeIndex};

/// A tree and its region, shared by the threads of one run.
struct Shared {
    index: TreeIndex,
    region: Region,
}

/// A tree that holds `keys`, each with number 1.
fn holding(keys: &[&str]) -> Arc<Shared> {
    let region = kausal_arena::testing::region(1 << 17);
    let index = TreeIndex::create(region.lease(), &region.writer()).unwrap();
    let shared = Shared { index, region };
    keys.iter().for_each(|key| put(&shared, key, 1).unwrap());
    Arc::new(shared)
}

fn put(shared: &Shared, key: &str, number: u64) -> Result<(), InsertError> {
    let pen = shared.region.writer();
    let (key, seqno) = (key.as_bytes(), SeqNo::new(number).unwrap());
    shared.index.insert(&pen, EntryRef { key, seqno, kind: Kind::Put, value: key })
}

/// The number of the newest version of `key`, which is seen whole.
fn newest(shared: &Shared, key: &str) -> Option<u64> {
    let entry = shared.index.get(key.as_bytes(), SeqNo::MAX)?;
    assert!(entry.key == key.as_bytes() && entry.value == key.as_bytes(), "an entry is seen whole");
    Some(entry.seqno.get())
}

/// What is read beside the threads that `write`, and that everything written is there in the end.
fn check(
    held: &'static [&'static str],
    writes: &'static [&'static [(&'static str, u64)]],
    read: impl Fn(&Shared) + Send + Sync + Copy + 'static,
) {
    model(move || {
        let shared = holding(held);
        let writers: Vec<_> = writes
            .iter()
            .map(|writes| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    for (key, number) in *writes {
                        put(&shared, key, *number).unwrap();
                    }
                })
            })
            .collect();
        read(&shared);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let mut all: Vec<(&str, u64)> = held.iter().map(|key| (*key, 1)).collect();
        all.extend(writes.iter().copied().flatten());
        all.sort_by_key(|(key, number)| (*key, std::cmp::Reverse(*number)));
        assert_eq!(forward(&shared), all);
        read(&shared);
        for (key, number) in all {
            assert!(newest(&shared, key) >= Some(number));
        }
    });
}

fn text(entry: EntryRef<'_>) -> (&'static str, u64) {
    // The words of the models, so that results need no buffer.
    let words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    let long = [
        "long/long/b",
        "long/long/c",
        "long/long/d",
        "long/long/e",
        "long/long/f",
        "long/long/g",
        "long/long/h",
    ];
    let word = words.iter().chain(&long).find(|word| word.as_bytes() == entry.key).unwrap();
    (word, entry.seqno.get())
}

fn forward(shared: &Shared) -> Vec<(&'static str, u64)> {
    let mut cursor = shared.index.cursor().unwrap();
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen.push(text(cursor.entry().unwrap()));
        more = cursor.next().unwrap();
    }
    seen
}

fn backward(shared: &Shared) -> Vec<(&'static str, u64)> {
    let mut cursor = shared.index.cursor().unwrap();
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_last().unwrap();
    while more {
        seen.push(text(cursor.entry().unwrap()));
        more = cursor.prev().unwrap();
    }
    seen.reverse();
    seen
}

/// In order, each once, and all of `keys` among them.
fn holds_all(seen: &[(&'static str, u64)], keys: &[&'static str]) {
    let before = |left: &(&str, u64), right: &(&str, u64)| (left.0, right.1) < (right.0, left.1);
    assert!(seen.is_sorted_by(before), "{seen:?}");
    assert!(keys.iter().all(|key| seen.contains(&(key, 1))), "{seen:?} of {keys:?}");
}

#[test]
fn a_get_beside_a_shift_finds_what_was_there() {
    check(&["b", "d", "f"], &[&[("c", 1)]], |shared| {
        assert_eq!((newest(shared, "f"), newest(shared, "d"), newest(shared, "e")), (Some(1), Some(1), None));
    });
    check(&["b", "d", "f"], &[&[("a", 1)]], |shared| {
        assert_eq!((newest(shared, "b"), newest(shared, "d")), (Some(1), Some(1)));
    });
}

#[test]
fn a_get_beside_a_split_finds_what_was_there() {
    check(&["b", "d", "f", "h"], &[&[("c", 1)]], |shared| {
        assert_eq!((newest(shared, "h"), newest(shared, "d")), (Some(1), Some(1)));
    });
    check(&["b", "d", "f", "h"], &[&[("g", 1)]], |shared| {
        assert_eq!((newest(shared, "f"), newest(shared, "g").unwrap_or(1)), (Some(1), 1));
    });
}

#[test]
fn slots_left_behind_by_a_split_mislead_nobody() {
    check(&["b", "d", "f", "h"], &[&[("a", 1), ("c", 1)]], |shared| {
        assert_eq!(newest(shared, "h"), Some(1));
    });
    check(&["b", "d", "f", "h"], &[&[("f", 2), ("c", 1)]], |shared| {
        assert!(newest(shared, "f") >= Some(1));
    });
}

#[test]
fn what_was_announced_is_found_with_its_newest_version() {
    for held in [&["b", "f", "h"][..], &["b", "d", "f", "h"]] {
        model(move || {
            let (shared, announced) = (holding(held), Arc::new(AtomicU64::new(1)));
            let writer = {
                let (shared, announced) = (Arc::clone(&shared), Arc::clone(&announced));
                thread::spawn(move || {
                    put(&shared, "f", 2).unwrap();
                    announced.store(2, Ordering::Release);
                    put(&shared, "c", 3).unwrap();
                })
            };
            let at = announced.load(Ordering::Acquire);
            let found = shared.index.get(b"f", SeqNo::new(at).unwrap()).unwrap();
            assert_eq!(found.seqno.get(), at);
            let oldest = shared.index.versions(b"f", SeqNo::MAX).last().unwrap();
            assert_eq!(oldest.seqno.get(), 1);
            writer.join().unwrap();
        });
    }
}

#[test]
fn two_writers_in_one_leaf_lose_nothing() {
    check(&["d"], &[&[("c", 1)], &[("b", 1)]], |_| {});
    check(&["b", "d", "f"], &[&[("c", 1)], &[("g", 1)]], |_| {});
    check(&["b", "d", "f", "h"], &[&[("c", 1)], &[("g", 1)]], |_| {});
    check(&["b", "d", "f", "h"], &[&[("i", 1)], &[("j", 1)]], |_| {});
}

#[test]
fn one_of_two_equal_positions_is_refused() {
    model(|| {
        let shared = holding(&["b", "d"]);
        let other = Arc::clone(&shared);
        let writer = thread::spawn(move || put(&other, "c", 1).is_ok());
        let mine = put(&shared, "c", 1).is_ok();
        assert_ne!(mine, writer.join().unwrap());
        assert_eq!(shared.index.len(), 3);
    });
}

#[test]
fn a_cursor_beside_a_writer_meets_everything_once() {
    check(&["b", "d", "f"], &[&[("c", 1)]], |shared| holds_all(&forward(shared), &["b", "d", "f"]));
    check(&["b", "d", "f"], &[&[("c", 1)]], |shared| holds_all(&backward(shared), &["b", "d", "f"]));
}

#[test]
fn a_cursor_beside_a_split_meets_everything_once() {
    check(&["b", "d", "f", "h"], &[&[("c", 1)]], |shared| holds_all(&forward(shared), &["b", "d", "f", "h"]));
    check(&["b", "d", "f", "h"], &[&[("g", 1)]], |shared| {
        holds_all(&backward(shared), &["b", "d", "f", "h"])
    });
}

const LONG: &[&str] = &["a", "b", "long/long/b", "long/long/d", "long/long/f", "long/long/h", "m"];

#[test]
fn a_get_beside_prefixes_written_anew_finds_what_was_there() {
    check(LONG, &[&[("long/long/g", 1)]], |shared| {
        assert_eq!(newest(shared, "long/long/d"), Some(1));
        assert_eq!(newest(shared, "long/long/h"), Some(1));
    });
}

#[test]
fn an_inner_node_that_is_split_leads_everywhere() {
    // Ascending keys fill leaves, so these make a root with four separators; the next leaf splits it.
    const HELD: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    model(|| {
        let shared = holding(HELD);
        let other = Arc::clone(&shared);
        let writer = thread::spawn(move || put(&other, "a", 2).unwrap());
        assert_eq!((newest(&shared, "m"), newest(&shared, "f")), (Some(1), Some(1)));
        writer.join().unwrap();
        assert_eq!((newest(&shared, "a"), newest(&shared, "g")), (Some(2), Some(1)));
    });
}
