//! Syncs of finished tables that go on behind the thread that writes the next one.
//!
//! A disk's flush of a table takes about as long as writing one. Each sync is a job of its own on the lane of flushes, which has
//! nothing else to do meanwhile; whoever needs the tables durable waits for all of them at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::sync::Mutex;

use crate::error::Error;
use crate::event::Event;
use crate::scheduler::{Lane, Scheduler};
use crate::vfs::VfsFile;

/// Syncs that were asked for.
#[derive(Debug)]
pub(crate) struct TableSyncs {
    scheduler: Arc<dyn Scheduler>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a sync ends.
    ended: Event,
}

#[derive(Debug, Default)]
struct State {
    pending: usize,
    /// The first of them.
    failure: Option<(PathBuf, io::Error)>,
}

/// A sync from its queueing to its end, in whatever way it ends.
struct Sync {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    shared: Arc<Shared>,
    result: io::Result<()>,
}

impl TableSyncs {
    pub(crate) fn new(scheduler: &Arc<dyn Scheduler>) -> Self {
        Self { scheduler: Arc::clone(scheduler), shared: Arc::default() }
    }

    /// Begins to sync `file`.
    pub(crate) fn begin(&self, file: Arc<dyn VfsFile>, path: &Path) {
        self.shared.state.lock().pending += 1;
        // Of a job that is dropped unrun, or ends in a panic, nobody knows that the file is on the disk.
        let result = Err(io::ErrorKind::Interrupted.into());
        let sync = Sync { file, path: path.to_owned(), shared: Arc::clone(&self.shared), result };
        self.scheduler.spawn(Lane::Flush, Box::new(move || sync.run()));
    }

    /// Waits until all syncs that have begun are done.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if one of them failed.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        loop {
            let mut state = self.shared.state.lock();
            if state.pending == 0 {
                let failure = state.failure.take();
                return failure.map_or(Ok(()), |(path, error)| Err(Error::io("sync", &path)(error)));
            }
            // Under the lock: a sync that ends from here on moves the event past it.
            let ticket = self.shared.ended.ticket();
            drop(state);
            self.scheduler.wait(&self.shared.ended, ticket, None);
        }
    }
}

impl Sync {
    fn run(mut self) {
        self.result = self.file.sync();
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.pending -= 1;
        if let Err(error) = std::mem::replace(&mut self.result, Ok(())) {
            state.failure.get_or_insert((std::mem::take(&mut self.path), error));
        }
        drop(state);
        self.shared.ended.signal();
    }
}
