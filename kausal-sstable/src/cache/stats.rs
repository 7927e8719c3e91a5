//! What a cache did, as numbers.

use super::key::BlockClass;

/// What a cache did with the blocks of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Look-ups that found their block.
    pub hits: u64,
    /// Blocks that somebody read, whether they were wanted and there was room for them or not.
    pub misses: u64,
    /// Of these, those there was no room for.
    pub refusals: u64,
    /// Blocks that went, to make room or because their file was removed.
    pub evictions: u64,
    /// Blocks in the cache now.
    pub blocks: usize,
    /// Bytes of their frames.
    pub bytes: usize,
}

/// What a cache did since it was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub(super) classes: [ClassStats; 3],
    /// Look-ups that found nothing, of any class: a key does not say which.
    pub misses: u64,
    /// Bytes of the frames that somebody pins now.
    pub pinned_bytes: usize,
}

impl CacheStats {
    /// Of one class.
    pub fn class(&self, class: BlockClass) -> &ClassStats {
        &self.classes[class.place()]
    }

    /// Of all classes together.
    pub fn total(&self) -> ClassStats {
        let mut total = ClassStats::default();
        self.classes.iter().for_each(|class| total.add(class));
        total
    }
}

impl ClassStats {
    pub(super) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.refusals += other.refusals;
        self.evictions += other.evictions;
        self.blocks += other.blocks;
        self.bytes += other.bytes;
    }
}
