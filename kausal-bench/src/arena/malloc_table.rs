//! A thousand allocations of one size and giving them back, against general purpose allocators.
//!
//! | measured | how |
//! |---|---|
//! | `obtain_1000` | a thousand allocations, nothing written: what the allocator itself does. The targets are for this |
//! | `allocate_1000_one_word` | the same with one word of each object written: its first cache miss is paid |
//! | `allocate_1000` | the same, wholly initialised: at 256 bytes and more the filling is most of it, for everybody |
//! | `give_back_1000` | a thousand frees in the order of allocation, against one reset of a used arena |
//!
//! One reset is near the cost of asking the clock, so that it is measured in a loop ([`reset_nanos`]): a pen is taken, one
//! object of 16 bytes allocated, the pen dropped, the arena reset; less the same loop without the reset. That a reset does
//! not depend on how much was used is shown by counting instructions ([`counts`](super::counts)).

use std::alloc::{GlobalAlloc, System};

use kausal_arena::{Arena, Budget, Retain};

use super::source::{fill, fill_partly, obtain};
use crate::heap::Blocks;
use crate::machine;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median, timed};

/// Allocations of the table.
const COUNT: usize = 1000;

/// Targets of a size: allocation against glibc and mimalloc.
const TARGETS: [(usize, f64, f64); 2] = [(16, 2.4, 1.2), (256, 4.5, 2.2)];

/// Target of giving back against glibc.
const RESET_TARGET: f64 = 200.0;

/// Nanoseconds, as in [`METRICS`].
type Sample = [f64; 4];

/// The metrics of a sample.
const METRICS: [&str; 4] = ["obtain_1000", "allocate_1000_one_word", "allocate_1000", "give_back_1000"];

/// All sizes.
pub fn run(options: &Options) -> Vec<Row> {
    let mut rows = size::<1>(options);
    rows.extend(size::<2>(options));
    rows.extend(size::<8>(options));
    rows.extend(size::<32>(options));
    rows.extend(size::<512>(options));
    rows
}

/// The table for objects of `WORDS` 64-bit words.
pub fn size<const WORDS: usize>(options: &Options) -> Vec<Row> {
    let workload = format!("malloc_table/{}", WORDS * 8);
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let rounds = rounds(options);
    let mut subjects: Vec<(String, Box<dyn FnMut() -> Sample>)> = vec![
        ("Arena".into(), Box::new(arena::<WORDS>(resets(options)))),
        (machine::libc_name(), Box::new(heap::<_, WORDS>(System))),
    ];
    subjects.extend(peers::all::<WORDS>());
    for (_, sample) in &mut subjects {
        sample();
    }
    let samples = interleaved(subjects.len(), rounds, |number| (subjects[number].1)());
    let mut rows = Vec::new();
    for (place, metric) in METRICS.into_iter().enumerate() {
        let own = subjects.iter().zip(&samples).map(|((name, _), taken)| {
            let time = median(&mut taken.iter().map(|sample| sample[place]).collect::<Vec<_>>());
            Row::lower(&workload, name, metric, time, "ns")
        });
        rows.extend(compared(&own.collect::<Vec<_>>(), WORDS * 8));
    }
    rows
}

/// The arena, the first of `own`, against the others.
fn compared(own: &[Row], bytes: usize) -> Vec<Row> {
    let mut rows = own.to_vec();
    let targets = TARGETS.iter().find(|(of_size, ..)| *of_size == bytes);
    for (place, peer) in own[1..].iter().enumerate() {
        let target = match (peer.metric.as_str(), place) {
            ("give_back_1000", 0) => Some(RESET_TARGET),
            ("obtain_1000", 0) => targets.map(|targets| targets.1),
            ("obtain_1000", _) if peer.subject == "mimalloc" => targets.map(|targets| targets.2),
            _ => None,
        };
        rows.push(own[0].against(peer, target));
    }
    rows
}

/// Samples of every subject.
pub(super) fn rounds(options: &Options) -> usize {
    options.rounds.unwrap_or(if options.quick { 51 } else { 201 })
}

/// Resets of one sample: a million in all samples of a full run.
pub(super) fn resets(options: &Options) -> usize {
    if options.quick { 2_000 } else { 5_000 }
}

fn arena<const WORDS: usize>(resets: usize) -> impl FnMut() -> Sample {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    move || {
        let fills = [obtain::<WORDS>, fill_partly::<WORDS, 1>, fill_partly::<WORDS, WORDS>];
        let [bare, word, whole] = fills.map(|fill| {
            let writer = arena.coordinator().writer().expect("the owner is here");
            let time = timed(|| fill(&writer, COUNT));
            drop(writer);
            arena.reset(Retain::Capacity).expect("the pen is gone");
            time
        });
        [bare, word, whole, reset_nanos(&mut arena, resets)]
    }
}

/// Nanoseconds of one reset of `arena` after a pen wrote in it, by `count` of them.
pub fn reset_nanos(arena: &mut Arena, count: usize) -> f64 {
    let coordinator = arena.coordinator();
    let write = || {
        let writer = coordinator.writer().expect("the owner is here");
        fill::<2>(&writer, 1);
    };
    let with = timed(|| {
        for _ in 0..count {
            write();
            arena.reset(Retain::Capacity).expect("the pen is gone");
        }
    });
    let without = timed(|| (0..count).for_each(|_| write()));
    arena.reset(Retain::Capacity).expect("the pen is gone");
    // Noise could make it negative; less than a tenth of a nanosecond is not claimed.
    ((with - without) / count as f64).max(0.1)
}

fn heap<A: GlobalAlloc + 'static, const WORDS: usize>(allocator: A) -> impl FnMut() -> Sample {
    let allocator: &'static A = Box::leak(Box::new(allocator));
    let mut blocks = Blocks::new(allocator, COUNT);
    move || {
        let whole = timed(|| blocks.fill::<WORDS>(COUNT));
        let free = timed(|| blocks.free::<WORDS>());
        let word = timed(|| blocks.fill_partly::<WORDS, 1>(COUNT));
        blocks.free_all();
        let bare = timed(|| blocks.obtain::<WORDS>(COUNT));
        blocks.free_all();
        [bare, word, whole, free]
    }
}

#[cfg(not(feature = "arena-peers"))]
mod peers {
    use super::Sample;

    pub(super) fn all<const WORDS: usize>() -> [(String, Box<dyn FnMut() -> Sample>); 0] {
        []
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use super::{Sample, heap};

    pub(super) fn all<const WORDS: usize>() -> [(String, Box<dyn FnMut() -> Sample>); 2] {
        [
            ("jemalloc".into(), Box::new(heap::<_, WORDS>(tikv_jemallocator::Jemalloc))),
            ("mimalloc".into(), Box::new(heap::<_, WORDS>(mimalloc::MiMalloc))),
        ]
    }
}
