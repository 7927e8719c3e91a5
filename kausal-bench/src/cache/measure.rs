//! One sample of one cache. What a look-up returns is checked in every sample.

use super::subject::Subject;
use super::trace::{BLOCK_BYTES, RESIDENT_BLOCKS, Trace};
use crate::heap;
use crate::samples::{timed, wall};

/// Room for twice the resident blocks.
const HIT_CACHE_BYTES: usize = 64 << 20;

/// Nanoseconds of a look-up of a resident block, with `threads` threads at once: the time of all of them by the look-ups of
/// one.
///
/// # Panics
///
/// If a look-up misses, or finds another block.
pub fn hit<S: Subject>(probes: &[u32], threads: usize) -> f64 {
    let cache = S::new(HIT_CACHE_BYTES);
    (0..RESIDENT_BLOCKS).for_each(|block| cache.insert(block));
    let pass = |probes: &[u32]| {
        probes.iter().map(|&block| cache.get(block).unwrap_or(u64::from(u32::MAX))).sum::<u64>()
    };
    let expected: u64 = probes.iter().map(|&block| u64::from(block)).sum();
    assert_eq!(pass(probes), expected, "every block is resident");
    // Each thread begins elsewhere.
    let part = probes.len() / threads;
    let nanos = wall(
        threads,
        |thread| thread * part,
        |start| {
            let (later, sooner) = probes.split_at(*start);
            assert_eq!(pass(sooner) + pass(later), expected, "every block is resident");
        },
    );
    nanos / probes.len() as f64
}

/// Nanoseconds of a look-up that misses and the insert after it, which makes an older block leave.
///
/// # Panics
///
/// If a look-up finds a block that was never there, or none of those inserted last is found.
pub fn miss<S: Subject>(bytes: usize, count: u32) -> f64 {
    let cache = S::new(bytes);
    let fill = 2 * (bytes / BLOCK_BYTES) as u32;
    let ask = |blocks: std::ops::Range<u32>| {
        blocks.for_each(|block| {
            assert_eq!(cache.get(block), None, "no block comes twice");
            cache.insert(block);
        });
    };
    ask(0..fill);
    let nanos = timed(|| ask(fill..fill + count));
    let last = fill + count - 8..fill + count;
    assert!(last.into_iter().any(|block| cache.get(block) == Some(u64::from(block))), "they were inserted");
    nanos / f64::from(count)
}

/// What a trace did to a cache.
pub struct Replay {
    /// Of the accesses after the warm-up.
    pub hit_percent: f64,
    /// Of an access before the warm-up ends: a new cache is filled.
    pub warm_up_nanos: f64,
    /// Of an access after it.
    pub access_nanos: f64,
    /// Bytes held at most, or in the end.
    pub held_max: usize,
}

/// Asks a new cache of `bytes` bytes for every block of the trace, and inserts it after a miss.
///
/// # Panics
///
/// If a look-up finds another block.
pub fn replay<S: Subject>(trace: &Trace, bytes: usize) -> Replay {
    let heap_before = heap::bytes_in_use();
    let cache = S::new(bytes);
    let (warm_up, counted) = trace.blocks.split_at(trace.warm_up);
    let mut hits = 0;
    let warm_up_nanos = timed(|| _ = ask(&cache, warm_up)) / warm_up.len() as f64;
    let access_nanos = timed(|| hits = ask(&cache, counted)) / counted.len() as f64;
    Replay {
        hit_percent: 100.0 * hits as f64 / counted.len() as f64,
        warm_up_nanos,
        access_nanos,
        held_max: cache.held_max().unwrap_or_else(|| {
            heap::bytes_in_use().zip(heap_before).map_or(0, |(now, before)| now.saturating_sub(before))
        }),
    }
}

/// How many of the blocks were there.
fn ask(cache: &impl Subject, blocks: &[u32]) -> usize {
    let is_hit = |block: u32| match cache.get(block) {
        Some(found) => {
            assert_eq!(found, u64::from(block), "the block that was asked for");
            true
        }
        None => {
            cache.insert(block);
            false
        }
    };
    blocks.iter().filter(|&&block| is_hit(block)).count()
}
