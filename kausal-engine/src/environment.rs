//! The environment: files, time, randomness and threads of one database. Everything that is not computation.

use std::io;
use std::sync::Arc;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::scheduler::{Scheduler, ThreadScheduler};
use crate::vfs::{StdVfs, Vfs};

/// What a database runs on. Cloning shares the parts.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Files.
    pub vfs: Arc<dyn Vfs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Threads and waiting.
    pub scheduler: Arc<dyn Scheduler>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Environment {
    /// The operating system, with two background threads of its own.
    ///
    /// # Errors
    ///
    /// As the system gives them, if it starts no thread.
    pub fn system() -> io::Result<Self> {
        Self::system_with(1)
    }

    /// The operating system, with a background thread for flushes and so many for compactions, at least one: see
    /// [`Options::compaction_threads`](crate::Options::compaction_threads).
    ///
    /// # Errors
    ///
    /// As the system gives them, if it starts no thread.
    pub fn system_with(compaction_threads: usize) -> io::Result<Self> {
        // Clock and scheduler begin together: deadlines on the one are waited for by the other.
        let clock = SystemClock::default();
        let scheduler = ThreadScheduler::start_with(compaction_threads)?;
        Ok(Self {
            vfs: Arc::new(StdVfs),
            clock: Arc::new(clock),
            scheduler: Arc::new(scheduler),
            entropy: Arc::new(SystemEntropy),
        })
    }
}
