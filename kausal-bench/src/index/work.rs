//! How the work of an operation grows with the entries, in instructions: what time says, without what caches do to it.
//!
//! A child below callgrind fills an index, and then inserts or looks up ten thousand random keys. The logarithm of the
//! largest number of entries is 1.5 times that of the smallest: an ordered index may grow as much, the hash may not grow.

use std::hint::black_box;

use fastrand::Rng;
use kausal_arena::Writer;
use kausal_index::{ArtIndex, BlockIndex, HashIndex, SeqNo, SkipListIndex, TreeIndex};

use super::release;
use crate::arena::counts;
use crate::options::Options;
use crate::row::Row;

/// Entries that are there already.
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// Operations that are counted together.
const OPERATIONS: usize = 10_000;

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

/// What the child does; `None` if there is no such index or operation, or no room.
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
    let pool = release::pool()?;
    let region = pool.coordinator().take().ok()?;
    let mut rng = Rng::with_seed(1);
    let there = release::keys(entries, &mut rng);
    let index: I = release::filled(&region, &there)?;
    match operation {
        "insert" => {
            let more = release::keys(OPERATIONS, &mut rng);
            counted_by_callgrind_insert(&index, &region.writer(), &more, 1 + entries as u64)
        }
        "get" => {
            let sought: Vec<[u8; 8]> =
                std::iter::repeat_with(|| there[rng.usize(..entries)]).take(OPERATIONS).collect();
            counted_by_callgrind_get(&index, &sought)
        }
        _ => None,
    }
}

#[inline(never)]
fn counted_by_callgrind_insert<I: BlockIndex>(
    index: &I,
    pen: &Writer,
    keys: &[[u8; 8]],
    first: u64,
) -> Option<()> {
    release::insert(index, pen, black_box(keys), first)
}

#[inline(never)]
fn counted_by_callgrind_get<I: BlockIndex>(index: &I, keys: &[[u8; 8]]) -> Option<()> {
    for key in black_box(keys) {
        black_box(index.get(key, SeqNo::MAX)?);
    }
    Some(())
}
