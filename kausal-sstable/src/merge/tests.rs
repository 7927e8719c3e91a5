//! Tests of the merging cursor: whatever is asked of it, it answers as one sorted list would.

use std::cell::Cell;
use std::rc::Rc;

use kausal_index::{Entry, EntryRef, Kind};
use proptest::prelude::*;

use super::*;

/// A sorted list as a cursor: the obvious implementation of the laws.
#[derive(Clone, Debug, Default)]
struct List {
    entries: Vec<Entry>,
    place: Option<usize>,
    /// Movements of all lists until one fails.
    until_failure: Rc<Cell<Option<usize>>>,
}

impl List {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|left, right| left.as_ref().cmp_position(&right.key, right.seqno));
        Self { entries, ..Self::default() }
    }

    fn stand(&mut self, place: Option<usize>) -> Result<bool, &'static str> {
        match self.until_failure.get() {
            Some(0) => {
                self.until_failure.set(None);
                return Err("planned");
            }
            left => self.until_failure.set(left.map(|left| left - 1)),
        }
        self.place = place.filter(|&place| place < self.entries.len());
        Ok(self.place.is_some())
    }

    /// Entries before (`key`, `at`).
    fn before(&self, key: &[u8], at: SeqNo, or_at: bool) -> usize {
        self.entries.partition_point(|entry| match entry.as_ref().cmp_position(key, at) {
            Ordering::Equal => or_at,
            order => order == Ordering::Less,
        })
    }
}

impl Cursor for List {
    type Error = &'static str;

    fn seek_to_first(&mut self) -> Result<bool, &'static str> {
        self.stand(Some(0))
    }

    fn seek_to_last(&mut self) -> Result<bool, &'static str> {
        self.stand(self.entries.len().checked_sub(1))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, &'static str> {
        self.stand(Some(self.before(key, at, false)))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, &'static str> {
        self.stand(self.before(key, at, true).checked_sub(1))
    }

    fn next(&mut self) -> Result<bool, &'static str> {
        self.stand(self.place.map(|place| place + 1))
    }

    fn prev(&mut self) -> Result<bool, &'static str> {
        self.stand(self.place.and_then(|place| place.checked_sub(1)))
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        Some(self.entries[self.place?].as_ref())
    }
}

#[derive(Clone, Debug)]
enum Step {
    First,
    Last,
    Seek(Vec<u8>, u64),
    SeekForPrev(Vec<u8>, u64),
    Next,
    Prev,
    /// Over so many entries.
    Walk(usize),
}

impl Step {
    /// Where the cursor stands then, and what it was walked over.
    fn take<C: Cursor>(&self, cursor: &mut C) -> Result<(bool, Vec<Entry>), C::Error> {
        let mut seen = Vec::new();
        let stands = match self {
            Self::First => cursor.seek_to_first(),
            Self::Last => cursor.seek_to_last(),
            Self::Seek(key, at) => cursor.seek(key, SeqNo::new(*at).unwrap()),
            Self::SeekForPrev(key, at) => cursor.seek_for_prev(key, SeqNo::new(*at).unwrap()),
            Self::Next => cursor.next(),
            Self::Prev => cursor.prev(),
            Self::Walk(count) => cursor.walk(|entry| {
                seen.push(entry.to_owned());
                seen.len() <= *count
            }),
        }?;
        Ok((stands, seen))
    }
}

/// Keys that are equal, that begin alike, that are shorter than a rank, and the highest rank there is.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0..3_u8, 0..4),
        (0..4_u8).prop_map(|last| [b"a common beginning".as_slice(), &[last]].concat()),
        (0..3_usize).prop_map(|more| vec![0xFF; 7 + more]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::First),
        1 => Just(Step::Last),
        2 => (key(), 0..60_u64).prop_map(|(key, at)| Step::Seek(key, at)),
        2 => (key(), 0..60_u64).prop_map(|(key, at)| Step::SeekForPrev(key, at)),
        6 => Just(Step::Next),
        5 => Just(Step::Prev),
        3 => (0..20_usize).prop_map(Step::Walk),
    ]
}

/// As many sources as asked for, and the list of all their entries.
fn sources(count: usize, keys: &[(Vec<u8>, usize)]) -> (Vec<List>, List) {
    let entries: Vec<Entry> = keys
        .iter()
        .zip(1..)
        .map(|((key, _), number)| {
            let seqno = SeqNo::new(number).unwrap();
            Entry { key: key.clone(), seqno, kind: Kind::Put, value: number.to_le_bytes().to_vec() }
        })
        .collect();
    let of_source = |source: usize| {
        let belongs = |&place: &usize| keys[place].1 % count == source;
        List::new((0..keys.len()).filter(belongs).map(|place| entries[place].clone()).collect())
    };
    ((0..count).map(of_source).collect(), List::new(entries))
}

proptest! {
    #[test]
    fn a_merge_is_the_sorted_list_of_all_entries(
        count in 1..9_usize,
        keys in prop::collection::vec((key(), any::<usize>()), 0..60),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (sources, mut model) = sources(count, &keys);
        let mut merge = MergingCursor::new(sources);
        prop_assert!(merge.entry().is_none());
        for step in steps {
            prop_assert_eq!(step.take(&mut merge), step.take(&mut model), "{:?}", step);
            prop_assert_eq!(merge.entry(), model.entry(), "{:?}", step);
        }
    }

    #[test]
    fn a_merge_whose_source_failed_stands_nowhere_until_it_is_sent_somewhere(
        count in 1..6_usize,
        keys in prop::collection::vec((key(), any::<usize>()), 1..30),
        steps in prop::collection::vec(step(), 1..30),
        until_failure in 0..40_usize,
    ) {
        let (mut sources, mut model) = sources(count, &keys);
        let failure = Rc::new(Cell::new(Some(until_failure)));
        sources.iter_mut().for_each(|source| source.until_failure = Rc::clone(&failure));
        let mut merge = MergingCursor::new(sources);
        for step in steps {
            if step.take(&mut merge).is_err() {
                prop_assert!(merge.entry().is_none());
                prop_assert_eq!((merge.next(), merge.prev(), merge.entry()), (Ok(false), Ok(false), None));
                break;
            }
        }
        failure.set(None);
        for step in [Step::First, Step::Next, Step::Prev, Step::Last, Step::Prev] {
            prop_assert_eq!(step.take(&mut merge), step.take(&mut model));
            prop_assert_eq!(merge.entry(), model.entry());
        }
    }
}

#[test]
fn a_merge_of_nothing_has_nothing() {
    let mut merge = MergingCursor::new(Vec::<List>::new());
    for step in [Step::Next, Step::First, Step::Walk(3), Step::Next, Step::Last, Step::Prev] {
        assert_eq!((step.take(&mut merge), merge.entry()), (Ok((false, Vec::new())), None));
    }
}

/// Runs of 1 to 9 keys of one source, as levels and ranges of ascending writes leave them.
#[test]
fn runs_are_walked_and_turned_in_at_every_place() {
    let number = |place: usize| (place as u32).to_be_bytes().to_vec();
    let source = |place: usize| (place * 7 / 32 + place / 9) % 5;
    let keys: Vec<(Vec<u8>, usize)> = (0..400).map(|place| (number(place), source(place))).collect();
    let (sources, mut model) = sources(5, &keys);
    let mut merge = MergingCursor::new(sources);
    let walk = Step::Walk(keys.len());
    assert_eq!(
        (Step::First.take(&mut merge), walk.take(&mut merge)),
        (Step::First.take(&mut model), walk.take(&mut model))
    );
    for way in [[Step::First, Step::Next, Step::Prev], [Step::Last, Step::Prev, Step::Next]] {
        let [start, on, back] = way;
        assert_eq!(start.take(&mut merge), start.take(&mut model));
        while model.entry().is_some() {
            assert_eq!(merge.entry(), model.entry());
            for step in [&on, &back, &on, &Step::Walk(0)] {
                assert_eq!(step.take(&mut merge), step.take(&mut model));
                assert_eq!(merge.entry(), model.entry());
                if model.entry().is_none() {
                    break;
                }
            }
        }
    }
}
