//! Time and randomness, one source of each, so that a test can put its own in their place.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since an origin of the clock's own. Never goes back.
    fn now(&self) -> Duration;

    /// Time since 1970. May jump.
    fn unix_time(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn unix_time(&self) -> Duration {
        // A clock set before 1970 counts as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A source of random numbers, for the identities of databases, tables and blobs.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// A random number.
    fn u64(&self) -> u64;
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn u64(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| {
            // Identities guard against mixed-up files, not against people: without a generator, address-space
            // randomness and the clock are enough.
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(SystemTime::now())
        })
    }
}
