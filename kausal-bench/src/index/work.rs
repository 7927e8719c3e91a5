//! How the work of an operation grows with the entries, in instructions: what time says, without what caches do to it.
//!
//! A child below callgrind fills an index, and then inserts or looks up ten thousand random keys. The logarithm of the
//! largest number of entries is 1.5 times that of the smallest: an ordered index may grow as much, the hash may not grow.

use std::hint::black_box;

use fastrand::Rng;
use kausal_arena::{Budget, RegionPool, Writer};
use kausal_index::{ArtIndex, BlockIndex, EntryRef, HashIndex, Kind, SeqNo, SkipListIndex, TreeIndex};

use crate::arena::counts;
use crate::options::Options;
use crate::row::Row;

/// Entries that are there already.
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// Operations that are counted together.
const OPERATIONS: usize = 10_000;

/// Room for the entries of any index.
const REGION_BYTES: usize = 256 << 20;

/// An index, and how much more work the largest size may be than the smallest.
const INDEXES: [(&str, f64); 4] =
    [("TreeIndex", 1.5), ("ArtIndex", 1.5), ("HashIndex", 1.1), ("SkipListIndex", 1.5)];

/// Instructions of one operation at each size, and the largest in ratio to the smallest.
pub fn instructions(workload: &str, options: &Options) -> Vec<Row> {
    counts::with("valgrind", || {
        let mut rows = Vec::new();
        for (index, growth_max) in INDEXES.into_iter().filter(|(index, _)| options.wants_subject(index)) {
            for operation in ["insert", "get"] {
                options.progress(workload, index);
                let row = |metric: String, value, unit| Row::lower(workload, index, &metric, value, unit);
                let mut counted = Vec::new();
                for entries in SIZES {
                    let sum = counts::counted(&["work", index, operation, &entries.to_string()])?;
                    counted.push(sum / OPERATIONS as f64);
                    rows.push(row(format!("{operation}_{entries}"), sum / OPERATIONS as f64, "instructions"));
                }
                let growth = counted[SIZES.len() - 1] / counted[0];
                rows.push(row(format!("{operation}_growth"), growth, "times").with_target(growth_max));
            }
        }
        Some(rows)
    })
}

/// What the child does; `None` if there is no such index or operation.
pub fn run(index: &str, operation: &str, entries: usize) -> Option<()> {
    match index {
        "TreeIndex" => work::<TreeIndex>(operation, entries),
        "ArtIndex" => work::<ArtIndex>(operation, entries),
        "HashIndex" => work::<HashIndex>(operation, entries),
        "SkipListIndex" => work::<SkipListIndex>(operation, entries),
        _ => None,
    }
}

fn work<I: BlockIndex>(operation: &str, entries: usize) -> Option<()> {
    let pool =
        RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, 1, || {}).expect("memory for a benchmark");
    let region = pool.coordinator().take().expect("the only region is free");
    let pen = region.writer();
    let index = I::create(region.lease(), &pen).expect("an empty region has room for an index");
    let mut rng = Rng::with_seed(1);
    let keys: Vec<[u8; 8]> = std::iter::repeat_with(|| rng.u64(..).to_be_bytes()).take(entries).collect();
    insert(&index, &pen, &keys, 1);
    let more: Vec<[u8; 8]> = std::iter::repeat_with(|| rng.u64(..).to_be_bytes()).take(OPERATIONS).collect();
    match operation {
        "insert" => counted_by_callgrind_insert(&index, &pen, &more, 1 + entries as u64),
        "get" => {
            let sought: Vec<[u8; 8]> =
                std::iter::repeat_with(|| keys[rng.usize(..entries)]).take(OPERATIONS).collect();
            counted_by_callgrind_get(&index, &sought);
        }
        _ => return None,
    }
    Some(())
}

fn insert<I: BlockIndex>(index: &I, pen: &Writer, keys: &[[u8; 8]], first: u64) {
    for (number, key) in (first..).zip(keys) {
        let (seqno, value) = (SeqNo::new(number).expect("far below 2^56"), number.to_le_bytes());
        let entry = EntryRef { key, seqno, kind: Kind::Put, value: &value };
        index.insert(pen, entry).expect("the region has room for all");
    }
}

#[inline(never)]
fn counted_by_callgrind_insert<I: BlockIndex>(index: &I, pen: &Writer, keys: &[[u8; 8]], first: u64) {
    insert(index, pen, black_box(keys), first);
}

#[inline(never)]
fn counted_by_callgrind_get<I: BlockIndex>(index: &I, keys: &[[u8; 8]]) {
    for key in black_box(keys) {
        let found = index.get(key, SeqNo::MAX).expect("every key was inserted");
        black_box(found);
    }
}
