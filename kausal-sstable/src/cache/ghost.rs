//! The ghost queue: which blocks went not long ago.
//!
//! A table of fingerprints with the time of their eviction, counted in evictions. What went longer ago than the queue is
//! long counts as forgotten, so nothing is ever taken out (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023, section 4.2). Within a bucket the longest gone is overwritten.

/// Fingerprints of a bucket.
const WAYS: usize = 4;

/// Bytes of the table for each entry it remembers: half of it is room.
pub(super) const BYTES_PER_ENTRY: usize = 2 * size_of::<Gone>();

#[derive(Clone, Copy, Default)]
struct Gone {
    /// Of the hash; 0 is nothing.
    fingerprint: u32,
    at: u32,
}

pub(super) struct Ghost {
    buckets: Box<[[Gone; WAYS]]>,
    len: u32,
    now: u32,
}

impl Ghost {
    /// Remembers the last `len` evictions.
    pub(super) fn new(len: usize) -> Self {
        let buckets = (2 * len).div_ceil(WAYS).max(1);
        Self { buckets: vec![[Gone::default(); WAYS]; buckets].into_boxed_slice(), len: len as u32, now: 0 }
    }

    fn bucket(&self, hash: u64) -> usize {
        // The upper half chose the shard with its top bits; what is below is spread over the buckets.
        let middle = (hash >> 16) & u64::from(u32::MAX);
        ((middle * self.buckets.len() as u64) >> 32) as usize
    }

    /// A block with this hash went.
    pub(super) fn remember(&mut self, hash: u64) {
        self.now = self.now.wrapping_add(1);
        let now = self.now;
        let bucket = self.bucket(hash);
        let age = |gone: &Gone| if gone.fingerprint == 0 { u32::MAX } else { now.wrapping_sub(gone.at) };
        let eldest = self.buckets[bucket].iter_mut().max_by_key(|gone| age(gone));
        if let Some(eldest) = eldest {
            *eldest = Gone { fingerprint: hash as u32 | 1, at: now };
        }
    }

    /// Whether a block with this hash went within the queue's length. It is forgotten by that.
    pub(super) fn recall(&mut self, hash: u64) -> bool {
        let (now, len) = (self.now, self.len);
        let bucket = self.bucket(hash);
        let fits = |gone: &&mut Gone| gone.fingerprint == hash as u32 | 1 && now.wrapping_sub(gone.at) < len;
        self.buckets[bucket].iter_mut().find(fits).map(|gone| *gone = Gone::default()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_lately_is_recalled_once_and_what_went_long_ago_never() {
        let mut ghost = Ghost::new(100);
        let hash = |number: u64| (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..1000).for_each(|number| ghost.remember(hash(number)));
        assert!((0..900).all(|number| !ghost.recall(hash(number))), "longer ago than the queue is long");
        let recalled = (900..1000).filter(|&number| ghost.recall(hash(number))).count();
        // A bucket of four that five fall into forgets one.
        assert!(recalled > 90, "{recalled} of 100");
        assert!((900..1000).all(|number| !ghost.recall(hash(number))));
    }
}
