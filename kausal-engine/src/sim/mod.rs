//! A simulated machine (feature `sim`): a disk that crashes at any call, a clock and a scheduler that a seed drives on
//! one thread. For the tests of this engine and of programs built on it.
//!
//! | room | what lives there |
//! |---|---|
//! | `disk` | [`SimVfs`]: files in memory, durable and not, and what a crash makes of them |
//! | `scheduler` | [`SimScheduler`] and [`SimClock`]: background jobs in seeded order, time that stands unless waited for |
//! | `random` | the seeded numbers behind all of it |

mod disk;
mod random;
mod scheduler;

use std::sync::Arc;

pub use disk::{CrashMode, SimVfs};
pub use random::SimRandom;
pub use scheduler::{SimClock, SimScheduler};

use crate::environment::Environment;

/// An environment on `vfs`, with jobs in the order that `seed` decides. The scheduler is returned too, to run them.
pub fn environment(vfs: &SimVfs, seed: u64) -> (Environment, Arc<SimScheduler>) {
    let clock = Arc::new(SimClock::default());
    let scheduler = Arc::new(SimScheduler::new(seed, Arc::clone(&clock)));
    let environment = Environment {
        vfs: Arc::new(vfs.clone()),
        clock,
        scheduler: Arc::<SimScheduler>::clone(&scheduler),
        entropy: Arc::new(SimRandom::new(seed ^ 0x5EED)),
    };
    (environment, scheduler)
}
