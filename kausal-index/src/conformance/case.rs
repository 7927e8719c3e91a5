//! What a law is tried on: a starting state, entries, and numbers for the law's own choices.

use std::collections::HashSet;
use std::fmt;

use proptest::prelude::*;

use crate::conformance::model::shown;
use crate::entry::{Entry, Kind, SeqNo};

/// What the region below the index has been through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Never used.
    Fresh,
    /// In its second generation; the bytes of the first are still there.
    SecondGeneration,
    /// Nearly full: others have used it, and the index gets the end of it.
    NearlyFull,
}

/// One random case.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) start: Start,
    /// Entries that are in the index before the case begins, so that it has grown a few levels.
    pub(super) loaded: usize,
    /// In the order in which they are inserted. Positions may come twice; see [`Case::unique`].
    pub(super) entries: Vec<Entry>,
    /// For the law to choose with.
    pub(super) picks: Vec<u32>,
}

impl Case {
    /// The entries that are there before the case begins.
    pub(super) fn preloaded(&self) -> impl Iterator<Item = Entry> {
        (0..self.loaded).map(|number| Entry {
            // An odd factor permutes the numbers of 16 bits, so they come in no order and none twice.
            key: [b"loaded/".as_slice(), &(number as u16).wrapping_mul(40_503).to_be_bytes()].concat(),
            seqno: SeqNo::new(1 + number as u64).expect("small"),
            kind: Kind::Put,
            value: vec![number as u8; number % 24],
        })
    }

    /// The entries without those whose position came before.
    pub(super) fn unique(&self) -> Vec<Entry> {
        let mut seen: HashSet<_> = self.preloaded().map(|entry| (entry.key, entry.seqno)).collect();
        let new = |entry: &&Entry| seen.insert((entry.key.clone(), entry.seqno));
        self.entries.iter().filter(new).cloned().collect()
    }

    /// A number of the law's own choosing, below `bound`.
    pub(super) fn pick(&self, place: usize, bound: usize) -> usize {
        match self.picks.get(place % self.picks.len().max(1)) {
            Some(pick) => *pick as usize % bound.max(1),
            None => 0,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, loaded, entries, picks } = self;
        let entries: Vec<_> = entries.iter().map(|entry| shown(Some(entry.as_ref()))).collect();
        write!(out, "{start:?}, {loaded} loaded, entries [{}], picks {picks:?}", entries.join(", "))
    }
}

/// Keys that make comparisons hard: empty, zeros at the end, prefixes of each other, long common prefixes.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let under = |prefix: &'static [u8]| {
        proptest::collection::vec(0..3_u8, 0..4).prop_map(move |tail| [prefix, &tail].concat())
    };
    prop_oneof![
        4 => proptest::collection::vec(0..3_u8, 0..5),
        2 => proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x7F), Just(0x80), Just(0xFF)], 0..11),
        2 => (0..40_usize).prop_map(|len| vec![b'a'; len]),
        2 => under(b"users/"),
        2 => under(b"12345678"),
        2 => under(b"a common prefix of paths/and more of it/"),
        2 => (0..60_u8).prop_map(|last| [b"/var/lib/kausal/".as_slice(), &[last]].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
        1 => proptest::collection::vec(any::<u8>(), 200..400),
    ]
}

fn seqnos() -> impl Strategy<Value = SeqNo> {
    let near_max = (0..4_u64).prop_map(|back| SeqNo::MAX.get() - back);
    prop_oneof![6 => 1..8_u64, 6 => 1..300_u64, 1 => near_max]
        .prop_map(|number| SeqNo::new(number).expect("in range"))
}

fn entries(count: usize) -> impl Strategy<Value = Vec<Entry>> {
    let value = prop_oneof![
        2 => Just(Vec::new()),
        8 => proptest::collection::vec(any::<u8>(), 0..24),
        1 => (any::<u8>(), 100..3000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let kind = prop_oneof![1 => Just(Kind::Delete), 6 => Just(Kind::Put), 1 => Just(Kind::Blob)];
    let entry = (keys(), seqnos(), kind, value).prop_map(|(key, seqno, kind, value)| {
        let value = if kind == Kind::Delete { Vec::new() } else { value };
        Entry { key, seqno, kind, value }
    });
    proptest::collection::vec(entry, 0..count)
}

/// Cases of at most `count` entries, over at most `loaded` others.
pub(super) fn cases(count: usize, loaded: usize) -> impl Strategy<Value = Case> {
    let start = prop_oneof![2 => Just(Start::Fresh), 1 => Just(Start::SecondGeneration), 1 => Just(Start::NearlyFull)];
    let loaded =
        prop_oneof![12 => Just(0_usize), 4 => 1..200_usize, 2 => 200..1500_usize, 1 => 4500..6000_usize]
            .prop_map(move |count| count.min(loaded));
    (start, loaded, entries(count), proptest::collection::vec(any::<u32>(), 1..60))
        .prop_map(|(start, loaded, entries, picks)| Case { start, loaded, entries, picks })
}
