//! The skip list under a model checker, with towers of at most two levels.
//!
//! ```console
//! $ RUSTFLAGS="--cfg loom" cargo test -p kausal-index --release --target-dir target/loom --test loom_skip_list
//! $ RUSTFLAGS="--cfg shuttle" cargo test -p kausal-index --release --target-dir target/shuttle --test loom_skip_list
//! ```
//!
//! The planted defect must be found: add `--cfg kausal_planted="skip_list_link_relaxed"` (a node is linked without
//! Release), and a model fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::Region;
use kausal_arena::sync::{Arc, AtomicU32, Ordering, thread};
use kausal_index::{BlockIndex, Cursor, EntryRef, InsertError, Kind, SeqNo, SkipListIndex};

/// Runs `check` under the model checker, and prints how many times that was: the number of interleavings under loom.
fn explore(check: impl Fn() + Send + Sync + 'static) {
    // Not through the facade: the count is no part of the model.
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&runs);
    kausal_arena::sync::model(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        check();
    });
    println!("{} interleavings", runs.load(std::sync::atomic::Ordering::Relaxed));
}

fn empty() -> (Arc<Region>, Arc<SkipListIndex>) {
    let region = kausal_arena::testing::region(1 << 20);
    let index = SkipListIndex::create(region.lease(), &region.writer()).unwrap();
    (Arc::new(region), Arc::new(index))
}

fn insert(region: &Region, index: &SkipListIndex, key: &[u8], number: u64) -> Result<(), InsertError> {
    let seqno = SeqNo::new(number).unwrap();
    index.insert(&region.writer(), EntryRef { key, seqno, kind: Kind::Put, value: key })
}

fn keys(index: &SkipListIndex) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = index.cursor().unwrap();
    let mut keys = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        assert_eq!(entry.key, entry.value, "an entry is seen whole");
        keys.push((entry.key.to_vec(), entry.seqno.get()));
        more = cursor.next().unwrap();
    }
    keys
}

#[test]
fn a_walk_sees_an_entry_whole_or_not_at_all() {
    explore(|| {
        let (region, index) = empty();
        insert(&region, &index, b"b", 1).unwrap();
        let (writer, reader) = (Arc::clone(&index), Arc::clone(&index));
        // Two new threads: what the one makes is unknown to the other unless it is told.
        let write = thread::spawn(move || {
            insert(&region, &writer, b"a", 2).unwrap();
            insert(&region, &writer, b"c", 3).unwrap();
        });
        let walk = thread::spawn(move || {
            let keys = keys(&reader);
            assert!(keys.is_sorted() && keys.contains(&(b"b".to_vec(), 1)));
            assert!(reader.get(b"c", SeqNo::MAX).is_none_or(|entry| entry.value == b"c"));
        });
        write.join().unwrap();
        walk.join().unwrap();
        assert_eq!(keys(&index).len(), 3);
    });
}

#[test]
fn two_inserts_side_by_side_are_both_linked_on_every_level() {
    explore(|| {
        let (region, index) = empty();
        let (region2, index2) = (Arc::clone(&region), Arc::clone(&index));
        let other = thread::spawn(move || insert(&region2, &index2, b"a", 1).unwrap());
        insert(&region, &index, b"b", 2).unwrap();
        other.join().unwrap();
        assert_eq!(keys(&index), [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);
        for key in [b"a", b"b"] {
            assert_eq!(index.get(key, SeqNo::MAX).unwrap().key, key);
        }
    });
}

#[test]
fn two_inserts_of_one_entry_are_one_entry_and_one_duplicate() {
    explore(|| {
        let (region, index) = empty();
        let refused = Arc::new(AtomicU32::new(0));
        let one = |region: &Region, index: &SkipListIndex, refused: &AtomicU32| {
            if let Err(error) = insert(region, index, b"k", 7) {
                assert!(matches!(error, InsertError::Duplicate(_)));
                refused.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (region2, index2, refused2) = (Arc::clone(&region), Arc::clone(&index), Arc::clone(&refused));
        let other = thread::spawn(move || one(&region2, &index2, &refused2));
        one(&region, &index, &refused);
        other.join().unwrap();
        assert_eq!((refused.load(Ordering::Relaxed), index.len()), (1, 1));
        assert_eq!(keys(&index), [(b"k".to_vec(), 7)]);
    });
}

#[test]
fn a_sorted_batch_beside_an_insert_loses_nothing() {
    explore(|| {
        let (region, index) = empty();
        let (region2, index2) = (Arc::clone(&region), Arc::clone(&index));
        let other = thread::spawn(move || insert(&region2, &index2, b"b", 1).unwrap());
        let batch = [b"a", b"c"].map(|key| {
            let seqno = SeqNo::new(2).unwrap();
            EntryRef { key, seqno, kind: Kind::Put, value: key }
        });
        index.insert_sorted(&region.writer(), batch.into_iter()).unwrap();
        other.join().unwrap();
        assert_eq!(keys(&index), [(b"a".to_vec(), 2), (b"b".to_vec(), 1), (b"c".to_vec(), 2)]);
    });
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn three_writers_leave_every_entry_once() {
    explore(|| {
        let (region, index) = empty();
        let writers = [0_u64, 1, 2].map(|writer| {
            let (region, index) = (Arc::clone(&region), Arc::clone(&index));
            thread::spawn(move || {
                for key in [b"c", b"a", b"d", b"b"] {
                    insert(&region, &index, key, writer + 1).unwrap();
                    assert_eq!(
                        index.get(key, SeqNo::new(writer + 1).unwrap()).unwrap().seqno.get(),
                        writer + 1
                    );
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        let mut expected = Vec::new();
        for key in [b"a", b"b", b"c", b"d"] {
            expected.extend([3, 2, 1].map(|number| (key.to_vec(), number)));
        }
        assert_eq!(keys(&index), expected);
    });
}
