//! How long operations took: log-linear buckets (Tene's HDR histogram) that one thread writes and anybody reads.
//!
//! 1. A duration in nanoseconds falls into one of eight buckets of its power of two: its value is known to an eighth.
//! 2. A bucket is a word of its thread's cell, raised by a plain load and store: no lock, and nothing that two threads write.
//! 3. Who wants to know adds the buckets of all threads and walks them.
//!
//! `hdrhistogram`'s own type takes `&mut self`: it would need a lock on the path of a look-up. A test holds the quantiles of
//! this one against it.

use std::time::Duration;

use kausal_arena::sync::{AtomicU32, AtomicU64, Ordering};

/// Buckets of each power of two.
const STEPS: usize = 8;

/// The first bucket takes everything below 2⁵ ns, less than asking a clock twice costs.
const OCTAVE_MIN: u32 = 5;

/// The last bucket takes everything from 2³⁵ ns, half a minute, on.
const OCTAVE_MAX: u32 = 35;

const BUCKETS: usize = (OCTAVE_MAX - OCTAVE_MIN) as usize * STEPS + 1;

/// The bucket that `nanos` falls into.
fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << OCTAVE_MIN, 1 << OCTAVE_MAX);
    let octave = nanos.ilog2();
    let step = (nanos >> (octave - STEPS.ilog2())) as usize % STEPS;
    (octave - OCTAVE_MIN) as usize * STEPS + step
}

/// The smallest duration behind those of a bucket.
fn end_of(bucket: usize) -> u64 {
    let (octave, step) = (OCTAVE_MIN + (bucket / STEPS) as u32, (bucket % STEPS) as u64);
    (STEPS as u64 + step + 1) << (octave - STEPS.ilog2())
}

/// Durations that were measured. Written by one thread at a time.
#[derive(Debug)]
pub(super) struct Durations {
    buckets: [AtomicU32; BUCKETS],
    nanos: AtomicU64,
    nanos_max: AtomicU64,
}

impl Durations {
    pub(super) fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            nanos: AtomicU64::new(0),
            nanos_max: AtomicU64::new(0),
        }
    }

    /// Notes a duration. Nobody else does at the same time.
    pub(super) fn note(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        let bucket = &self.buckets[bucket_of(nanos)];
        // Relaxed, all of it: statistics publish nothing.
        bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.nanos.store(self.nanos.load(Ordering::Relaxed).wrapping_add(nanos), Ordering::Relaxed);
        self.nanos_max.store(self.nanos_max.load(Ordering::Relaxed).max(nanos), Ordering::Relaxed);
    }
}

/// The sum of several [`Durations`].
pub(super) struct Sum {
    buckets: [u64; BUCKETS],
    nanos: u64,
    nanos_max: u64,
}

impl Sum {
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Durations>) -> Self {
        let mut sum = Self { buckets: [0; BUCKETS], nanos: 0, nanos_max: 0 };
        for part in parts {
            let counts = part.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed)));
            sum.buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket += count);
            sum.nanos = sum.nanos.wrapping_add(part.nanos.load(Ordering::Relaxed));
            sum.nanos_max = sum.nanos_max.max(part.nanos_max.load(Ordering::Relaxed));
        }
        sum
    }

    pub(super) fn latency(&self) -> Latency {
        let samples: u64 = self.buckets.iter().sum();
        if samples == 0 {
            return Latency::default();
        }
        Latency {
            samples,
            mean: Duration::from_nanos(self.nanos / samples),
            p50: self.quantile(samples, 0.5),
            p90: self.quantile(samples, 0.9),
            p99: self.quantile(samples, 0.99),
            p99_9: self.quantile(samples, 0.999),
            max: Duration::from_nanos(self.nanos_max),
        }
    }

    /// The duration that a share of all samples does not exceed, an eighth too long at most.
    fn quantile(&self, samples: u64, share: f64) -> Duration {
        let wanted = ((samples as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.buckets.iter().position(|&count| {
            seen += count;
            seen >= wanted
        });
        let end = end_of(place.unwrap_or(BUCKETS - 1));
        Duration::from_nanos(end.min(self.nanos_max))
    }
}

/// How long sampled operations took. Quantiles are known to an eighth, the mean and the maximum of the samples exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Latency {
    /// Operations that were measured.
    pub samples: u64,
    /// Their mean.
    pub mean: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1000 took no longer.
    pub p99_9: Duration,
    /// The longest of them.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(end_of(bucket) - 1), bucket);
            assert_eq!(bucket_of(end_of(bucket)), bucket + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn quantiles_are_those_of_hdrhistogram_to_an_eighth(
            values in prop::collection::vec((6_u32..30, any::<u64>()), 1..500)
        ) {
            let durations = [Durations::new(), Durations::new()];
            let mut oracle = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            for (place, (octave, random)) in values.iter().enumerate() {
                let nanos = (1 << octave) + random % (1 << octave);
                durations[place % 2].note(Duration::from_nanos(nanos));
                oracle.record(nanos).unwrap();
            }
            let latency = Sum::of(durations.iter()).latency();
            prop_assert_eq!(latency.samples, values.len() as u64);
            let quantiles =
                [(latency.p50, 0.5), (latency.p90, 0.9), (latency.p99, 0.99), (latency.p99_9, 0.999)];
            for (ours, share) in quantiles {
                let (ours, theirs) = (ours.as_nanos() as f64, oracle.value_at_quantile(share) as f64);
                prop_assert!(ours >= theirs * 0.998 && ours <= theirs * 1.127, "{}: {} {}", share, ours, theirs);
            }
            prop_assert!((latency.mean.as_nanos() as f64 / oracle.mean() - 1.0).abs() < 0.002);
        }
    }
}
