//! The hash index under a model checker: its table has one bucket of two slots a page here, so that two entries fill it
//! and the third makes it grow.
//!
//! | what it does | its models |
//! |---|---|
//! | publish an entry | `an_entry_is_seen_whole…`, `two_inserts…` |
//! | version look-up | `versions_are_sorted…`, `a_look_up_at_a_version…` |
//! | grow: split a bucket, or move records beside it | `growth_hides_no_entry…`, `growth_loses_no_insert…` |
//! | freeze | `an_order_is_seen_whole…` |
//!
//! ```console
//! $ cargo xtask model loom --crate kausal-index
//! $ cargo xtask model shuttle --crate kausal-index
//! ```
//!
//! Without a model checker all run on real threads. Each planted defect must be found: `--planted hash_publish_relaxed` (a
//! node is published without Release) and `--planted hash_reuse_before_depth` (a split frees a slot before look-ups are told
//! where its word has gone).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod explore;

use std::sync::Arc;

use explore::Bound::{All, Preemptions};
use explore::{Witness, at_once, explore, permit};
use kausal_arena::{Permit, Region};
use kausal_index::{BlockIndex, Cursor, EntryRef, HashIndex, InsertError, Kind, SeqNo};

/// An index and its region, shared by the threads of one run.
struct Shared {
    index: HashIndex,
    region: Region,
}

/// An index that holds `keys`, with their places from 1 as numbers.
fn holding(keys: &[&[u8]]) -> Arc<Shared> {
    let region = kausal_arena::testing::region(1 << 20);
    let index = HashIndex::create(region.lease(), &region.writer()).unwrap();
    let shared = Shared { index, region };
    for (number, key) in (1..).zip(keys) {
        insert(&shared, key, number).unwrap();
    }
    Arc::new(shared)
}

fn entry(key: &[u8], number: u64) -> EntryRef<'_> {
    EntryRef { key, seqno: SeqNo::new(number).unwrap(), kind: Kind::Put, value: key }
}

/// An entry longer than a page: the table takes a step of growth for it, wherever it lies.
fn large(key: &'static [u8], number: u64) -> EntryRef<'static> {
    EntryRef { value: &LARGE, ..entry(key, number) }
}

const LARGE: [u8; 512] = [7; 512];

fn insert(shared: &Shared, key: &[u8], number: u64) -> Result<(), InsertError> {
    shared.index.insert(&shared.region.writer(), entry(key, number))
}

/// A thread that inserts `entries`, and then returns its permit.
fn writing<const N: usize>(
    shared: &Arc<Shared>,
    entries: [EntryRef<'static>; N],
) -> impl FnOnce() -> Permit + Send + 'static {
    let (shared, permit) = (Arc::clone(shared), permit(&shared.region));
    move || {
        entries.into_iter().for_each(|entry| shared.index.insert(permit.pen(), entry).unwrap());
        permit
    }
}

fn get(shared: &Shared, key: &[u8], at: u64) -> Option<u64> {
    let entry = shared.index.get(key, SeqNo::new(at).unwrap())?;
    assert!(entry.key == key && [key, &LARGE].contains(&entry.value), "an entry is seen whole");
    Some(entry.seqno.get())
}

fn versions(shared: &Shared, key: &[u8]) -> Vec<u64> {
    shared.index.versions(key, SeqNo::MAX).map(|entry| entry.seqno.get()).collect()
}

/// Nothing grows for the insert: who must go to another page to find a key would see its bytes by that alone. After four
/// large inserts a table has room for four more entries.
#[test]
fn an_entry_is_seen_whole_or_not_at_all() {
    let [one, other, third] = [0, 1, 2].map(|nth| letter(0, nth));
    let elsewhere = letter(1, 0);
    for (name, held, key) in [
        ("hash: bytes of an entry in a slot", [elsewhere; 4], one),
        ("hash: bytes of an entry in a record", [one, other, one, other], third),
        ("hash: bytes of a version", [elsewhere, one, elsewhere, elsewhere], one),
    ] {
        explore(name, All, &[None, Some(7)], move || {
            let (shared, witness) = (holding(&[]), Arc::new(Witness::new()));
            for (number, key) in (1..).zip(held) {
                shared.index.insert(&shared.region.writer(), large(key, number)).unwrap();
            }
            let (writer, reader) = (writing(&shared, [entry(key, 7)]), Arc::clone(&shared));
            let before = Arc::clone(&witness);
            let write = move || {
                before.write();
                writer()
            };
            // All versions, so that the links between them are followed.
            let new = move || versions(&reader, key).into_iter().find(|seen| *seen == 7);
            let (_, seen) = at_once(write, move || witness.of(new()));
            assert_eq!(get(&shared, key, 9), Some(7));
            seen
        });
    }
}

#[test]
fn two_inserts_of_one_entry_are_one_entry_and_one_duplicate() {
    explore("hash: equal positions", All, &[(false, true), (true, false)], || {
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
        assert_eq!((shared.index.len(), versions(&shared, b"k")), (1, vec![7]));
        assert!(shared.index.bytes().dead > 0);
        (one, other)
    });
}

#[test]
fn versions_are_sorted_whoever_comes_first() {
    explore("hash: two versions", All, &[()], || {
        let shared = holding(&[]);
        insert(&shared, b"k", 5).unwrap();
        let _permits = at_once(writing(&shared, [entry(b"k", 3)]), writing(&shared, [entry(b"k", 4)]));
        assert_eq!(versions(&shared, b"k"), [5, 4, 3]);
    });
}

/// One is linked between two others, one before them.
#[test]
fn a_look_up_at_a_version_sees_it_while_others_are_linked() {
    for (name, new, at, expected) in [
        ("hash: a version comes late, read at it", 4, 5, [Some(2), Some(4)]),
        ("hash: a version is pushed, the newest read", 8, 9, [Some(6), Some(8)]),
    ] {
        explore(name, All, &expected, move || {
            let shared = holding(&[]);
            insert(&shared, b"k", 2).unwrap();
            insert(&shared, b"k", 6).unwrap();
            let (writer, reader) = (writing(&shared, [entry(b"k", new)]), Arc::clone(&shared));
            let read = move || {
                let seen = get(&reader, b"k", at);
                assert_eq!(get(&reader, b"k", 3), Some(2));
                seen
            };
            let (_, seen) = at_once(writer, read);
            assert_eq!(get(&shared, b"k", at), Some(new));
            seen
        });
    }
}

/// The `nth` letter whose hash ends with these three bits, under the seed that a checker's tables have. By them a key is in
/// its page, and a split moves it or not.
fn letter(low: u32, nth: usize) -> &'static [u8] {
    const LETTERS: &[u8] =
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&()*+,-./:;<=>?@[]^_{|}~";
    const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
    let ends = |key: &&[u8]| xxhash_rust::xxh3::xxh3_64_with_seed(key, SEED) as u32 % 8 == low;
    LETTERS.chunks(1).filter(ends).nth(nth).unwrap()
}

/// A page that the next large insert splits: with the third key it is that of page 0 by the second bit, with the fourth
/// that of page 1. What has that bit moves. The first two keys lie in slots, the others in records.
struct Split {
    name: &'static str,
    lows: &'static [u32],
}

const SPLITS: [Split; 5] = [
    Split { name: "a slot and a record move", lows: &[2, 0, 2] },
    Split { name: "both slots move, a record into one", lows: &[2, 2, 0] },
    Split { name: "a record moves", lows: &[0, 0, 2] },
    Split { name: "the new page keeps records", lows: &[3, 3, 3, 1] },
    Split { name: "the old page keeps records", lows: &[1, 1, 1, 3] },
];

impl Split {
    fn keys(&self) -> Vec<&'static [u8]> {
        let same = |place: usize| self.lows[..place].iter().filter(|low| **low == self.lows[place]).count();
        (0..self.lows.len()).map(|place| letter(self.lows[place], same(place))).collect()
    }

    /// Splits the page. Its own key lies in another.
    fn grow(&self, number: u64) -> EntryRef<'static> {
        large(letter(1 - self.lows[0] % 2, 0), number)
    }

    /// New keys, of which this split moves the second.
    fn new_keys(&self) -> [&'static [u8]; 2] {
        let page = self.lows[0] % 2;
        [letter(page, 3), letter(page + 2, 3)]
    }
}

/// Each key, while its page is split and a slot that was freed is used again.
#[test]
fn growth_hides_no_entry_from_readers() {
    for split in &SPLITS {
        let keys = split.keys();
        for place in 0..keys.len() {
            let name = format!("hash: {}, key {place} is read", split.name);
            let keys = keys.clone();
            explore(&name, Preemptions(4), &[()], move || {
                let shared = holding(&keys);
                let [new, _] = split.new_keys();
                let (grow, reader) =
                    (writing(&shared, [split.grow(20), entry(new, 21)]), Arc::clone(&shared));
                let key = keys[place];
                let read = move || assert_eq!(get(&reader, key, 99), Some(place as u64 + 1));
                let _permits = at_once(grow, read);
                assert_eq!(
                    (get(&shared, new, 99), get(&shared, key, 99)),
                    (Some(21), Some(place as u64 + 1))
                );
            });
        }
    }
}

/// Newer versions of what stays and of what moves, and new keys on either side.
#[test]
fn growth_loses_no_insert_beside_it() {
    for split in &SPLITS {
        let keys = split.keys();
        for (what, beside) in ["its first key", "its last key", "a new key", "a new key that moves"]
            .into_iter()
            .zip([keys[0], keys[keys.len() - 1]].into_iter().chain(split.new_keys()))
        {
            let name = format!("hash: {}, beside an insert of {what}", split.name);
            let keys = keys.clone();
            explore(&name, Preemptions(3), &[()], move || {
                let shared = holding(&keys);
                let _permits =
                    at_once(writing(&shared, [split.grow(20)]), writing(&shared, [entry(beside, 22)]));
                assert_eq!(get(&shared, beside, 99), Some(22));
                for (number, key) in (1..).zip(&keys) {
                    assert_eq!(get(&shared, key, 19), Some(number));
                }
                assert_eq!(shared.index.len(), keys.len() + 2);
            });
        }
    }
}

const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];

/// Keys and numbers, in the order of a frozen index.
fn walk(index: &HashIndex) -> Option<Vec<(Vec<u8>, u64)>> {
    let mut cursor = index.cursor().ok()?;
    let mut seen = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        seen.push((entry.key.to_vec(), entry.seqno.get()));
        more = cursor.next().unwrap();
    }
    Some(seen)
}

#[test]
fn an_order_is_seen_whole_or_not_at_all() {
    explore("hash: freeze beside a walk", All, &[false, true], || {
        let shared = holding(&KEYS[..3]);
        let (freezer, reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let permit = permit(&shared.region);
        let freeze = move || {
            freezer.index.freeze(permit.pen()).unwrap();
            permit
        };
        let (_, seen) = at_once(freeze, move || walk(&reader.index));
        let all = walk(&shared.index).unwrap();
        assert_eq!(all, [(b"a".to_vec(), 1), (b"b".to_vec(), 2), (b"c".to_vec(), 3)]);
        assert!(seen.as_ref().is_none_or(|seen| *seen == all));
        seen.is_some()
    });
}

/// Too large for every interleaving; shuttle tries many, and real threads some.
#[cfg(not(loom))]
#[test]
fn three_writers_and_a_reader_miss_nothing() {
    use kausal_arena::sync::thread;

    explore("hash: three writers and a reader", All, &[()], || {
        let shared = holding(&[]);
        let writers = [0_u64, 1, 2].map(|writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for (number, key) in KEYS.iter().enumerate() {
                    let seqno = 1 + number as u64 * 3 + writer;
                    insert(&shared, key, seqno).unwrap();
                    assert_eq!(get(&shared, key, seqno), Some(seqno));
                }
            })
        });
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for key in KEYS {
                    let seen = versions(&shared, key);
                    assert!(seen.is_sorted_by(|left, right| left > right), "{seen:?}");
                    let later = versions(&shared, key);
                    assert!(seen.iter().all(|number| later.contains(number)), "{seen:?}, then {later:?}");
                }
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        assert_eq!(shared.index.len(), 24);
        shared.index.freeze(&shared.region.writer()).unwrap();
        let numbers = |number: u64| [2, 1, 0].map(|writer| 1 + number * 3 + writer);
        let all =
            (0..).zip(KEYS).flat_map(|(number, key)| numbers(number).map(|seqno| (key.to_vec(), seqno)));
        assert!(walk(&shared.index).unwrap().into_iter().eq(all));
    });
}
