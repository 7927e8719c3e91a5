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
        // Release: pairs with the Acquire in `inserts`. A live sum never falls below 0: what is replaced was counted by the insert
        // that linked it, or is about to be, and wrapping addition does not mind the order.
        let sizes = (entries << 32).wrapping_add(tally.live as u64).wrapping_sub(tally.replaced as u64);
        self.sizes.fetch_add(sizes, Ordering::Release);
        let waste = ((tally.replaced + tally.refused) as u64) << 32 | tally.slack as u64;
        if waste != 0 {
            // Relaxed: the sum orders nothing.
            self.waste.fetch_add(waste, Ordering::Relaxed);
        }
    }

    /// A number that is another one after every insert, and that never comes back.
    #[inline]
    pub(super) fn inserts(&self) -> u64 {
        // Acquire: pairs with the Release in `add`; whoever reads afterwards sees what was inserted.
        self.sizes.load(Ordering::Acquire)
    }

    pub(super) fn entries(&self) -> usize {
        (self.sizes.load(Ordering::Relaxed) >> 32) as usize
    }

    pub(super) fn bytes(&self) -> IndexBytes {
        let (sizes, waste) = (self.sizes.load(Ordering::Relaxed), self.waste.load(Ordering::Relaxed));
        IndexBytes { live: sizes as u32 as usize, dead: (waste >> 32) as usize, slack: waste as u32 as usize }
    }
}
