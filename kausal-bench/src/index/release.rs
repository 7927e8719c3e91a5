//! What it costs to give an index back, in instructions: the same with a thousand entries and with a million.
//!
//! A child below callgrind fills an index in a region of a pool, and drops index and region: nothing of what the entries
//! were is looked at, and the region is back in its pool.

use std::hint::black_box;

use fastrand::Rng;
use kausal_arena::{Budget, Region, RegionPool, Writer};
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

/// What the child does; `None` if there is no such index, or no room.
pub fn run(index: &str, entries: usize) -> Option<()> {
    match index {
        "TreeIndex" => release::<TreeIndex>(entries),
        "ArtIndex" => release::<ArtIndex>(entries),
        "HashIndex" => release::<HashIndex>(entries),
        "SkipListIndex" => release::<SkipListIndex>(entries),
        _ => None,
    }
}

fn release<I: BlockIndex>(entries: usize) -> Option<()> {
    let pool = pool()?;
    // The first return of a process is not like the others.
    drop(pool.coordinator().take().ok()?);
    let region = pool.coordinator().take().ok()?;
    let index: I = filled(&region, &keys(entries, &mut Rng::with_seed(1)))?;
    counted_by_callgrind_release(index, region);
    Some(())
}

/// One region, with room for the entries of any index; `None` if the system has no memory for it.
pub fn pool() -> Option<RegionPool> {
    RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, 1, || {}).ok()
}

/// Random keys.
pub fn keys(count: usize, rng: &mut Rng) -> Vec<[u8; 8]> {
    std::iter::repeat_with(|| rng.u64(..).to_be_bytes()).take(count).collect()
}

/// An index of `keys`; `None` if there are more than the region has room for.
pub fn filled<I: BlockIndex>(region: &Region, keys: &[[u8; 8]]) -> Option<I> {
    let pen = region.writer();
    let index = I::create(region.lease(), &pen).ok()?;
    insert(&index, &pen, keys, 1)?;
    Some(index)
}

/// Inserts `keys`, numbered from `first` on; `None` as for [`filled`].
pub fn insert<I: BlockIndex>(index: &I, pen: &Writer, keys: &[[u8; 8]], first: u64) -> Option<()> {
    for (number, key) in (first..).zip(keys) {
        let (seqno, value) = (SeqNo::new(number)?, number.to_le_bytes());
        index.insert(pen, EntryRef { key, seqno, kind: Kind::Put, value: &value }).ok()?;
    }
    Some(())
}

#[inline(never)]
fn counted_by_callgrind_release<I>(index: I, region: Region) {
    drop(black_box(index));
    drop(black_box(region));
}
