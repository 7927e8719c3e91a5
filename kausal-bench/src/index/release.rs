//! What it costs to give an index back, in instructions: the same with a thousand entries and with a million.
//!
//! A child below callgrind fills an index in a region of a pool, and drops index and region: nothing of what the entries
//! were is looked at, and the region is back in its pool.

use std::hint::black_box;

use fastrand::Rng;
use kausal_arena::{Budget, Region, RegionPool};
use kausal_index::{ArtIndex, BlockIndex, EntryRef, HashIndex, Kind, SeqNo, SkipListIndex, TreeIndex};

use crate::arena::counts;
use crate::options::Options;
use crate::row::Row;

const FEW: usize = 1000;
const MANY: usize = 1_000_000;

/// Room for a million small entries in any index.
const REGION_BYTES: usize = 256 << 20;

const INDEXES: [&str; 4] = ["TreeIndex", "ArtIndex", "HashIndex", "SkipListIndex"];

/// Instructions of a release with few and with many entries, and their difference, which must be none.
pub fn instructions(workload: &str, options: &Options) -> Vec<Row> {
    counts::with("valgrind", || {
        let mut rows = Vec::new();
        for index in INDEXES.into_iter().filter(|index| options.wants_subject(index)) {
            options.progress(workload, index);
            let count = |entries: usize| counts::counted(&["release", index, &entries.to_string()]);
            let (few, many) = (("entries_1000", count(FEW)?), ("entries_1000000", count(MANY)?));
            rows.extend(counts::growth(workload, index, few, many));
        }
        Some(rows)
    })
}

/// What the child does; `None` if there is no such index.
pub fn run(index: &str, entries: usize) -> Option<()> {
    match index {
        "TreeIndex" => release::<TreeIndex>(entries),
        "ArtIndex" => release::<ArtIndex>(entries),
        "HashIndex" => release::<HashIndex>(entries),
        "SkipListIndex" => release::<SkipListIndex>(entries),
        _ => return None,
    }
    Some(())
}

fn release<I: BlockIndex>(entries: usize) {
    let pool =
        RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, 1, || {}).expect("memory for a benchmark");
    let take = || pool.coordinator().take().expect("the region has come back");
    // The first return of a process is not like the others.
    drop(take());
    let region = take();
    let index = filled::<I>(&region, entries);
    counted_by_callgrind_release(index, region);
}

fn filled<I: BlockIndex>(region: &Region, entries: usize) -> I {
    let pen = region.writer();
    let index = I::create(region.lease(), &pen).expect("an empty region has room for an index");
    let mut rng = Rng::with_seed(1);
    for number in 1..=entries as u64 {
        let (key, seqno) = (rng.u64(..).to_be_bytes(), SeqNo::new(number).expect("far below 2^56"));
        index
            .insert(&pen, EntryRef { key: &key, seqno, kind: Kind::Put, value: &number.to_le_bytes() })
            .expect("the region has room for all");
    }
    index
}

#[inline(never)]
fn counted_by_callgrind_release<I>(index: I, region: Region) {
    drop(black_box(index));
    drop(black_box(region));
}
