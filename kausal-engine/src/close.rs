//! Flushing on request, and closing.

use std::sync::Arc;

use kausal_index::BlockIndex;

use crate::core::Core;
use crate::error::Error;
use crate::wal::PreviousLog;

impl<I: BlockIndex + 'static> Core<I> {
    /// Writes all memtables to tables and waits until that is done.
    pub(crate) fn flush_all(self: &Arc<Self>) -> Result<(), Error> {
        let mut is_rotated = false;
        loop {
            let ticket = self.progress.ticket();
            self.health.check()?;
            if !is_rotated {
                let mut writer = self.writer.lock();
                if self.memtables.active().is_empty() {
                    is_rotated = true;
                } else if self.memtables.can_rotate() {
                    self.rotate(&mut writer)?;
                    is_rotated = true;
                }
            }
            if is_rotated && self.memtables.frozen_count() == 0 {
                return Ok(());
            }
            self.schedule_flush();
            self.environment.scheduler.wait(&self.progress, ticket, None);
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
        let mut writer = self.writer.lock();
        let sealed = self
            .sync_logs(&mut writer)
            .and_then(|()| self.versions.lock().close(PreviousLog::of(&writer.log)));
        sealed.inspect_err(|error| self.poison(error))
    }
}
