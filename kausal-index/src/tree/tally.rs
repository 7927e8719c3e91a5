//! What became of the bytes that a tree took from its pens, to the byte.
//!
//! Entries and their bytes share one counter, so that an insert touches one line besides its leaf. Both fit: a region
//! has less than 2³² bytes, and an entry takes some of them.

use kausal_arena::sync::{AtomicU32, AtomicU64, Ordering};

use crate::block_index::IndexBytes;
use crate::tree::node::{NODE_SLACK, node_bytes};

/// Relaxed throughout: counters carry no order.
pub(super) struct Tally {
    /// Number of entries above, their bytes below.
    entries: AtomicU64,
    leaves: AtomicU32,
    inners: AtomicU32,
    dead: AtomicU64,
    dead_nodes: AtomicU32,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            entries: AtomicU64::new(0),
            leaves: AtomicU32::new(0),
            inners: AtomicU32::new(0),
            dead: AtomicU64::new(0),
            dead_nodes: AtomicU32::new(0),
        }
    }

    #[inline]
    pub(super) fn add_entry(&self, bytes: usize) {
        self.entries.fetch_add(1 << 32 | bytes as u64, Ordering::Relaxed);
    }

    /// Counts the bytes of an entry that never became reachable.
    pub(super) fn add_dead(&self, bytes: usize) {
        self.dead.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_node(&self, level: u8) {
        let nodes = if level == 0 { &self.leaves } else { &self.inners };
        nodes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an inner node, counted before, as one that never became reachable.
    pub(super) fn kill_inner(&self) {
        self.dead_nodes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn entries(&self) -> usize {
        (self.entries.load(Ordering::Relaxed) >> 32) as usize
    }

    pub(super) fn bytes(&self) -> IndexBytes {
        let entry_bytes = self.entries.load(Ordering::Relaxed) as u32 as usize;
        let leaves = self.leaves.load(Ordering::Relaxed) as usize;
        let inners = self.inners.load(Ordering::Relaxed) as usize;
        let dead_nodes = self.dead_nodes.load(Ordering::Relaxed) as usize * node_bytes(1);
        IndexBytes {
            live: entry_bytes + leaves * node_bytes(0) + inners * node_bytes(1) - dead_nodes,
            dead: self.dead.load(Ordering::Relaxed) as usize + dead_nodes,
            slack: (leaves + inners) * NODE_SLACK,
        }
    }
}
