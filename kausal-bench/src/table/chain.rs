//! The yardstick of a look-up: a chain of dependent cache misses over memory as large as the table.
//!
//! A look-up whose table lies in memory reads a line of the filter, one of the cache's directory, one at the end of a block
//! and one of an entry, each of which says where the next is. It can hardly cost less than so many loads of which each
//! needs the one before; where it costs no more, the rest is free.

use std::hint::black_box;

use fastrand::Rng;

use crate::samples::timed;

/// Loads of a chain.
pub const LOADS: usize = 4;

/// Bytes and words of a cache line.
const LINE_BYTES: usize = 64;
const LINE_WORDS: usize = LINE_BYTES / size_of::<u32>();

/// Lines of memory in one cycle that visits all of them in random order.
#[derive(Debug)]
pub struct Chain {
    words: Vec<u32>,
}

impl Chain {
    /// A cycle through `bytes` bytes.
    ///
    /// # Panics
    ///
    /// If there are 2^32 lines or more.
    pub fn new(bytes: usize, seed: u64) -> Self {
        let lines = u32::try_from(bytes / LINE_BYTES).expect("fewer lines than 2^32").max(2);
        let mut order: Vec<u32> = (0..lines).collect();
        Rng::with_seed(seed).shuffle(&mut order);
        let mut words = vec![0; lines as usize * LINE_WORDS];
        for (place, &line) in order.iter().enumerate() {
            words[line as usize * LINE_WORDS] = order[(place + 1) % order.len()];
        }
        Self { words }
    }

    /// Nanoseconds of [`LOADS`] loads, the mean of `times` such chains one after the other.
    pub fn sample(&self, times: usize) -> f64 {
        let mut line = 0;
        let nanos = timed(|| {
            for _ in 0..times * LOADS {
                line = self.words[line as usize * LINE_WORDS];
            }
            line = black_box(line);
        });
        nanos / times as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_cycle_through_all_lines() {
        let chain = Chain::new(1000 * LINE_BYTES, 1);
        let mut line = 0;
        for step in 1..=1000 {
            line = chain.words[line as usize * LINE_WORDS];
            assert_eq!(line == 0, step == 1000, "step {step}");
        }
    }
}
