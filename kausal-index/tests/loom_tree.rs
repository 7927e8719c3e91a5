//! Models of the tree: small cases in every interleaving and allowed memory order (`--cfg loom`), in many random
//! schedules (`--cfg shuttle`), and on real threads otherwise. Under a model checker nodes have four slots.
//!
//! | what a node does | its models |
//! |---|---|
//! | publish an entry | `an_entry_is_seen_with_its_bytes` |
//! | shift | `a_get_beside_a_shift…`, `a_movement_beside_a_writer…`, `a_cursor_beside_a_shift…` |
//! | split, publish a neighbour and a root | `a_get_beside_a_split…`, `slots_left_behind…`, `an_inner_node…`, `a_cursor_beside_a_split…` |
//! | write its prefixes anew | `a_get_beside_prefixes_written_anew…` |
//! | version look-up | `what_was_announced…`, `older_versions…` |
//! | its lock | `two_writers…`, `one_of_two_equal_positions…` |
//!
//! ```console
//! $ cargo xtask model loom --crate kausal-index
//! $ cargo xtask model shuttle --crate kausal-index
//! ```
//!
//! With `--planted tree_swap` the length of a node is published after its last slot was overwritten instead of before; the
//! models of shifts find that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod explore;

use std::sync::Arc;

use explore::Bound::{self, All, Preemptions};
use explore::{Witness, at_once, explore, permit};
use kausal_arena::sync::{AtomicU64, Ordering};
use kausal_arena::{Permit, Region, Writer};
use kausal_index::{BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo, TreeIndex};

/// A key, and a sequence number.
type Position = (&'static str, u64);

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
    let pen = shared.region.writer();
    keys.iter().for_each(|key| put(&shared, &pen, key, 1).unwrap());
    drop(pen);
    Arc::new(shared)
}

fn put(shared: &Shared, pen: &Writer, key: &str, number: u64) -> Result<(), InsertError> {
    let (key, seqno) = (key.as_bytes(), SeqNo::new(number).unwrap());
    shared.index.insert(pen, EntryRef { key, seqno, kind: Kind::Put, value: key })
}

/// A thread that writes, and then returns its permit.
fn writing(shared: &Arc<Shared>, writes: &'static [Position]) -> impl FnOnce() -> Permit + Send + 'static {
    let (shared, permit) = (Arc::clone(shared), permit(&shared.region));
    move || {
        for (key, number) in writes {
            put(&shared, permit.pen(), key, *number).unwrap();
        }
        permit
    }
}

/// The number of the newest version of `key`, which is seen whole.
fn newest(shared: &Shared, key: &str) -> Option<u64> {
    let entry = shared.index.get(key.as_bytes(), SeqNo::MAX)?;
    assert!(entry.key == key.as_bytes() && entry.value == key.as_bytes(), "an entry is seen whole");
    Some(entry.seqno.get())
}

/// Key and number of an entry.
fn position(entry: EntryRef<'_>) -> (String, u64) {
    (String::from_utf8(entry.key.to_vec()).unwrap(), entry.seqno.get())
}

fn forward(shared: &Shared) -> Vec<(String, u64)> {
    let mut cursor = shared.index.cursor().unwrap();
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen.push(position(cursor.entry().unwrap()));
        more = cursor.next().unwrap();
    }
    seen
}

#[cfg(not(loom))]
fn backward(shared: &Shared) -> Vec<(String, u64)> {
    let mut cursor = shared.index.cursor().unwrap();
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_last().unwrap();
    while more {
        seen.push(position(cursor.entry().unwrap()));
        more = cursor.prev().unwrap();
    }
    seen.reverse();
    seen
}

/// The tree holds `held` with number 1 each, and what was written, in this order and nothing else.
fn holds(shared: &Shared, held: &[&'static str], writes: &[Position]) {
    let mut all: Vec<Position> = held.iter().map(|key| (*key, 1)).collect();
    all.extend(writes);
    all.sort_by_key(|(key, number)| (*key, std::cmp::Reverse(*number)));
    let all: Vec<_> = all.into_iter().map(|(key, number)| (key.to_owned(), number)).collect();
    assert_eq!(forward(shared), all);
    assert_eq!(shared.index.len(), all.len());
}

/// A tree that holds `held`, a thread that writes, and one that reads; everything is there in the end.
struct Beside {
    name: &'static str,
    bound: Bound,
    held: &'static [&'static str],
    writes: &'static [Position],
}

impl Beside {
    fn sees<O: Ord + std::fmt::Debug + Send + 'static>(
        &self,
        expected: &[O],
        read: impl Fn(&Shared) -> O + Send + Sync + Copy + 'static,
    ) {
        let (held, writes) = (self.held, self.writes);
        explore(self.name, self.bound, expected, move || {
            let shared = holding(held);
            let (writer, reader) = (writing(&shared, writes), Arc::clone(&shared));
            let (_, seen) = at_once(writer, move || read(&reader));
            holds(&shared, held, writes);
            seen
        });
    }
}

/// A tree that holds `held`, and two threads that write.
fn two_writers(
    name: &str,
    bound: Bound,
    held: &'static [&'static str],
    one: &'static [Position],
    other: &'static [Position],
) {
    explore(name, bound, &[()], move || {
        let shared = holding(held);
        let _permits = at_once(writing(&shared, one), writing(&shared, other));
        holds(&shared, held, &[one, other].concat());
    });
}

/// The middle and the last of three keys: that one is copied behind the end first.
#[test]
fn a_get_beside_a_shift_finds_what_was_there() {
    let held = &["b", "d", "f"];
    let shift =
        Beside { name: "tree: shift, the last key", bound: Preemptions(3), held, writes: &[("c", 1)] };
    shift.sees(&[()], |shared| assert_eq!(newest(shared, "f"), Some(1)));
    let shift = Beside { name: "tree: shift, a middle key", ..shift };
    shift.sees(&[()], |shared| assert_eq!(newest(shared, "d"), Some(1)));
    let shift = Beside { name: "tree: shift, the new key", ..shift };
    shift.sees(&[None, Some(1)], |shared| newest(shared, "c"));
    let shift = Beside { name: "tree: shift, no such key", ..shift };
    shift.sees(&[()], |shared| assert_eq!(newest(shared, "e"), None));
    // Slot 0 of the leftmost leaf moves as well.
    let shift = Beside { name: "tree: shift of slot 0", writes: &[("a", 1)], ..shift };
    shift.sees(&[()], |shared| assert_eq!(newest(shared, "b"), Some(1)));
}

/// Keys that stay, keys that move, and the new one, in either half.
#[test]
fn a_get_beside_a_split_finds_what_was_there() {
    let held = &["b", "d", "f", "h"];
    let split =
        Beside { name: "tree: split, a key that moves", bound: Preemptions(3), held, writes: &[("c", 1)] };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "h"), Some(1)));
    let split = Beside { name: "tree: split, a key that stays", ..split };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "d"), Some(1)));
    let split = Beside { name: "tree: split, a new key on the left", ..split };
    split.sees(&[None, Some(1)], |shared| newest(shared, "c"));
    let split = Beside { name: "tree: split, a key beside the new one", writes: &[("g", 1)], ..split };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "f"), Some(1)));
    let split = Beside { name: "tree: split, a new key on the right", ..split };
    split.sees(&[None, Some(1)], |shared| newest(shared, "g"));
}

#[test]
fn slots_left_behind_by_a_split_mislead_nobody() {
    let held = &["b", "d", "f", "h"];
    let writes = &[("a", 1), ("c", 1)];
    let split =
        Beside { name: "tree: slots left behind, a key that moved", bound: Preemptions(1), held, writes };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "h"), Some(1)));
    let writes = &[("f", 2), ("c", 1)];
    let split = Beside { name: "tree: slots left behind, versions", writes, ..split };
    split.sees(&[Some(1), Some(2)], |shared| newest(shared, "f"));
}

#[test]
fn an_entry_is_seen_with_its_bytes() {
    for (name, held) in [
        ("tree: bytes beside a shift", &["b", "d", "f"][..]),
        ("tree: bytes beside a split", &["b", "d", "f", "h"]),
    ] {
        explore(name, Preemptions(3), &[None, Some(1)], move || {
            let (shared, witness) = (holding(held), Arc::new(Witness::new()));
            let (writer, reader) = (writing(&shared, &[("c", 1)]), Arc::clone(&shared));
            let before = Arc::clone(&witness);
            let write = move || {
                before.write();
                writer()
            };
            let (_, seen) = at_once(write, move || witness.of(newest(&reader, "c")));
            holds(&shared, held, &[("c", 1)]);
            seen
        });
    }
}

#[test]
fn what_was_announced_is_found_with_its_newest_version() {
    for (name, held) in [
        ("tree: an announced version, shift", &["b", "f", "h"][..]),
        ("tree: an announced version, split", &["b", "d", "f", "h"]),
    ] {
        explore(name, Preemptions(3), &[1, 2], move || {
            let (shared, announced) = (holding(held), Arc::new(AtomicU64::new(1)));
            let (writer, reader) = (writing(&shared, &[("f", 2)]), Arc::clone(&shared));
            let announce = Arc::clone(&announced);
            let write = move || {
                let permit = writer();
                announce.store(2, Ordering::Release);
                permit
            };
            let read = move || {
                let at = announced.load(Ordering::Acquire);
                let found = reader.index.get(b"f", SeqNo::new(at).unwrap()).unwrap();
                assert_eq!(found.seqno.get(), at);
                at
            };
            let (_, at) = at_once(write, read);
            holds(&shared, held, &[("f", 2)]);
            at
        });
    }
}

#[test]
fn older_versions_are_found_behind_newer_ones() {
    let look = |shared: &Shared| -> Vec<u64> {
        let versions = shared.index.versions(b"f", SeqNo::MAX);
        versions.map(|entry| entry.seqno.get()).collect()
    };
    let expected = &[vec![1], vec![2, 1]];
    let held = &["b", "f", "h"];
    let writes = &[("f", 2)];
    let push = Beside { name: "tree: versions beside a shift", bound: Preemptions(3), held, writes };
    push.sees(expected, look);
    let held = &["b", "d", "f", "h"];
    let push = Beside { name: "tree: versions beside a split", bound: Preemptions(3), held, ..push };
    push.sees(expected, look);
}

#[test]
fn two_writers_in_one_leaf_lose_nothing() {
    two_writers("tree: two shifts", All, &["d"], &[("c", 1)], &[("b", 1)]);
    two_writers("tree: a shift and a split", Preemptions(3), &["b", "d", "f"], &[("c", 1)], &[("g", 1)]);
    two_writers(
        "tree: a split and the other half",
        Preemptions(3),
        &["b", "d", "f", "h"],
        &[("c", 1)],
        &[("g", 1)],
    );
    two_writers(
        "tree: a split and an append",
        Preemptions(3),
        &["b", "d", "f", "h"],
        &[("i", 1)],
        &[("j", 1)],
    );
}

#[test]
fn one_of_two_equal_positions_is_refused() {
    explore("tree: equal positions", All, &[(false, true), (true, false)], || {
        let shared = holding(&["b", "d"]);
        let [one, other] = [(); 2].map(|()| {
            let (shared, permit) = (Arc::clone(&shared), permit(&shared.region));
            move || (put(&shared, permit.pen(), "c", 1).is_ok(), permit)
        });
        let ((one, _), (other, _)) = at_once(one, other);
        holds(&shared, &["b", "d"], &[("c", 1)]);
        (one, other)
    });
}

/// In order, each once, and all that was there among them. Whether the new one is. Whole walks are too large for every
/// interleaving; the movements they are made of are not.
#[cfg(not(loom))]
fn meets_all(seen: &[(String, u64)], held: &[&str], new: &str) -> bool {
    assert!(seen.is_sorted_by(|left, right| left.0 < right.0), "{seen:?}");
    assert!(held.iter().all(|key| seen.contains(&((*key).to_owned(), 1))), "{seen:?} of {held:?}");
    seen.iter().any(|(key, _)| key == new)
}

#[cfg(not(loom))]
#[test]
fn a_cursor_beside_a_shift_meets_everything_once() {
    const HELD: &[&str] = &["b", "d", "f"];
    let shift = Beside {
        name: "tree: a walk beside a shift",
        bound: Preemptions(2),
        held: HELD,
        writes: &[("c", 1)],
    };
    shift.sees(&[false, true], |shared| meets_all(&forward(shared), HELD, "c"));
    let shift = Beside { name: "tree: a walk back beside a shift", ..shift };
    shift.sees(&[false, true], |shared| meets_all(&backward(shared), HELD, "c"));
}

#[cfg(not(loom))]
#[test]
fn a_cursor_beside_a_split_meets_everything_once() {
    const HELD: &[&str] = &["b", "d", "f", "h"];
    let split = Beside {
        name: "tree: a walk beside a split",
        bound: Preemptions(2),
        held: HELD,
        writes: &[("c", 1)],
    };
    split.sees(&[false, true], |shared| meets_all(&forward(shared), HELD, "c"));
    let split = Beside { name: "tree: a walk back beside a split", writes: &[("g", 1)], ..split };
    split.sees(&[false, true], |shared| meets_all(&backward(shared), HELD, "g"));
}

/// What was there when the cursor was placed is not passed over.
#[test]
fn a_movement_beside_a_writer_passes_nothing_over() {
    let step = |shared: &Shared| {
        let mut cursor = shared.index.cursor().unwrap();
        assert!(cursor.seek(b"d", SeqNo::MAX).unwrap() && cursor.next().unwrap());
        position(cursor.entry().unwrap()).0
    };
    let held = &["b", "d", "f"];
    let shift =
        Beside { name: "tree: next beside a shift", bound: Preemptions(3), held, writes: &[("e", 1)] };
    shift.sees(&["e".to_owned(), "f".to_owned()], step);
    let held = &["b", "d", "f", "h"];
    let split = Beside { name: "tree: next beside a split", held, ..shift };
    split.sees(&["e".to_owned(), "f".to_owned()], step);
    let step = |shared: &Shared| {
        let mut cursor = shared.index.cursor().unwrap();
        assert!(cursor.seek(b"f", SeqNo::MAX).unwrap() && cursor.prev().unwrap());
        position(cursor.entry().unwrap()).0
    };
    let split = Beside { name: "tree: prev beside a split", ..split };
    split.sees(&["d".to_owned(), "e".to_owned()], step);
}

#[test]
fn a_get_beside_prefixes_written_anew_finds_what_was_there() {
    let held = &["a", "b", "long/long/b", "long/long/d", "long/long/f", "long/long/h", "m"];
    let writes = &[("long/long/g", 1)];
    let split =
        Beside { name: "tree: prefixes written anew, a key that stays", bound: Preemptions(3), held, writes };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "long/long/d"), Some(1)));
    let split = Beside { name: "tree: prefixes written anew, a key that moves", ..split };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "long/long/h"), Some(1)));
}

/// Ascending keys fill leaves, so these make a root with four separators; the next leaf splits it.
#[test]
fn an_inner_node_that_is_split_leads_everywhere() {
    let held = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    let split =
        Beside { name: "tree: inner split, the last key", bound: Preemptions(2), held, writes: &[("a", 2)] };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "m"), Some(1)));
    let split = Beside { name: "tree: inner split, a middle key", ..split };
    split.sees(&[()], |shared| assert_eq!(newest(shared, "f"), Some(1)));
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn two_writers_a_reader_and_a_walk_miss_nothing() {
    use kausal_arena::sync::thread;

    const HELD: &[&str] = &["d", "h", "long/long/d", "p"];
    const WRITES: [&[Position]; 2] = [
        &[("a", 2), ("e", 3), ("long/long/a", 4), ("d", 5), ("i", 6), ("long/long/g", 7), ("q", 8)],
        &[("b", 12), ("f", 13), ("long/long/b", 14), ("d", 15), ("g", 16), ("long/long/e", 17), ("r", 18)],
    ];
    explore("tree: two writers, a reader and a walk", All, &[()], || {
        let shared = holding(HELD);
        let spawn = |work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared))
        };
        let write = |shared: &Shared, writes: &[Position]| {
            let pen = shared.region.writer();
            for (key, number) in writes {
                put(shared, &pen, key, *number).unwrap();
                assert!(newest(shared, key) >= Some(*number));
            }
        };
        let writers = WRITES.map(|writes| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || write(&shared, writes))
        });
        let reader = spawn(|shared| {
            for key in HELD {
                assert!(newest(shared, key) >= Some(1));
                assert_eq!(shared.index.get(key.as_bytes(), SeqNo::new(1).unwrap()).unwrap().seqno.get(), 1);
            }
        });
        let walker = spawn(|shared| {
            let seen = [forward(shared), backward(shared)];
            for seen in &seen {
                let before =
                    |left: &(String, u64), right: &(String, u64)| (&left.0, right.1) < (&right.0, left.1);
                assert!(seen.is_sorted_by(before), "{seen:?}");
                assert!(HELD.iter().all(|key| seen.contains(&((*key).to_owned(), 1))), "{seen:?}");
            }
            assert!(seen[0].iter().all(|entry| seen[1].contains(entry)), "{seen:?}");
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        walker.join().unwrap();
        holds(&shared, HELD, &WRITES.concat());
    });
}
