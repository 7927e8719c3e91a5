//! The hash index under a model checker: its table has one bucket of two slots a page here, so that two entries fill it
//! and the third makes it grow.
//!
//! ```console
//! $ RUSTFLAGS="--cfg loom" cargo test -p kausal-index --release --target-dir target/loom --test loom_hash
//! $ RUSTFLAGS="--cfg shuttle" cargo test -p kausal-index --release --target-dir target/shuttle --test loom_hash
//! ```
//!
//! `-- --nocapture` shows the number of interleavings. The models of growth are explored with at most three preemptions
//! (`LOOM_MAX_PREEMPTIONS=3`), the others whole. Without either flag all run on real threads.
//!
//! Each planted defect must be found: add `--cfg kausal_planted="hash_publish_relaxed"` (a node is published without
//! Release) or `--cfg kausal_planted="hash_reuse_before_depth"` (a split frees a slot before look-ups are told where its
//! word has gone), and a model fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_arena::Region;
use kausal_arena::sync::{Arc, thread};
use kausal_index::{BlockIndex, EntryRef, HashIndex, InsertError, Kind, SeqNo};

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

fn empty() -> (Region, Arc<HashIndex>) {
    let region = kausal_arena::testing::region(1 << 20);
    let index = HashIndex::create(region.lease(), &region.writer()).unwrap();
    (region, Arc::new(index))
}

fn insert(region: &Region, index: &HashIndex, key: &[u8], number: u64) -> Result<(), InsertError> {
    let seqno = SeqNo::new(number).unwrap();
    index.insert(&region.writer(), EntryRef { key, seqno, kind: Kind::Put, value: key })
}

fn get(index: &HashIndex, key: &[u8], at: u64) -> Option<u64> {
    let entry = index.get(key, SeqNo::new(at).unwrap())?;
    assert_eq!((entry.key, entry.value), (key, key), "an entry is seen whole");
    Some(entry.seqno.get())
}

/// Runs both at once, and waits for both.
fn both(one: impl FnOnce() + Send + 'static, other: impl FnOnce()) {
    let one = thread::spawn(one);
    other();
    one.join().unwrap();
}

#[test]
fn an_entry_is_seen_whole_or_not_at_all() {
    explore(|| {
        let (region, index) = empty();
        let (writer, reader) = (Arc::clone(&index), Arc::clone(&index));
        // Two new threads: what the one makes is unknown to the other unless it is told.
        let write = thread::spawn(move || insert(&region, &writer, b"k", 7).unwrap());
        let read = thread::spawn(move || {
            let versions: Vec<u64> =
                reader.versions(b"k", SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
            assert!(versions.is_empty() || versions == [7]);
        });
        write.join().unwrap();
        read.join().unwrap();
        assert_eq!(get(&index, b"k", 9), Some(7));
    });
}

#[test]
fn two_inserts_of_one_entry_are_one_entry_and_one_duplicate() {
    explore(|| {
        let (region, index) = empty();
        let region = Arc::new(region);
        let (region2, index2) = (Arc::clone(&region), Arc::clone(&index));
        let refused = Arc::new(kausal_arena::sync::AtomicU32::new(0));
        let refused2 = Arc::clone(&refused);
        let try_one = |region: &Region, index: &HashIndex, refused: &kausal_arena::sync::AtomicU32| {
            if let Err(error) = insert(region, index, b"k", 7) {
                assert!(matches!(error, InsertError::Duplicate(_)));
                refused.fetch_add(1, kausal_arena::sync::Ordering::Relaxed);
            }
        };
        both(move || try_one(&region2, &index2, &refused2), || try_one(&region, &index, &refused));
        assert_eq!(refused.load(kausal_arena::sync::Ordering::Relaxed), 1);
        assert_eq!((index.len(), index.versions(b"k", SeqNo::MAX).count()), (1, 1));
        assert!(index.bytes().dead > 0);
    });
}

#[test]
fn versions_are_sorted_whoever_comes_first() {
    explore(|| {
        let (region, index) = empty();
        insert(&region, &index, b"k", 5).unwrap();
        let region = Arc::new(region);
        let (region2, index2) = (Arc::clone(&region), Arc::clone(&index));
        both(
            move || insert(&region2, &index2, b"k", 3).unwrap(),
            || insert(&region, &index, b"k", 4).unwrap(),
        );
        let versions: Vec<u64> = index.versions(b"k", SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
        assert_eq!(versions, [5, 4, 3]);
    });
}

#[test]
fn a_look_up_at_a_version_sees_it_while_others_are_linked() {
    explore(|| {
        let (region, index) = empty();
        insert(&region, &index, b"k", 2).unwrap();
        insert(&region, &index, b"k", 6).unwrap();
        let reader = Arc::clone(&index);
        both(
            move || {
                let seen = get(&reader, b"k", 5);
                assert!(seen == Some(2) || seen == Some(4));
                let seen = get(&reader, b"k", 9);
                assert!(seen == Some(6) || seen == Some(8));
                assert_eq!(get(&reader, b"k", 3), Some(2));
            },
            || {
                insert(&region, &index, b"k", 4).unwrap();
                insert(&region, &index, b"k", 8).unwrap();
            },
        );
        assert_eq!((get(&index, b"k", 5), get(&index, b"k", 9)), (Some(4), Some(8)));
    });
}

/// Enough keys for several splits and for records beside full buckets.
const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];

#[test]
fn growth_hides_no_entry_from_readers() {
    for before in 2..6 {
        explore(move || {
            let (region, index) = empty();
            for (number, key) in KEYS[..before].iter().enumerate() {
                insert(&region, &index, key, number as u64 + 1).unwrap();
            }
            let reader = Arc::clone(&index);
            both(
                move || {
                    for (number, key) in KEYS[..before].iter().enumerate() {
                        assert_eq!(get(&reader, key, 99), Some(number as u64 + 1));
                    }
                },
                || {
                    insert(&region, &index, KEYS[before], 10).unwrap();
                    insert(&region, &index, KEYS[before + 1], 11).unwrap();
                },
            );
            assert_eq!(get(&index, KEYS[before], 99), Some(10));
        });
    }
}

#[test]
fn growth_loses_no_insert_beside_it() {
    for before in 2..5 {
        explore(move || {
            let (region, index) = empty();
            for (number, key) in KEYS[..before].iter().enumerate() {
                insert(&region, &index, key, number as u64 + 1).unwrap();
            }
            let region = Arc::new(region);
            let (region2, index2) = (Arc::clone(&region), Arc::clone(&index));
            both(
                move || insert(&region2, &index2, KEYS[before], 20).unwrap(),
                || {
                    // A newer version of what a split may be moving.
                    insert(&region, &index, KEYS[0], 21).unwrap();
                    insert(&region, &index, KEYS[before + 1], 22).unwrap();
                },
            );
            let seen = [KEYS[before], KEYS[0], KEYS[before + 1]].map(|key| get(&index, key, 99));
            assert_eq!(seen, [Some(20), Some(21), Some(22)]);
            assert_eq!((index.len(), get(&index, KEYS[0], 20)), (before + 3, Some(1)));
        });
    }
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn three_writers_leave_every_entry_once() {
    use kausal_index::Cursor;

    explore(|| {
        let (region, index) = empty();
        let region = Arc::new(region);
        let writers = [0_u64, 1, 2].map(|writer| {
            let (region, index) = (Arc::clone(&region), Arc::clone(&index));
            thread::spawn(move || {
                for (number, key) in KEYS.iter().enumerate() {
                    let seqno = 1 + number as u64 * 3 + writer;
                    insert(&region, &index, key, seqno).unwrap();
                    assert_eq!(get(&index, key, seqno), Some(seqno));
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(index.len(), 24);
        index.freeze(&region.writer()).unwrap();
        let mut cursor = index.cursor().unwrap();
        let mut more = cursor.seek_to_first().unwrap();
        for (number, key) in KEYS.iter().enumerate() {
            for writer in [2, 1, 0] {
                let entry = cursor.entry().unwrap();
                assert_eq!(
                    (more, entry.key, entry.seqno.get()),
                    (true, *key, 1 + number as u64 * 3 + writer)
                );
                more = cursor.next().unwrap();
            }
        }
        assert!(!more);
    });
}
