//! A simulated machine (feature `sim`): a disk that crashes at any call, a clock and a scheduler that a seed drives, one
//! thread at a time. For the tests of this engine and of programs built on it.
//!
//! | room | what lives there |
//! |---|---|
//! | `vfs` | [`SimVfs`]: calls, counted, hashed, recorded, and what befalls them |
//! | `file` | the traits of [`crate::vfs`] on it |
//! | `disk` | files and names, durable and not, and what a [crash](CrashMode) makes of them |
//! | `contents` | the bytes of a file, shared between copies of the disk |
//! | `fault` | [`Fault`]: what can go wrong at a call |
//! | `history` | [`History`]: a crash at every call of one run |
//! | `scheduler` | [`SimScheduler`] and [`SimClock`]: background jobs in seeded order, time that stands unless it is moved |
//! | `turns` | several threads of which one runs at a time, in seeded order |
//! | `random` | the seeded numbers behind all of it |
//!
//! # Examples
//!
//! A crash at every call of a small program:
//!
//! ```
//! # fn main() -> Result<(), kausal_engine::Error> {
//! use kausal_engine::sim::{self, CrashMode, SimVfs};
//! use kausal_engine::{Builder, Options};
//!
//! let open = |vfs: &SimVfs| {
//!     let (environment, _scheduler) = sim::environment(vfs, 1);
//!     Builder::<kausal_engine::DefaultIndex>::new("/db", Options::new().memory_budget(16 << 20))
//!         .environment(environment)
//!         .open()
//! };
//! let vfs = SimVfs::new();
//! vfs.record();
//! open(&vfs)?.put(b"apple", b"red")?;
//! let history = vfs.take_history();
//! for moment in 0..history.len() {
//!     let (found, _) = history.crash(moment, CrashMode::Random, 7);
//!     let value = open(&found)?.get(b"apple")?;
//!     assert!(value.is_none_or(|value| value == b"red"));
//! }
//! # Ok(())
//! # }
//! ```

mod contents;
mod disk;
mod fault;
mod file;
mod history;
mod random;
mod scheduler;
mod turns;
mod vfs;

use std::sync::Arc;

pub use disk::{CrashCounts, CrashMode};
pub use fault::{CallKind, Fault, FaultCounts};
pub use history::History;
pub use random::SimRandom;
pub use scheduler::{SimClock, SimScheduler};
pub use vfs::SimVfs;

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
