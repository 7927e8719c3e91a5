//! The skip list under a model checker, with towers of at most two levels.
//!
//! | what a node does | its models |
//! |---|---|
//! | be linked, on every level | `an_entry_is_seen…`, `a_walk_sees_an_entry…`, `a_get_finds_an_entry…`, `two_inserts…` |
//! | be passed, forward and backward | `a_walk_…`, `a_cursor_moves_back…` |
//! | version look-up | `versions_are_sorted…` |
//! | be linked at a splice | `a_sorted_batch…` |
//!
//! ```console
//! $ cargo xtask model loom --crate kausal-index
//! $ cargo xtask model shuttle --crate kausal-index
//! ```
//!
//! The planted defect must be found: `--planted skip_list_link_relaxed`, a node is linked without Release.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod explore;

use std::sync::Arc;

use explore::Bound::All;
use explore::{Witness, at_once, explore, permit};
use kausal_arena::{Permit, Region};
use kausal_index::{BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo, SkipListIndex};

/// A list and its region, shared by the threads of one run.
struct Shared {
    index: SkipListIndex,
    region: Region,
}

/// A list that holds `keys`, with their places from 1 as numbers.
fn holding(keys: &[&[u8]]) -> Arc<Shared> {
    let region = kausal_arena::testing::region(1 << 20);
    let index = SkipListIndex::create(region.lease(), &region.writer()).unwrap();
    let shared = Shared { index, region };
    for (number, key) in (1..).zip(keys) {
        insert(&shared, key, number).unwrap();
    }
    Arc::new(shared)
}

fn entry(key: &[u8], number: u64) -> EntryRef<'_> {
    EntryRef { key, seqno: SeqNo::new(number).unwrap(), kind: Kind::Put, value: key }
}

fn insert(shared: &Shared, key: &[u8], number: u64) -> Result<(), InsertError> {
    shared.index.insert(&shared.region.writer(), entry(key, number))
}

/// A thread that inserts `writes`, keys and numbers, and then returns its permit.
fn writing<const N: usize>(
    shared: &Arc<Shared>,
    writes: [(&'static [u8], u64); N],
) -> impl FnOnce() -> Permit + Send + 'static {
    let (shared, permit) = (Arc::clone(shared), permit(&shared.region));
    move || {
        for (key, number) in writes {
            shared.index.insert(permit.pen(), entry(key, number)).unwrap();
        }
        permit
    }
}

/// The keys, each of one byte, with their numbers. Every entry is seen whole.
fn walk(shared: &Shared) -> Vec<(char, u64)> {
    let mut cursor = shared.index.cursor().unwrap();
    let mut keys = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        assert_eq!(entry.key, entry.value, "an entry is seen whole");
        keys.push((char::from(entry.key[0]), entry.seqno.get()));
        more = cursor.next().unwrap();
    }
    keys
}

#[test]
fn a_walk_sees_an_entry_whole_or_not_at_all() {
    let expected = [vec![('b', 1)], vec![('a', 2), ('b', 1)]];
    explore("skip list: a walk beside an insert", All, &expected, || {
        let shared = holding(&[b"b"]);
        let reader = Arc::clone(&shared);
        let (_, seen) = at_once(writing(&shared, [(b"a", 2)]), move || walk(&reader));
        assert_eq!(walk(&shared), [('a', 2), ('b', 1)]);
        seen
    });
}

#[test]
fn an_entry_is_seen_with_its_bytes() {
    explore("skip list: bytes of an entry", All, &[None, Some(2)], || {
        let (shared, witness) = (holding(&[b"b"]), Arc::new(Witness::new()));
        let (writer, reader) = (writing(&shared, [(b"a", 2)]), Arc::clone(&shared));
        let before = Arc::clone(&witness);
        let write = move || {
            before.write();
            writer()
        };
        let get = move || reader.index.get(b"a", SeqNo::MAX).map(|entry| entry.seqno.get());
        let (_, seen) = at_once(write, move || witness.of(get()));
        assert_eq!(walk(&shared), [('a', 2), ('b', 1)]);
        seen
    });
}

/// The later one of two is seen only with the earlier one.
#[test]
fn a_get_finds_an_entry_whole_or_not_at_all() {
    let get = |shared: &Shared, key: &[u8]| shared.index.get(key, SeqNo::MAX).map(|entry| entry.seqno.get());
    explore("skip list: gets beside two inserts", All, &[None, Some(3)], move || {
        let shared = holding(&[b"b"]);
        let reader = Arc::clone(&shared);
        let read = move || {
            let later = get(&reader, b"c");
            assert!(later.is_none() || get(&reader, b"a") == Some(2), "one writer's entries appear in order");
            later
        };
        let (_, later) = at_once(writing(&shared, [(b"a", 2), (b"c", 3)]), read);
        assert_eq!(walk(&shared), [('a', 2), ('b', 1), ('c', 3)]);
        later
    });
}

#[test]
fn a_cursor_moves_back_beside_an_insert() {
    explore("skip list: a movement back beside an insert", All, b"ab", || {
        let shared = holding(&[b"a", b"c"]);
        let reader = Arc::clone(&shared);
        let read = move || {
            let mut cursor = reader.index.cursor().unwrap();
            assert!(cursor.seek_to_last().unwrap() && cursor.entry().unwrap().key == b"c");
            assert!(cursor.prev().unwrap());
            cursor.entry().unwrap().key[0]
        };
        let (_, seen) = at_once(writing(&shared, [(b"b", 3)]), read);
        assert_eq!(walk(&shared), [('a', 1), ('b', 3), ('c', 2)]);
        seen
    });
}

#[test]
fn versions_are_sorted_while_one_comes_late() {
    explore("skip list: a version comes late", All, &[vec![5, 1], vec![5, 3, 1]], || {
        let shared = holding(&[b"k"]);
        insert(&shared, b"k", 5).unwrap();
        let reader = Arc::clone(&shared);
        let read = move || -> Vec<u64> {
            reader.index.versions(b"k", SeqNo::MAX).map(|entry| entry.seqno.get()).collect()
        };
        let (_, seen) = at_once(writing(&shared, [(b"k", 3)]), read);
        assert_eq!(walk(&shared), [('k', 5), ('k', 3), ('k', 1)]);
        seen
    });
}

#[test]
fn two_inserts_side_by_side_are_both_linked_on_every_level() {
    explore("skip list: two inserts", All, &[()], || {
        let shared = holding(&[]);
        let _permits = at_once(writing(&shared, [(b"a", 1)]), writing(&shared, [(b"b", 2)]));
        assert_eq!(walk(&shared), [('a', 1), ('b', 2)]);
        for key in [b"a", b"b"] {
            assert_eq!(shared.index.get(key, SeqNo::MAX).unwrap().key, key);
        }
    });
}

#[test]
fn two_inserts_of_one_entry_are_one_entry_and_one_duplicate() {
    explore("skip list: equal positions", All, &[(false, true), (true, false)], || {
        let shared = holding(&[]);
        let [one, other] = [(); 2].map(|()| {
            let (shared, permit) = (Arc::clone(&shared), permit(&shared.region));
            move || match shared.index.insert(permit.pen(), entry(b"k", 7)) {
                Ok(()) => (true, permit),
                Err(InsertError::Duplicate(_)) => (false, permit),
                Err(error) => panic!("{error}"),
            }
        });
        let ((one, _), (other, _)) = at_once(one, other);
        assert_eq!((walk(&shared), shared.index.len()), (vec![('k', 7)], 1));
        (one, other)
    });
}

#[test]
fn a_sorted_batch_beside_an_insert_loses_nothing() {
    explore("skip list: a batch beside an insert", All, &[()], || {
        let shared = holding(&[]);
        let (batcher, permit) = (Arc::clone(&shared), permit(&shared.region));
        let batch = move || {
            let entries = [entry(b"a", 2), entry(b"c", 2)].into_iter();
            batcher.index.insert_sorted(permit.pen(), entries).unwrap();
            permit
        };
        let _permits = at_once(batch, writing(&shared, [(b"b", 1)]));
        assert_eq!(walk(&shared), [('a', 2), ('b', 1), ('c', 2)]);
    });
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn three_writers_and_a_reader_miss_nothing() {
    use kausal_arena::sync::thread;

    explore("skip list: three writers and a reader", All, &[()], || {
        let shared = holding(&[]);
        let writers = [1_u64, 2, 3].map(|writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for key in [b"c", b"a", b"d", b"b"] {
                    insert(&shared, key, writer).unwrap();
                    let found = shared.index.get(key, SeqNo::new(writer).unwrap()).unwrap();
                    assert_eq!(found.seqno.get(), writer);
                }
            })
        });
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (seen, later) = (walk(&shared), walk(&shared));
                let before = |left: &(char, u64), right: &(char, u64)| (left.0, right.1) < (right.0, left.1);
                assert!(seen.is_sorted_by(before) && later.is_sorted_by(before), "{seen:?}, then {later:?}");
                assert!(seen.iter().all(|entry| later.contains(entry)), "{seen:?}, then {later:?}");
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        let all = ['a', 'b', 'c', 'd'].into_iter().flat_map(|key| [3, 2, 1].map(|number| (key, number)));
        assert!(walk(&shared).into_iter().eq(all));
    });
}
