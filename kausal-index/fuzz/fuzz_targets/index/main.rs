//! Random operations on an index, compared with the oracle `BTreeIndex` and with a map of bytes.
//!
//! 1. The first byte chooses the index, the rest becomes operations until it is used up.
//! 2. Each run takes the next generation of one region, so that the bytes of the run before lie in it.
//! 3. Every answer is compared at once, and at the end the whole walk.
//!
//! A cursor goes through all of it. What it meets after an insert may be as old as its last seek; so that answers can be
//! compared, it is first placed anew where it stands.
//!
//! `--cfg 'kausal_planted="index"'` runs indexes with a defect, which must be found: see `planted`.
#![no_main]
#![forbid(unsafe_code)]

#[cfg(kausal_planted = "index")]
mod planted;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;

use arbitrary::{Arbitrary, Unstructured};
use kausal_arena::{Region, RegionPool, Writer};
use kausal_index::{
    ArtIndex, BTreeIndex, BlockIndex, Cursor, Entry, EntryRef, HashIndex, InsertError, Kind, SeqNo,
    SkipListIndex, TreeIndex,
};
use libfuzzer_sys::fuzz_target;

const REGION_BYTES: usize = 1 << 20;

thread_local! {
    static POOL: RegionPool = kausal_arena::testing::pool(REGION_BYTES, 1);
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 5 {
        0 => drive::<Driven<SkipListIndex>>(rest),
        1 => drive::<Driven<HashIndex>>(rest),
        2 => drive::<Driven<ArtIndex>>(rest),
        3 => drive::<Driven<TreeIndex>>(rest),
        _ => drive::<Driven<BTreeIndex>>(rest),
    }
});

/// What is driven: the index as it ships.
#[cfg(not(kausal_planted = "index"))]
type Driven<I> = I;

/// What is driven: the index with a defect.
#[cfg(kausal_planted = "index")]
type Driven<I> = planted::Planted<I>;

/// A key of one of a few beginnings, because ties in a prefix are where indexes go wrong.
#[derive(Arbitrary, Clone, Debug)]
struct Key<'a> {
    beginning: u8,
    tail: &'a [u8],
}

impl Key<'_> {
    fn bytes(&self) -> Vec<u8> {
        let beginning: &[u8] = match self.beginning % 8 {
            0 | 1 => b"",
            2 => b"a",
            3 => b"seven..",
            4 => b"eight...",
            5 => b"eight...\0",
            6 => b"/a/path/that/is/common/to/many/keys/",
            _ => &[0xFF; 9],
        };
        [beginning, &self.tail[..self.tail.len().min(300)]].concat()
    }
}

#[derive(Arbitrary, Clone, Debug)]
struct New<'a> {
    key: Key<'a>,
    seqno: u8,
    kind: u8,
    value_bytes: u16,
}

impl New<'_> {
    fn entry(&self) -> Entry {
        // Most values are short, so that runs are long.
        let value_bytes = if self.value_bytes % 16 == 0 { self.value_bytes } else { self.value_bytes % 32 };
        let kind = Kind::from_u8(self.kind % 3).expect("three kinds");
        Entry {
            key: self.key.bytes(),
            seqno: number(u64::from(self.seqno) + 1),
            kind,
            value: vec![self.seqno; value_bytes.into()],
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Operation<'a> {
    Insert(New<'a>),
    /// On a pen that may be too short.
    InsertStarved(New<'a>, u8),
    InsertSorted(Vec<New<'a>>),
    Get(Key<'a>, u8),
    Versions(Key<'a>, u8),
    GetMany(Vec<Key<'a>>, u8),
    First,
    Last,
    Seek(Key<'a>, u8),
    SeekForPrev(Key<'a>, u8),
    Next,
    Prev,
    Freeze,
}

fn number(number: u64) -> SeqNo {
    SeqNo::new(number).expect("eight bits fit")
}

/// A snapshot: 0 for none, 255 for the newest.
fn at(byte: u8) -> SeqNo {
    if byte == u8::MAX { SeqNo::MAX } else { number(byte.into()) }
}

/// The model: positions to kind and value.
type Model = BTreeMap<(Vec<u8>, Reverse<SeqNo>), (Kind, Vec<u8>)>;

/// One run: the index, the oracle, the model.
struct Run<'run, I> {
    index: &'run I,
    oracle: &'run BTreeIndex,
    model: Model,
    region: &'run Region,
    pen: Writer,
    frozen: bool,
}

fn drive<I: BlockIndex>(data: &[u8]) {
    POOL.with(|pool| {
        let region = pool.coordinator().take().expect("the last run's index is gone");
        let pen = region.writer();
        let index = I::create(region.lease(), &pen).expect("an empty region has room for an empty index");
        let oracle = BTreeIndex::create(region.lease(), &pen).expect("the oracle takes nothing");
        Run { index: &index, oracle: &oracle, model: Model::new(), region: &region, pen, frozen: false }
            .go(data);
        drop((index, region));
        drop(oracle);
        assert_eq!(pool.coordinator().free_count(), 1, "nothing outlives the index");
    });
}

impl<I: BlockIndex> Run<'_, I> {
    fn go(&mut self, data: &[u8]) {
        let (index, oracle) = (self.index, self.oracle);
        let mut cursor = index.cursor().ok();
        assert_eq!(cursor.is_some(), I::ORDERED_WHILE_LIVE);
        let mut guide = oracle.cursor().expect("the oracle is always ordered");
        let mut unstructured = Unstructured::new(data);
        while !unstructured.is_empty() {
            let Ok(operation) = Operation::arbitrary(&mut unstructured) else { break };
            match &operation {
                Operation::Freeze => {
                    self.freeze();
                    cursor = cursor.or_else(|| index.cursor().ok());
                    let Ok(_) = guide.seek_to_first();
                    cursor.as_mut().map(Cursor::seek_to_first);
                }
                _ if self.change(&operation) => {
                    if let Some(cursor) = &cursor {
                        assert_eq!(cursor.entry(), guide.entry(), "inserts move no cursor");
                    }
                }
                _ if self.look_up(&operation) => {}
                _ => {
                    if let Some(cursor) = &mut cursor {
                        let there = step(cursor, &operation);
                        assert_eq!(there, step(&mut guide, &operation), "{operation:?}");
                        assert_eq!(cursor.entry(), guide.entry(), "{operation:?}");
                    }
                }
            }
        }
        self.check_all();
    }

    fn freeze(&mut self) {
        if !self.frozen {
            // A full region may refuse; the index is still readable then.
            self.frozen = self.index.freeze(&self.pen).is_ok();
        }
    }

    /// Inserts, if `operation` says so.
    fn change(&mut self, operation: &Operation<'_>) -> bool {
        let is_change = matches!(
            operation,
            Operation::Insert(_) | Operation::InsertStarved(..) | Operation::InsertSorted(_)
        );
        if !is_change || self.frozen {
            return is_change;
        }
        match operation {
            Operation::Insert(new) => {
                let entry = new.entry();
                let answer = self.index.insert(&self.pen, entry.as_ref());
                self.follow(&entry, answer);
            }
            Operation::InsertStarved(new, bytes) => {
                let Ok(permit) = self.region.permit(usize::from(*bytes)) else { return true };
                let entry = new.entry();
                let answer = self.index.insert(permit.pen(), entry.as_ref());
                self.follow(&entry, answer);
            }
            Operation::InsertSorted(news) => {
                self.insert_sorted(news.iter().take(64).map(New::entry).collect())
            }
            _ => {}
        }
        assert_eq!(self.index.len(), self.model.len());
        true
    }

    fn insert_sorted(&mut self, mut entries: Vec<Entry>) {
        entries.sort_by(|left, right| left.as_ref().cmp_position(&right.key, right.seqno));
        let answer = self.index.insert_sorted(&self.pen, entries.iter().map(Entry::as_ref));
        for entry in &entries {
            let is_held = self.model.contains_key(&(entry.key.clone(), Reverse(entry.seqno)));
            match &answer {
                // Everything up to the first duplicate is there.
                Err(InsertError::Duplicate(seqno)) if is_held => {
                    assert_eq!(*seqno, entry.seqno);
                    return;
                }
                Err(InsertError::Alloc(_))
                    if self.index.get(&entry.key, entry.seqno) != Some(entry.as_ref()) =>
                {
                    return;
                }
                _ => self.follow(entry, Ok(())),
            }
        }
        assert!(
            !matches!(answer, Err(InsertError::Duplicate(_))),
            "a duplicate is reported, and there is none"
        );
    }

    /// Lets oracle and model follow an insert that was answered with `answer`.
    fn follow(&mut self, entry: &Entry, answer: Result<(), InsertError>) {
        let position = (entry.key.clone(), Reverse(entry.seqno));
        let is_held = self.model.contains_key(&position);
        match answer {
            Ok(()) => {
                assert!(!is_held, "{entry:?} is taken twice");
                self.oracle.insert(&self.pen, entry.as_ref()).expect("the oracle agrees with the model");
                self.model.insert(position, (entry.kind, entry.value.clone()));
            }
            Err(InsertError::Duplicate(seqno)) => {
                assert!(is_held && seqno == entry.seqno, "{entry:?} is no duplicate")
            }
            Err(InsertError::Alloc(_)) => {
                let found =
                    self.index.get(&entry.key, entry.seqno).filter(|found| found.seqno == entry.seqno);
                assert_eq!(found.is_some(), is_held, "{entry:?} was refused");
            }
            Err(error) => panic!("{entry:?} is refused with: {error}"),
        }
    }

    /// Looks up, if `operation` says so.
    fn look_up(&self, operation: &Operation<'_>) -> bool {
        match operation {
            Operation::Get(key, seqno) => {
                let (key, at) = (key.bytes(), at(*seqno));
                assert_eq!(self.index.get(&key, at), self.expected(&key, at).next());
                assert_eq!(self.index.get(&key, at), self.oracle.get(&key, at));
            }
            Operation::Versions(key, seqno) => {
                let (key, at) = (key.bytes(), at(*seqno));
                assert!(self.index.versions(&key, at).eq(self.expected(&key, at)));
                assert!(self.index.versions(&key, at).eq(self.oracle.versions(&key, at)));
            }
            Operation::GetMany(keys, seqno) => {
                let (keys, at) = (keys.iter().map(Key::bytes).collect::<Vec<_>>(), at(*seqno));
                let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
                let mut next = 0;
                self.index.get_many(&keys, at, |place, found| {
                    assert_eq!(place, next);
                    assert_eq!(found, self.expected(keys[place], at).next());
                    next += 1;
                });
                assert_eq!(next, keys.len());
            }
            _ => return false,
        }
        true
    }

    /// The versions of `key` at or below `at`, by the model.
    fn expected(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let (from, upto) = ((key.to_vec(), Reverse(at)), (key.to_vec(), Reverse(SeqNo::ZERO)));
        self.model.range(from..upto).map(as_entry)
    }

    fn check_all(&mut self) {
        self.freeze();
        let bytes = self.index.bytes();
        assert!(bytes.live + bytes.dead + bytes.slack <= self.region.used() || !I::IN_ARENA, "{bytes:?}");
        let Ok(mut cursor) = self.index.cursor() else {
            assert!(!self.frozen, "a frozen index has a cursor");
            return;
        };
        let Ok(mut more) = cursor.seek_to_first();
        for expected in self.model.iter().map(as_entry) {
            assert!(more);
            assert_eq!(cursor.entry(), Some(expected));
            Ok(more) = cursor.next();
        }
        assert!(!more && cursor.entry().is_none());
    }
}

fn as_entry<'m>(
    ((key, seqno), (kind, value)): (&'m (Vec<u8>, Reverse<SeqNo>), &'m (Kind, Vec<u8>)),
) -> EntryRef<'m> {
    EntryRef { key, seqno: seqno.0, kind: *kind, value }
}

/// Moves `cursor`, and answers whether it stands on an entry.
fn step(cursor: &mut impl Cursor<Error = Infallible>, operation: &Operation<'_>) -> bool {
    if let (Operation::Next | Operation::Prev, Some(here)) =
        (operation, cursor.entry().map(|entry| entry.to_owned()))
    {
        let Ok(there) = cursor.seek(&here.key, here.seqno);
        assert!(there && cursor.entry() == Some(here.as_ref()), "what a cursor stood on is still there");
    }
    let Ok(there) = match operation {
        Operation::First => cursor.seek_to_first(),
        Operation::Last => cursor.seek_to_last(),
        Operation::Seek(key, seqno) => cursor.seek(&key.bytes(), at(*seqno)),
        Operation::SeekForPrev(key, seqno) => cursor.seek_for_prev(&key.bytes(), at(*seqno)),
        Operation::Next => cursor.next(),
        _ => cursor.prev(),
    };
    there
}
