//! The ghost queue: which blocks went not long ago, when, and how often they had come by then.
//!
//! A table of fingerprints with the time of their eviction, counted in evictions. What went longer ago than the queue is
//! long counts as forgotten, so nothing is ever taken out (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023, section 4.2). Within a bucket, which is half a cache line, the longest gone is overwritten.
//!
//! An entry is a word of 32 bits, so that the queue can be three times as long as the cache for 12 bytes a page:
//!
//! | bits | field |
//! |---|---|
//! | 0–17 | fingerprint of the hash; 0 is no entry. A stranger is taken for one of a bucket once in 32,768 look-ups |
//! | 18–29 | when it went, in *ticks*, at most 1,024 of which are the queue's length; wraps around after four of these |
//! | 30–31 | how often it had come by then, 3 for more |

/// Fingerprints of a bucket.
const WAYS: usize = 8;

/// Bytes of the table for each entry it remembers.
pub(super) const BYTES_PER_ENTRY: usize = size_of::<u32>();

/// Most ticks of the queue's length.
const LEN_TICKS_MAX: usize = 1 << 10;

const FINGERPRINT_BITS: u32 = 18;
const FINGERPRINT: u32 = (1 << FINGERPRINT_BITS) - 1;
const TICK: u32 = (1 << 12) - 1;
const TIMES_SHIFT: u32 = 30;

/// Most times that are told apart.
pub(super) const TIMES_MAX: u8 = 3;

#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Bucket([u32; WAYS]);

/// What is known of a block that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recalled {
    /// Evictions since it went.
    pub(super) ago: u32,
    /// How often it had come by then.
    pub(super) times: u8,
}

pub(super) struct Ghost {
    buckets: Box<[Bucket]>,
    /// Evictions of a tick are two to the power of this.
    tick_shift: u32,
    len_ticks: u32,
}

impl Ghost {
    /// Remembers about the last `len` evictions.
    pub(super) fn new(len: usize) -> Self {
        let buckets = len.div_ceil(WAYS).max(1);
        let tick_evictions = len.div_ceil(LEN_TICKS_MAX).next_power_of_two();
        Self {
            buckets: vec![Bucket::default(); buckets].into_boxed_slice(),
            tick_shift: tick_evictions.trailing_zeros(),
            len_ticks: len.div_ceil(tick_evictions) as u32,
        }
    }

    fn bucket(&mut self, hash: u64) -> &mut [u32; WAYS] {
        // The upper half chose the shard with its top bits; what is below is spread over the buckets.
        let middle = (hash >> 16) & u64::from(u32::MAX);
        let place = ((middle * self.buckets.len() as u64) >> 32) as usize;
        &mut self.buckets[place].0
    }

    fn tick(&self, now: u32) -> u32 {
        now >> self.tick_shift & TICK
    }

    /// A block with this hash goes as eviction number `now`, after it came `times` times. Takes the place of what was known of it.
    pub(super) fn remember(&mut self, hash: u64, now: u32, times: u8) {
        let tick = self.tick(now);
        let age = |gone: u32| if gone == 0 { u32::MAX } else { ticks_since(gone, tick) };
        let ways = self.bucket(hash);
        let own = ways.iter().position(|&gone| gone & FINGERPRINT == fingerprint(hash));
        let way = own.or_else(|| (0..WAYS).max_by_key(|&way| age(ways[way]))).unwrap_or(0);
        ways[way] =
            u32::from(times.min(TIMES_MAX)) << TIMES_SHIFT | tick << FINGERPRINT_BITS | fingerprint(hash);
    }

    /// What is known of a block with this hash, if it went within the queue's length. It is forgotten by that.
    pub(super) fn recall(&mut self, hash: u64, now: u32) -> Option<Recalled> {
        let gone = self.find(hash, now)?;
        let gone = std::mem::take(gone);
        Some(self.recalled(gone, now))
    }

    /// What is known of a block with this hash, if it went within the queue's length.
    pub(super) fn look_up(&mut self, hash: u64, now: u32) -> Option<Recalled> {
        let gone = *self.find(hash, now)?;
        Some(self.recalled(gone, now))
    }

    fn find(&mut self, hash: u64, now: u32) -> Option<&mut u32> {
        let (tick, len) = (self.tick(now), self.len_ticks);
        let fits = |gone: u32| gone & FINGERPRINT == fingerprint(hash) && ticks_since(gone, tick) < len;
        self.bucket(hash).iter_mut().find(|gone| fits(**gone))
    }

    fn recalled(&self, gone: u32, now: u32) -> Recalled {
        let ago = ticks_since(gone, self.tick(now)) << self.tick_shift;
        Recalled { ago, times: (gone >> TIMES_SHIFT) as u8 }
    }
}

fn fingerprint(hash: u64) -> u32 {
    (hash as u32 & FINGERPRINT).max(1)
}

fn ticks_since(gone: u32, tick: u32) -> u32 {
    tick.wrapping_sub(gone >> FINGERPRINT_BITS) & TICK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    }

    #[test]
    fn what_went_lately_is_recalled_once_and_what_went_long_ago_never() {
        let mut ghost = Ghost::new(4096);
        (0..20_000).for_each(|number| ghost.remember(hash(number), number as u32, 2));
        let mut recall = |number| ghost.recall(hash(number), 20_000);
        // Fingerprints are taken for each other once in 32,768 look-ups.
        let strangers = (0..15_000).filter(|&number| recall(number).is_some()).count();
        assert!(strangers < 10, "{strangers} of 15,000 went longer ago than the queue is long");
        let lately = 18_000..20_000;
        let recalled: Vec<_> = lately.clone().filter_map(|number| Some((number, recall(number)?))).collect();
        // A bucket of eight into which nine fell forgets one.
        assert!(recalled.len() > 1900, "{} of 2,000", recalled.len());
        for (number, recalled) in recalled {
            assert!(
                recalled.times == 2 && recalled.ago.abs_diff(20_000 - number as u32) <= 4,
                "{recalled:?}"
            );
        }
        assert!(lately.clone().all(|number| recall(number).is_none()));
    }

    #[test]
    fn what_goes_again_is_remembered_once() {
        let mut ghost = Ghost::new(100);
        (0..50).for_each(|now| ghost.remember(hash(1), now, now as u8));
        assert_eq!(ghost.look_up(hash(1), 50), Some(Recalled { ago: 1, times: TIMES_MAX }));
        assert!(ghost.recall(hash(1), 50).is_some() && ghost.look_up(hash(1), 50).is_none());
    }

    #[test]
    fn counts_of_evictions_and_times_may_wrap_and_saturate() {
        let mut ghost = Ghost::new(100);
        ghost.remember(hash(1), u32::MAX, 200);
        assert_eq!(ghost.recall(hash(1), 9), Some(Recalled { ago: 10, times: TIMES_MAX }));
    }
}
