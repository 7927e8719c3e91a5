//! Flushing on request, and closing.

use std::sync::Arc;
use std::time::Duration;

use kausal_index::BlockIndex;

use crate::core::Core;
use crate::error::{DISK_FULL, Error};
use crate::metrics::StallReason;
use crate::scheduler::Lane;
use crate::write::OBSTACLE_POLL;

impl<I: BlockIndex + 'static> Core<I> {
    /// Writes all memtables to tables and waits until that is done, before an obstacle up to the stall timeout.
    pub(crate) fn flush_all(self: &Arc<Self>) -> Result<(), Error> {
        let (mut is_rotated, mut deadline) = (false, None);
        loop {
            let ticket = self.progress.ticket();
            self.health.check()?;
            let mut obstacle = None;
            if !is_rotated {
                match self.rotate_if_possible() {
                    Err(error) if error.is_disk_full() => obstacle = Some(DISK_FULL),
                    rotated => is_rotated = rotated?,
                }
            }
            if is_rotated && self.memtables.frozen_count() == 0 {
                if !self.background.is_tidying() {
                    return Ok(());
                }
                // The logs go as well: whoever asked for a flush finds nothing in motion.
                self.environment.scheduler.wait(&self.progress, ticket, None);
                continue;
            }
            // A job that finds nothing to do would end at once, and wake this thread from its wait for space.
            if self.memtables.frozen_count() > 0 {
                self.schedule_flush();
            }
            let obstacle = obstacle.or_else(|| self.background.obstacle(Lane::Flush));
            // Nothing is left to be flushed and still no region is free: a reader keeps one, and nobody can tell for how long.
            let is_kept = !is_rotated && self.memtables.frozen_count() == 0;
            let obstacle = obstacle.or_else(|| is_kept.then(|| StallReason::Memtables.text()));
            let until = obstacle.map(|obstacle| self.next_look(obstacle, &mut deadline)).transpose()?;
            self.environment.scheduler.wait(&self.progress, ticket, until);
        }
    }

    /// Puts an empty memtable in the place of the active one, unless it is empty itself. Answers `false` if no region is free.
    pub(crate) fn rotate_if_possible(self: &Arc<Self>) -> Result<bool, Error> {
        let mut state = self.lock_quiet()?;
        if self.memtables.active().is_empty() {
            return Ok(true);
        }
        let can_rotate = self.memtables.can_rotate();
        if can_rotate {
            self.rotate(&mut state)?;
        }
        Ok(can_rotate)
    }

    /// When to look again whether an obstacle has gone. The first call sets the deadline, the one behind it is an error.
    pub(crate) fn next_look(
        &self,
        reason: &'static str,
        deadline: &mut Option<Duration>,
    ) -> Result<Duration, Error> {
        let now = self.environment.clock.now();
        let timeout = self.options.stall_timeout;
        if now >= *deadline.get_or_insert(now + timeout) {
            return Err(Error::Stalled { reason, waited: timeout });
        }
        Ok(now + OBSTACLE_POLL)
    }

    /// Tries again and again while the disk is full, up to the stall timeout. Holds nothing while it waits.
    pub(crate) fn retry_while_full<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        self.retry_while(|error| full_disk(error).then_some(DISK_FULL), attempt)
    }

    /// Tries again and again while the disk is full or others hold the memory, as a job in the background does, up to the
    /// stall timeout. If memory is still short then, the error names who holds it.
    pub(crate) fn retry_past_obstacles<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        self.retry_while(|error| if full_disk(error) { Some(DISK_FULL) } else { error.obstacle() }, attempt)
    }

    fn retry_while<T>(
        &self,
        obstacle: impl Fn(&Error) -> Option<&'static str>,
        attempt: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut deadline = None;
        loop {
            let ticket = self.progress.ticket();
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(reason) = obstacle(&error) else { return Err(error) };
            let until = match (self.next_look(reason, &mut deadline), error) {
                (Ok(until), _) => until,
                (Err(_), error @ Error::MemoryBudget(_)) => return Err(error),
                (Err(stalled), _) => return Err(stalled),
            };
            self.environment.scheduler.wait(&self.progress, ticket, Some(until));
            self.health.check()?;
        }
    }

    /// Ends background work, makes everything durable and seals the manifest. Does nothing the second time.
    pub(crate) fn close(&self) -> Result<(), Error> {
        if self.health.is_closed() {
            return Ok(());
        }
        self.health.close();
        self.progress.signal();
        self.wait_until_idle();
        if self.health.is_read_only() {
            return Ok(());
        }
        self.health.check_poisoned()?;
        // What is cut off behind the frames may be there again after a loss of power: zeros, which count as nothing.
        self.sync_logs()?;
        self.remove_spare_log();
        self.plan.tables.spares().end(&*self.environment.vfs, &self.directory);
        let log = self.end_log(&mut self.writer.lock());
        let sealed = self.versions.lock().close(log);
        sealed.inspect_err(|error| self.poison(error))
    }
}

/// Whether what was buffered found no room, or an edit of the manifest, or a table.
fn full_disk(error: &Error) -> bool {
    matches!(error, Error::Stalled { reason: DISK_FULL, .. }) || error.is_disk_full()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use crate::{Error, Options, StorageEngine};

    /// An attempt that is refused memory so many times, and how often it was made.
    fn attempts(stall_timeout: Duration, refusals: usize) -> (Result<(), Error>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new().memory_budget(8 << 20).stall_timeout(stall_timeout);
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        let core = engine.core();
        let made = Cell::new(0);
        let done = core.retry_past_obstacles(|| {
            made.set(made.get() + 1);
            let wish = if made.get() <= refusals { core.plan.root.ceiling() } else { 0 };
            drop(core.plan.requests.reserve(wish)?);
            Ok(())
        });
        (done, made.get())
    }

    #[test]
    fn what_is_asked_for_waits_for_memory_that_others_hold() {
        let (done, made) = attempts(Duration::from_secs(60), 2);
        assert!(done.is_ok() && made == 3, "{done:?} after {made}");
    }

    #[test]
    fn memory_that_does_not_come_back_is_an_error_that_names_the_node() {
        let (done, made) = attempts(Duration::from_millis(60), usize::MAX);
        let error = done.unwrap_err();
        assert!(made > 1, "{error} after {made}");
        let Error::MemoryBudget(source) = error else { panic!("{error}") };
        assert!(source.to_string().contains("requests"), "{source}");
    }
}
