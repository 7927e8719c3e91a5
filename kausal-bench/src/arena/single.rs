//! One allocation in the steady state: how long the usual one takes, and the slow one in a hundred.
//!
//! Asking the clock costs several allocations, so that batches of 32 objects of 16 bytes are timed and the clock's own
//! cost, measured beforehand, is taken off. A percentile is that of the batches' means: one slow allocation in a batch
//! shows as a thirty-second of its length in each of its neighbours. Memory is warm; it is given back, outside the clock,
//! after each mebibyte.

use std::alloc::System;

use kausal_arena::{Arena, Budget, RegionPool, Retain};

use super::source::fill;
use crate::heap::Blocks;
use crate::machine;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{clock_nanos, interleaved, percentile, timed};

const BATCH: usize = 32;

/// Batches between two resets: a mebibyte of objects of 16 bytes.
const BATCHES: usize = (1 << 20) / (16 * BATCH);

/// The memory architecture's claim, in nanoseconds.
const TARGET: f64 = 50.0;

type Sample = Box<dyn FnMut() -> Vec<f64>>;

/// Percentiles of every subject.
pub fn run(options: &Options) -> Vec<Row> {
    let workload = "single/16";
    if !options.wants(workload) {
        return Vec::new();
    }
    options.progress(workload, "all");
    let mut subjects: Vec<(String, Sample)> = vec![
        ("Arena".into(), arena()),
        ("RegionPool".into(), region()),
        (machine::libc_name(), heap(System)),
    ];
    subjects.extend(peers::all());
    for (_, sample) in &mut subjects {
        sample();
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 10 } else { 50 });
    let samples = interleaved(subjects.len(), rounds, |number| (subjects[number].1)());
    let mut rows = Vec::new();
    for (metric, share) in [("p50", 0.5), ("p99", 0.99)] {
        let names = subjects.iter().map(|(name, _)| name);
        let own = names.zip(&samples).map(|(name, batches)| {
            Row::lower(workload, name, metric, percentile(&mut batches.concat(), share), "ns")
        });
        let own: Vec<Row> = own.collect();
        rows.extend(own[..2].iter().map(|row| row.clone().with_target(TARGET)));
        rows.extend_from_slice(&own[2..]);
        for ours in &own[..2] {
            rows.extend(own[2..].iter().map(|peer| ours.against(peer, None)));
        }
    }
    rows
}

/// Nanoseconds per object of each batch that `work` is.
fn batches(mut work: impl FnMut()) -> Vec<f64> {
    let clock = clock_nanos();
    (0..BATCHES).map(|_| (timed(&mut work) - clock).max(0.0) / BATCH as f64).collect()
}

fn arena() -> Sample {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    Box::new(move || {
        let writer = arena.coordinator().writer().expect("the owner is here");
        let taken = batches(|| fill::<2>(&writer, BATCH));
        drop(writer);
        arena.reset(Retain::Capacity).expect("the pen is gone");
        taken
    })
}

fn region() -> Sample {
    let pool =
        RegionPool::new(&Budget::unlimited("bench"), 2 << 20, 1, || {}).expect("memory for a benchmark");
    Box::new(move || {
        let region = pool.coordinator().take().expect("the last sample gave it back");
        let writer = region.writer();
        batches(|| fill::<2>(&writer, BATCH))
    })
}

fn heap<A: std::alloc::GlobalAlloc + 'static>(allocator: A) -> Sample {
    let allocator: &'static A = Box::leak(Box::new(allocator));
    Box::new(move || {
        let mut blocks = Blocks::new(allocator, BATCH * BATCHES);
        batches(|| blocks.fill::<2>(BATCH))
    })
}

#[cfg(not(feature = "arena-peers"))]
mod peers {
    pub(super) fn all() -> [(String, super::Sample); 0] {
        []
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use super::{BATCH, Sample, batches, fill, heap};

    pub(super) fn all() -> [(String, Sample); 3] {
        [
            ("jemalloc".into(), heap(tikv_jemallocator::Jemalloc)),
            ("mimalloc".into(), heap(mimalloc::MiMalloc)),
            ("bumpalo".into(), bumpalo()),
        ]
    }

    fn bumpalo() -> Sample {
        let mut bump = bumpalo::Bump::new();
        Box::new(move || {
            let taken = batches(|| fill::<2>(&bump, BATCH));
            bump.reset();
            taken
        })
    }
}
