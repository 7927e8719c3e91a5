//! Exact counts of entries and bytes that writers on different cores do not fight over.
//!
//! A count is a sum over shards. An entry belongs to the shard of its offset: a writer stays in one shard for a few
//! kilobytes, so two writers rarely share a cache line, and no shard can overflow, because a region has less than
//! 4 GiB.

use kausal_arena::sync::{AtomicU64, Ordering};

use crate::block_index::IndexBytes;

#[cfg(not(any(loom, shuttle)))]
const SHARDS: usize = 16;
#[cfg(any(loom, shuttle))]
const SHARDS: usize = 1;

/// Bits of a shard's first word that hold bytes; the others hold entries.
const LIVE_BITS: u32 = 36;

/// The counts of one index.
#[derive(Debug)]
pub(crate) struct Tally {
    shards: [Shard; SHARDS],
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    /// Entries above `LIVE_BITS`, reachable bytes below.
    live: AtomicU64,
    /// Dead bytes in the upper half, slack in the lower.
    lost: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let shard = |_| Shard { live: AtomicU64::new(0), lost: AtomicU64::new(0) };
        Self { shards: std::array::from_fn(shard) }
    }

    #[inline]
    fn shard(&self, offset: u32) -> &Shard {
        &self.shards[(offset >> 12) as usize % SHARDS]
    }

    /// Counts an entry whose node, of `bytes` bytes, lies at `offset`.
    #[inline]
    pub(crate) fn add_entry(&self, offset: u32, bytes: usize) {
        // Relaxed, here and below: counts order nothing.
        self.shard(offset).live.fetch_add(1 << LIVE_BITS | bytes as u64, Ordering::Relaxed);
    }

    /// Counts reachable bytes that are no entry.
    pub(crate) fn add_live(&self, offset: u32, bytes: usize) {
        self.shard(offset).live.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that alignment cost.
    #[inline]
    pub(crate) fn add_slack(&self, offset: u32, bytes: usize) {
        if bytes > 0 {
            self.shard(offset).lost.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Counts bytes that nobody ever reached.
    pub(crate) fn add_dead(&self, offset: u32, bytes: usize) {
        self.shard(offset).lost.fetch_add((bytes as u64) << 32, Ordering::Relaxed);
    }

    /// Counts reachable bytes as dead from now on.
    pub(crate) fn bury(&self, offset: u32, bytes: usize) {
        self.shard(offset).live.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.add_dead(offset, bytes);
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        let count = |shard: &Shard| (shard.live.load(Ordering::Relaxed) >> LIVE_BITS) as usize;
        self.shards.iter().map(count).sum()
    }

    /// What became of the bytes.
    pub(crate) fn bytes(&self) -> IndexBytes {
        let mut sum = IndexBytes::default();
        for shard in &self.shards {
            let (live, lost) = (shard.live.load(Ordering::Relaxed), shard.lost.load(Ordering::Relaxed));
            sum.live += (live & ((1 << LIVE_BITS) - 1)) as usize;
            sum.dead += (lost >> 32) as usize;
            sum.slack += (lost & u64::from(u32::MAX)) as usize;
        }
        sum
    }
}
