//! What a memtable counts of the entries it was given: bytes of keys and values, and the span of sequence numbers.
//!
//! A count is over shards, chosen by where the permit's pen stands: a writer stays in one shard for a few kilobytes, so two
//! writers rarely share a cache line, and one alone finds it in its cache.

use kausal_arena::sync::{AtomicU64, Ordering};
use kausal_index::SeqNo;

#[cfg(not(any(loom, shuttle)))]
const SHARDS: usize = 16;
#[cfg(any(loom, shuttle))]
const SHARDS: usize = 1;

#[derive(Debug)]
pub(crate) struct Tally {
    shards: [Shard; SHARDS],
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    bytes: AtomicU64,
    newest: AtomicU64,
    /// `SeqNo::MAX` less the oldest number, so that 0 is none here as well.
    oldest_complement: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let shard = |_| Shard {
            bytes: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            oldest_complement: AtomicU64::new(0),
        };
        Self { shards: std::array::from_fn(shard) }
    }

    /// Counts an entry of `bytes` bytes that was written by a pen at `address`.
    #[inline]
    pub(crate) fn add(&self, address: usize, bytes: usize, seqno: SeqNo) {
        let shard = &self.shards[(address >> 12) % SHARDS];
        // Relaxed, here and below: counts order nothing. Who freezes sees those of all permits that have ended.
        shard.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if shard.newest.load(Ordering::Relaxed) < seqno.get() {
            shard.newest.fetch_max(seqno.get(), Ordering::Relaxed);
        }
        let complement = SeqNo::MAX.get() - seqno.get();
        if shard.oldest_complement.load(Ordering::Relaxed) < complement {
            shard.oldest_complement.fetch_max(complement, Ordering::Relaxed);
        }
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.bytes.load(Ordering::Relaxed) as usize).sum()
    }

    /// The smallest and the largest sequence number, or `None` before the first.
    pub(crate) fn seqno_bounds(&self) -> Option<(SeqNo, SeqNo)> {
        let newest = self.shards.iter().map(|shard| shard.newest.load(Ordering::Relaxed)).max()?;
        let complements = self.shards.iter().map(|shard| shard.oldest_complement.load(Ordering::Relaxed));
        let oldest = SeqNo::MAX.get() - complements.max()?;
        // While an entry is being counted one of the two may be ahead of the other.
        (newest > 0).then(|| Some((SeqNo::new(oldest.min(newest))?, SeqNo::new(newest)?)))?
    }
}
