//! What became of the bytes an index took, counted exactly in two words.
//!
//! | word | upper half | lower half |
//! |---|---|---|
//! | `sizes` | entries | live bytes |
//! | `waste` | dead bytes | slack bytes |
//!
//! A region has less than 4 GiB, so no half overflows, and one addition per word and insert keeps all four.

use kausal_arena::sync::{AtomicU64, Ordering};

use crate::block_index::IndexBytes;

/// What one insert took and made dead.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// Bytes of the nodes and leaves it linked.
    pub(super) live: usize,
    /// Bytes of nodes that were live before and are replaced.
    pub(super) replaced: usize,
    /// Bytes it wrote and did not link.
    pub(super) refused: usize,
    /// Bytes lost to alignment.
    pub(super) slack: usize,
}

/// The sums over all inserts.
pub(super) struct Totals {
    sizes: AtomicU64,
    waste: AtomicU64,
}

impl Totals {
    pub(super) fn new() -> Self {
        Self { sizes: AtomicU64::new(0), waste: AtomicU64::new(0) }
    }

    /// Adds one insert, which brought `entries` (0 or 1) entries.
    pub(super) fn add(&self, entries: u64, tally: Tally) {
        // Relaxed, both: sums order nothing. A live sum never falls below 0: what is replaced was counted by the insert
        // that linked it, or is about to be, and wrapping addition does not mind the order.
        let sizes = (entries << 32).wrapping_add(tally.live as u64).wrapping_sub(tally.replaced as u64);
        self.sizes.fetch_add(sizes, Ordering::Relaxed);
        let waste = ((tally.replaced + tally.refused) as u64) << 32 | tally.slack as u64;
        if waste != 0 {
            self.waste.fetch_add(waste, Ordering::Relaxed);
        }
    }

    pub(super) fn entries(&self) -> usize {
        (self.sizes.load(Ordering::Relaxed) >> 32) as usize
    }

    pub(super) fn bytes(&self) -> IndexBytes {
        let (sizes, waste) = (self.sizes.load(Ordering::Relaxed), self.waste.load(Ordering::Relaxed));
        IndexBytes { live: sizes as u32 as usize, dead: (waste >> 32) as usize, slack: waste as u32 as usize }
    }
}

/// The number of changes to the tree, each counted under the lock that it needs and before it can be seen.
///
/// So what was read of a tree since a moment is still all there is, if the count is as it was at that moment and none of the
/// nodes read was locked: a change that was counted before the moment either holds a lock that the reader meets, or had
/// unlocked before, and then it was seen.
pub(super) struct Changes(AtomicU64);

impl Changes {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts a change that the caller is about to make under a lock it holds.
    pub(super) fn announce(&self) {
        // Release: pairs with the Acquire in `count`; who reads the count sees the lock taken before.
        self.0.fetch_add(1, Ordering::Release);
    }

    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
