//! Merges of sorted lists: the merging cursor against a binary heap over the same cursors.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::convert::Infallible;
use std::hint::black_box;

use fastrand::Rng;
use kausal_index::{Cursor, EntryRef, Kind, SeqNo};
use kausal_sstable::MergingCursor;

use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, timed};

/// Lists that are merged.
const SOURCES: [usize; 3] = [4, 16, 64];

/// Keys that a list has one after the other where it has runs.
const RUN: usize = 16;

/// Sources of the merge of runs.
const SOURCES_OF_RUNS: usize = 16;

const ENTRIES: usize = 400_000;
const ENTRIES_QUICK: usize = 40_000;

/// Bytes of a key: a random number, and as many fixed bytes.
const KEY_BYTES: usize = 16;

/// A sorted list of keys as a cursor: as little work of its own as can be.
#[derive(Clone)]
struct List {
    keys: Vec<[u8; KEY_BYTES]>,
    place: usize,
}

impl List {
    #[inline]
    fn stand(&mut self, place: usize) -> Result<bool, Infallible> {
        self.place = place;
        Ok(place < self.keys.len())
    }
}

impl Cursor for List {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.stand(0)
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.stand(self.keys.len().wrapping_sub(1))
    }

    fn seek(&mut self, key: &[u8], _: SeqNo) -> Result<bool, Infallible> {
        self.stand(self.keys.partition_point(|other| other.as_slice() < key))
    }

    fn seek_for_prev(&mut self, key: &[u8], _: SeqNo) -> Result<bool, Infallible> {
        self.stand(self.keys.partition_point(|other| other.as_slice() <= key).wrapping_sub(1))
    }

    #[inline]
    fn next(&mut self) -> Result<bool, Infallible> {
        self.stand(self.place + 1)
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        self.stand(self.place.wrapping_sub(1))
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let key = self.keys.get(self.place)?;
        Some(EntryRef { key, seqno: SeqNo::MAX, kind: Kind::Put, value: &[] })
    }
}

/// A source in a heap whose largest is the one to come first.
struct Waiting(List);

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0.entry(), other.0.entry()) {
            (Some(left), Some(right)) => right.cmp_position(left.key, left.seqno),
            (left, right) => left.is_some().cmp(&right.is_some()),
        }
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

/// A number that the order of the keys decides.
fn mixed(sum: u64, key: &[u8]) -> u64 {
    let front = key.first_chunk().map_or(0, |front| u64::from_be_bytes(*front));
    sum.rotate_left(5) ^ front
}

fn by_tree(lists: Vec<List>) -> u64 {
    let mut merge = MergingCursor::new(lists);
    let Ok(mut more) = merge.seek_to_first();
    let mut sum = 0;
    while more {
        sum = merge.entry().map_or(sum, |entry| mixed(sum, entry.key));
        let Ok(stands) = merge.next();
        more = stands;
    }
    sum
}

fn by_heap(lists: Vec<List>) -> u64 {
    let mut heap: BinaryHeap<Waiting> = lists.into_iter().map(Waiting).collect();
    let mut sum = 0;
    while let Some(mut first) = heap.peek_mut() {
        match first.0.entry() {
            Some(entry) => sum = mixed(sum, entry.key),
            None => {
                PeekMut::pop(first);
                continue;
            }
        }
        let Ok(_) = first.0.next();
    }
    sum
}

/// Merges of the sizes asked for, each by the tree and by the heap in turns.
pub fn run(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    let of_runs = (format!("merge_runs/{SOURCES_OF_RUNS}"), SOURCES_OF_RUNS, RUN);
    for (workload, sources, run) in
        SOURCES.map(|sources| (format!("merge/{sources}"), sources, 1)).into_iter().chain([of_runs])
    {
        if options.wants(&workload) && options.wants_subject("MergingCursor") {
            options.progress(&workload, "MergingCursor, BinaryHeap");
            rows.extend(merges(options, &workload, (sources, run)));
        }
    }
    rows
}

fn merges(options: &Options, workload: &str, (sources, run): (usize, usize)) -> Vec<Row> {
    let entries = if options.quick { ENTRIES_QUICK } else { ENTRIES };
    let lists = lists(sources, run, entries, options.seed);
    let ways = [by_tree, by_heap];
    assert_eq!(by_tree(lists.clone()), by_heap(lists.clone()), "the same entries in the same order");
    let nanos = medians(ways.len(), options.rounds.unwrap_or(9), |way| {
        let lists = lists.clone();
        timed(|| _ = black_box(ways[way](lists))) / entries as f64
    });
    let ours = Row::lower(workload, "MergingCursor", "step", nanos[0], "ns");
    let heap = Row::lower(workload, "BinaryHeap", "step", nanos[1], "ns");
    vec![ours.against(&heap, Some(1.2)), ours, heap]
}

/// Random keys in order, dealt out `run` at a time to a list chosen at random.
fn lists(sources: usize, run: usize, entries: usize, seed: u64) -> Vec<List> {
    let mut random = Rng::with_seed(seed);
    let mut lists = vec![List { keys: Vec::new(), place: 0 }; sources];
    let mut numbers: Vec<u64> = (0..entries).map(|_| random.u64(..)).collect();
    numbers.sort_unstable();
    for of_run in numbers.chunks(run) {
        let list = random.usize(0..sources);
        lists[list].keys.extend(of_run.iter().map(|number| {
            let mut key = [7; KEY_BYTES];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        }));
    }
    lists
}
