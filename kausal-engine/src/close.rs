//! Flushing on request, and closing.

use std::sync::Arc;
use std::time::Duration;

use kausal_index::BlockIndex;

use crate::core::Core;
use crate::error::{DISK_FULL, Error};
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
                return Ok(());
            }
            // A job that finds nothing to do would end at once, and wake this thread from its wait for space.
            if self.memtables.frozen_count() > 0 {
                self.schedule_flush();
            }
            let obstacle = obstacle.or_else(|| self.background.obstacle(Lane::Flush));
            let until = obstacle.map(|obstacle| self.next_look(obstacle, &mut deadline)).transpose()?;
            self.environment.scheduler.wait(&self.progress, ticket, until);
        }
    }

    /// Puts an empty memtable in the place of the active one, unless it is empty itself. Answers `false` if no region is free.
    fn rotate_if_possible(self: &Arc<Self>) -> Result<bool, Error> {
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
        let mut deadline = None;
        loop {
            let ticket = self.progress.ticket();
            match attempt() {
                // What was buffered found no room, or an edit of the manifest, or a table.
                Err(Error::Stalled { reason: DISK_FULL, .. }) => {}
                Err(error) if error.is_disk_full() => {}
                done => return done,
            }
            let until = self.next_look(DISK_FULL, &mut deadline)?;
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
        let log = self.end_log(&mut self.writer.lock());
        let sealed = self.versions.lock().close(log);
        sealed.inspect_err(|error| self.poison(error))
    }
}
