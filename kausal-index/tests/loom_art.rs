//! Models of the adaptive radix tree: small cases in every interleaving and allowed memory order (`--cfg loom`), larger
//! ones in many random schedules (`--cfg shuttle`), and all of them on real threads otherwise.
//!
//! Under a model checker nodes are shrunk (2, 3, 4, 5, 6 and 8 children), so key bytes stay below 8. A node is full when it
//! was made by a split of two keys or by growing, so there is room only in one that has a key that ends at it, and in the
//! largest.
//!
//! | what a node does | its models |
//! |---|---|
//! | publish an entry | `an_entry_is_seen_with_its_bytes` |
//! | add a child | `a_child_is_added…` |
//! | grow | `a_node_grows…`, `two_writers_grow…`, `a_cursor_moves_on…` |
//! | be put above what was there | `a_compressed_path_is_split…`, `two_writers_begin…` |
//! | version look-up | `a_version_is_pushed…`, `a_version_comes_late…` |
//! | its lock | `two_writers…`, `one_of_two_equal_entries…` |
//!
//! ```console
//! $ cargo xtask model loom --crate kausal-index
//! $ cargo xtask model shuttle --crate kausal-index
//! ```
//!
//! Planted defects that the models must find: `--planted art_relaxed_link` links nodes without publishing them, `--planted
//! art_grow_unlocked` copies a node that others write to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod explore;

use std::sync::Arc;

use explore::Bound::{self, All, Preemptions};
use explore::{Witness, at_once, explore, permit};
use kausal_arena::{Permit, Region, Writer};
use kausal_index::{ArtIndex, BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo};

/// A key, and a sequence number.
type Position = (&'static [u8], u64);

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

/// A thread that writes, and then returns its permit.
fn writing(shared: &Arc<Shared>, writes: &'static [Position]) -> impl FnOnce() -> Permit + Send + 'static {
    let (shared, permit) = (Arc::clone(shared), permit(&shared.region));
    move || {
        for (key, number) in writes {
            put(&shared.index, permit.pen(), key, *number).unwrap();
        }
        permit
    }
}

/// The number of the newest version of `key`, which is seen whole.
fn newest(index: &ArtIndex, key: &[u8]) -> Option<u64> {
    let entry = index.get(key, SeqNo::MAX)?;
    assert!(entry.key == key && entry.value == key, "an entry is seen whole");
    Some(entry.seqno.get())
}

/// Keys and numbers in order.
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

/// The index holds `held` with their places as numbers, and what was written, in this order and nothing else.
fn holds(shared: &Shared, held: &[&[u8]], writes: &[Position]) {
    let mut all: Vec<_> = (1..).zip(held).map(|(number, key)| (key.to_vec(), number)).collect();
    all.extend(writes.iter().map(|(key, number)| (key.to_vec(), *number)));
    all.sort_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(&left.1)));
    assert_eq!(walk(&shared.index), all);
    assert_eq!(shared.index.len(), all.len());
}

/// An index that holds `held`, a thread that writes, and one that reads; everything is there in the end.
struct Beside {
    name: &'static str,
    bound: Bound,
    held: &'static [&'static [u8]],
    writes: &'static [Position],
}

impl Beside {
    fn sees<O: Ord + std::fmt::Debug + Send + 'static>(
        &self,
        expected: &[O],
        read: impl Fn(&ArtIndex) -> O + Send + Sync + Copy + 'static,
    ) {
        let (held, writes) = (self.held, self.writes);
        explore(self.name, self.bound, expected, move || {
            let shared = holding(held);
            let (writer, reader) = (writing(&shared, writes), Arc::clone(&shared));
            let (_, seen) = at_once(writer, move || read(&reader.index));
            holds(&shared, held, writes);
            seen
        });
    }
}

/// An index that holds `held`, and two threads that write one entry each.
fn two_writers(name: &str, bound: Bound, held: &'static [&'static [u8]], writes: &'static [Position; 2]) {
    explore(name, bound, &[()], move || {
        let shared = holding(held);
        let _permits = at_once(writing(&shared, &writes[..1]), writing(&shared, &writes[1..]));
        holds(&shared, held, writes);
    });
}

/// What was seen once is seen again.
fn twice(index: &ArtIndex, key: &[u8]) -> Option<u64> {
    let seen = newest(index, key);
    assert!(seen.is_none() || newest(index, key) == seen, "what was seen once is seen again");
    seen
}

#[test]
fn a_child_is_added_while_keys_are_read() {
    let (held, writes): (&[&[u8]], &[Position]) = (&[&[], &[1]], &[(&[2], 9)]);
    let add = Beside { name: "art: a child is added, it is read", bound: All, held, writes };
    add.sees(&[None, Some(9)], |index| twice(index, &[2]));
    let add = Beside { name: "art: a child is added, another is read", ..add };
    add.sees(&[()], |index| assert_eq!(newest(index, &[1]), Some(2)));
    // In the largest node a child has a place of its own.
    let (held, writes): (&[&[u8]], &[Position]) = (&[&[0], &[1], &[2], &[3], &[5], &[6], &[7]], &[(&[4], 9)]);
    let add = Beside { name: "art: a child is added to a full node", held, writes, ..add };
    add.sees(&[None, Some(9)], |index| twice(index, &[4]));
}

/// A child in place, a larger node, a version.
#[test]
fn an_entry_is_seen_with_its_bytes() {
    let cases: [(_, &[&[u8]], &[Position], _); 3] = [
        ("art: bytes of a child that is added", &[&[], &[1]], &[(&[2], 9)], 9),
        ("art: bytes beside a node that grows", &[&[1], &[3]], &[(&[2], 9)], 9),
        ("art: bytes of a version", &[&[2]], &[(&[2], 9)], 9),
    ];
    for (name, held, writes, number) in cases {
        explore(name, All, &[None, Some(number)], move || {
            let (shared, witness) = (holding(held), Arc::new(Witness::new()));
            let (writer, reader) = (writing(&shared, writes), Arc::clone(&shared));
            let before = Arc::clone(&witness);
            let write = move || {
                before.write();
                writer()
            };
            let new = move || newest(&reader.index, writes[0].0).filter(|seen| *seen == number);
            let (_, seen) = at_once(write, move || witness.of(new()));
            holds(&shared, held, writes);
            seen
        });
    }
}

#[test]
fn a_node_grows_while_its_keys_are_read() {
    let (held, writes): (&[&[u8]], &[Position]) = (&[&[1], &[3]], &[(&[2], 9)]);
    let grow = Beside { name: "art: a node grows, the new key is read", bound: All, held, writes };
    grow.sees(&[None, Some(9)], |index| twice(index, &[2]));
    let grow = Beside { name: "art: a node grows, another key is read", ..grow };
    grow.sees(&[()], |index| assert_eq!(newest(index, &[3]), Some(2)));
    let writes: &[Position] = &[(&[2], 8), (&[4], 9)];
    let twice = Beside { name: "art: a node grows twice", bound: All, writes, ..grow };
    twice.sees(&[None, Some(9)], |index| {
        let later = newest(index, &[4]);
        assert!(later.is_none() || newest(index, &[2]) == Some(8), "one writer's entries appear in order");
        later
    });
}

#[test]
fn a_compressed_path_is_split_while_keys_below_it_are_read() {
    let (held, writes): (&[&[u8]], &[Position]) = (&[&[1, 1, 1, 1], &[1, 1, 1, 2]], &[(&[1, 2], 8)]);
    let split = Beside { name: "art: a path is split, a key below is read", bound: All, held, writes };
    split.sees(&[()], |index| assert_eq!(newest(index, &[1, 1, 1, 2]), Some(2)));
    let split = Beside { name: "art: a path is split, the new key is read", ..split };
    split.sees(&[None, Some(8)], |index| twice(index, &[1, 2]));
    // A key that ends on the path.
    let split = Beside { name: "art: a path is split by what ends on it", writes: &[(&[1, 1], 9)], ..split };
    split.sees(&[None, Some(9)], |index| {
        assert_eq!(newest(index, &[1, 1, 1, 1]), Some(1));
        newest(index, &[1, 1])
    });
}

#[test]
fn a_version_is_pushed_while_versions_are_read() {
    let writes: &[Position] = &[(&[1], 5), (&[1], 9)];
    let push = Beside { name: "art: versions are pushed", bound: All, held: &[&[1]], writes };
    push.sees(&[vec![1], vec![5, 1], vec![9, 5, 1]], |index| {
        let numbers: Vec<_> = index.versions(&[1], SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
        assert_eq!(index.get(&[1], SeqNo::new(4).unwrap()).unwrap().seqno.get(), 1);
        numbers
    });
}

#[test]
fn a_version_comes_late_while_versions_are_read() {
    explore("art: a version comes late", All, &[1, 5], || {
        let shared = holding(&[&[1]]);
        put(&shared.index, &shared.region.writer(), &[1], 9).unwrap();
        let (writer, reader) = (writing(&shared, &[(&[1], 5)]), Arc::clone(&shared));
        let read = move || {
            let seen = reader.index.get(&[1], SeqNo::new(7).unwrap()).unwrap().seqno.get();
            assert_eq!(newest(&reader.index, &[1]), Some(9));
            seen
        };
        let (_, seen) = at_once(writer, read);
        holds(&shared, &[&[1]], &[(&[1], 5), (&[1], 9)]);
        seen
    });
}

#[test]
fn a_version_comes_between_the_one_read_and_the_next() {
    explore("art: a version comes between", All, &[1], || {
        let shared = holding(&[&[1]]);
        put(&shared.index, &shared.region.writer(), &[1], 9).unwrap();
        let (writer, reader) = (writing(&shared, &[(&[1], 5)]), Arc::clone(&shared));
        // Number 5 is not to be seen at 4, however late it comes.
        let read = move || reader.index.get(&[1], SeqNo::new(4).unwrap()).unwrap().seqno.get();
        at_once(writer, read).1
    });
}

#[test]
fn two_writers_add_to_one_node() {
    // There is room for one more: one writer fills the node, the other lets it grow.
    two_writers("art: two add to one node", All, &[&[], &[1]], &[(&[2], 8), (&[3], 9)]);
    // There is none, but a leaf to put a node above.
    two_writers("art: two add to one leaf", All, &[&[1]], &[(&[2], 8), (&[3], 9)]);
}

#[test]
fn two_writers_grow_one_node() {
    two_writers("art: two grow one node", Preemptions(3), &[&[1], &[4]], &[(&[2], 8), (&[3], 9)]);
}

#[test]
fn a_node_grows_while_the_one_below_it_does() {
    let held: &[&[u8]] = &[&[1, 1], &[1, 2], &[2]];
    two_writers("art: a node and the one below it grow", Preemptions(3), held, &[(&[1, 3], 8), (&[3], 9)]);
}

#[test]
fn one_of_two_equal_entries_is_a_duplicate() {
    explore("art: equal positions", All, &[(false, true), (true, false)], || {
        let shared = holding(&[&[1]]);
        let [one, other] = [(); 2].map(|()| {
            let (shared, permit) = (Arc::clone(&shared), permit(&shared.region));
            move || match put(&shared.index, permit.pen(), &[2], 7) {
                Ok(()) => (true, permit),
                Err(InsertError::Duplicate(_)) => (false, permit),
                Err(error) => panic!("{error}"),
            }
        });
        let ((one, _), (other, _)) = at_once(one, other);
        holds(&shared, &[&[1]], &[(&[2], 7)]);
        (one, other)
    });
}

#[test]
fn two_writers_begin_an_empty_tree() {
    two_writers("art: two begin an empty tree", All, &[], &[(&[], 8), (&[1, 1], 9)]);
}

/// Every load of a cursor that races is one more choice; so few preemptions are explored.
#[test]
fn a_cursor_moves_on_while_its_node_grows() {
    let (held, writes): (&[&[u8]], &[Position]) = (&[&[1], &[4]], &[(&[2], 8)]);
    let grow = Beside { name: "art: next while a node grows", bound: Preemptions(1), held, writes };
    grow.sees(&[2, 4], |index| {
        let mut cursor = index.cursor().unwrap();
        assert!(cursor.seek(&[1], SeqNo::MAX).unwrap());
        let was_there = newest(index, &[2]).is_some();
        assert!(cursor.next().unwrap());
        let key = cursor.entry().unwrap().key[0];
        assert!(!was_there || key == 2, "what was seen once is met by the next movement");
        key
    });
    let grow = Beside { name: "art: prev while a node grows", ..grow };
    grow.sees(&[1, 2], |index| {
        let mut cursor = index.cursor().unwrap();
        assert!(cursor.seek(&[4], SeqNo::MAX).unwrap() && cursor.prev().unwrap());
        cursor.entry().unwrap().key[0]
    });
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn three_threads_write_read_and_walk() {
    use kausal_arena::sync::thread;

    explore("art: two writers and a walk", All, &[()], || {
        let shared = holding(&[&[1, 1], &[3]]);
        let first: &'static [Position] =
            &[(&[1, 2], 10), (&[2], 11), (&[4], 12), (&[1, 1], 13), (&[5], 14), (&[], 15)];
        let second: &'static [Position] =
            &[(&[1], 20), (&[1, 3], 21), (&[6], 22), (&[1, 1], 23), (&[7], 24), (&[0], 25)];
        let writers = [first, second].map(|writes| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let pen = shared.region.writer();
                for write in writes {
                    put(&shared.index, &pen, write.0, write.1).unwrap();
                    assert!(newest(&shared.index, write.0).unwrap() >= write.1);
                }
            })
        });
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
        holds(&shared, &[&[1, 1], &[3]], &[first, second].concat());
        let bytes = shared.index.bytes();
        assert!(bytes.live > 0 && bytes.dead > 0);
    });
}
