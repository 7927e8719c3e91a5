//! What a mixed pattern of allocations leaves unusable.
//!
//! A thousand objects of 16 to 256 bytes live; then, twenty times over, half of them in random order are freed and as many
//! of other sizes allocated. For a general purpose allocator, *fragmentation* is the share of the pages under live objects
//! that no live object covers: memory the process has and cannot give back. An arena frees nothing singly. There the same
//! pattern shows its three numbers: live bytes, dead ones (replaced, waiting for the reset) and slack (alignment and the
//! tails of blocks and chunks); its fragmentation is the slack, and after the reset all three are zero.

use std::alloc::GlobalAlloc;
use std::collections::BTreeSet;

use fastrand::Rng;
use kausal_arena::{Arena, Budget, Retain};

use super::source::push;
use crate::heap::Blocks;

const COUNT: usize = 1000;
const ROUNDS: usize = 20;
const PAGE_BYTES: usize = 4096;

/// Bytes of an arena after the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaBytes {
    /// Of objects that live.
    pub live: usize,
    /// Of objects that were replaced.
    pub dead: usize,
    /// Of neither.
    pub slack: usize,
    /// In use after the reset.
    pub used_after_reset: usize,
}

impl ArenaBytes {
    /// The share of what is in use that is slack, in percent.
    pub fn fragmentation_percent(&self) -> f64 {
        100.0 * self.slack as f64 / (self.live + self.dead + self.slack) as f64
    }
}

/// The pattern drawn from `seed`, in an arena.
pub fn of_arena(seed: u64) -> ArenaBytes {
    let mut rng = Rng::with_seed(seed);
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    let writer = arena.coordinator().writer().expect("the owner is here");
    let (mut sizes, mut dead) = (Vec::new(), 0);
    for bytes in (0..COUNT).map(|_| bytes(&mut rng)).collect::<Vec<_>>() {
        push(&writer, bytes);
        sizes.push(bytes);
    }
    for _ in 0..ROUNDS {
        for _ in 0..COUNT / 2 {
            dead += sizes.swap_remove(rng.usize(..sizes.len()));
        }
        for _ in 0..COUNT / 2 {
            let bytes = bytes(&mut rng);
            push(&writer, bytes);
            sizes.push(bytes);
        }
    }
    drop(writer);
    let live = sizes.iter().sum();
    let slack = arena.stats().used - live - dead;
    arena.reset(Retain::Capacity).expect("the pen is gone");
    ArenaBytes { live, dead, slack, used_after_reset: arena.stats().used }
}

/// The pattern drawn from `seed`, on `allocator`: its fragmentation in percent.
pub fn of_allocator<A: GlobalAlloc>(allocator: &A, seed: u64) -> f64 {
    let mut rng = Rng::with_seed(seed);
    let mut blocks = Blocks::new(allocator, COUNT);
    (0..COUNT).for_each(|_| blocks.push(bytes(&mut rng)));
    for _ in 0..ROUNDS {
        (0..COUNT / 2).for_each(|freed| blocks.swap_remove(rng.usize(..COUNT - freed)));
        (0..COUNT / 2).for_each(|_| blocks.push(bytes(&mut rng)));
    }
    let mut pages = BTreeSet::new();
    let mut live = 0;
    for (address, bytes) in blocks.spans() {
        pages.extend(address / PAGE_BYTES..=(address + bytes - 1) / PAGE_BYTES);
        live += bytes;
    }
    100.0 * (1.0 - live as f64 / (pages.len() * PAGE_BYTES) as f64)
}

/// A size from 16 to 256, a multiple of 8.
pub(super) fn bytes(rng: &mut Rng) -> usize {
    rng.usize(2..=32) * 8
}
