//! Background work: at most one flush and one compaction of a database at a time, each on its own lane.
//!
//! Scheduling is asking: a job that finds nothing to do ends at once. A job that finds the disk full, for a table or for its
//! edit of the manifest, or others holding the memory beyond what was set aside for it, has removed what it had written; it is
//! asked for again by whoever waits for it, and runs when there is more room on the disk than then, or a little later. A job
//! that fails otherwise poisons the database; its inputs are still there, so nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kausal_index::BlockIndex;
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::{DISK_FULL, Error};
use crate::event::Event;
use crate::listener::EngineEvent;
use crate::metrics::StallReason;
use crate::scheduler::Lane;

/// How long after a full disk a job tries again although the file system tells of no more room. Quotas, and space that is
/// set aside for others, do not show there.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// The same for memory, which comes back when a reader ends.
const MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// Which jobs are queued or running, and which met an obstacle.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// How often compaction was paused and not resumed.
    paused: AtomicUsize,
    flush: AtomicBool,
    compaction: AtomicBool,
    /// A memtable is in tables, and its logs are on their way out.
    tidying: AtomicBool,
    rests: [Mutex<Option<Rest>>; 2],
}

/// A job met an obstacle that goes away by itself, or by somebody else.
#[derive(Clone, Copy, Debug)]
struct Rest {
    obstacle: &'static str,
    until: Duration,
    /// Free bytes then, if the file system told.
    free: Option<u64>,
}

impl Background {
    fn flag(&self, lane: Lane) -> &AtomicBool {
        match lane {
            Lane::Flush => &self.flush,
            Lane::Compaction => &self.compaction,
        }
    }

    /// Whether compaction is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst) > 0
    }

    /// What the last job of the lane could not go on for, if none has ended well since.
    pub(crate) fn obstacle(&self, lane: Lane) -> Option<&'static str> {
        self.rests[lane as usize].lock().map(|rest| rest.obstacle)
    }

    /// Whether logs are on their way out that nobody needs.
    pub(crate) fn is_tidying(&self) -> bool {
        // SeqCst, here and below: as for the jobs.
        self.tidying.load(Ordering::SeqCst)
    }

    pub(crate) fn set_tidying(&self, is_tidying: bool) {
        self.tidying.store(is_tidying, Ordering::SeqCst);
    }

    /// Whether a job is queued or running.
    pub(crate) fn is_busy(&self) -> bool {
        // SeqCst: read after a ticket was taken, written before the event is signalled.
        self.flush.load(Ordering::SeqCst) || self.compaction.load(Ordering::SeqCst)
    }
}

/// A job from its queueing to its end. Takes the lane's flag back and wakes those who wait, even if the job panics, or is
/// dropped unrun by a scheduler that shuts down.
///
/// The flag and the event are held beside the core: when a job is seen to have ended, it holds nothing of the core any more,
/// and who closes the database after that drops the core, and with it the lock on the folder.
struct Queued<I: BlockIndex + 'static> {
    core: Weak<Core<I>>,
    background: Arc<Background>,
    progress: Arc<Event>,
    lane: Lane,
    is_running: bool,
}

impl<I: BlockIndex + 'static> Queued<I> {
    fn run(mut self, work: fn(&Arc<Core<I>>) -> Result<(), Error>) {
        let Some(core) = self.core.upgrade() else { return };
        self.is_running = true;
        let ended = work(&core);
        let obstacle = ended.as_ref().err().and_then(Error::obstacle);
        *self.background.rests[self.lane as usize].lock() = obstacle.map(|obstacle| core.rest(obstacle));
        if let Err(error) = ended
            && obstacle.is_none()
            && !core.health.is_closed()
        {
            core.poison(&error);
        }
        self.is_running = false;
        core.events.tell_kept();
        if let Some(obstacle) = obstacle {
            core.events.tell(|| EngineEvent::Obstacle { reason: StallReason::of_obstacle(obstacle) });
        }
    }
}

impl<I: BlockIndex + 'static> Drop for Queued<I> {
    fn drop(&mut self) {
        if self.is_running
            && let Some(core) = self.core.upgrade()
        {
            core.poison(&Error::BackgroundPanic);
        }
        self.background.flag(self.lane).store(false, Ordering::SeqCst);
        self.progress.signal();
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Sees to it that frozen memtables are flushed.
    pub(crate) fn schedule_flush(self: &Arc<Self>) {
        self.schedule(Lane::Flush, Self::flush_frozen);
    }

    /// Sees to it that levels that are too large are compacted.
    pub(crate) fn schedule_compaction(self: &Arc<Self>) {
        if self.background.is_paused() {
            return;
        }
        self.schedule(Lane::Compaction, Self::compact_due);
    }

    pub(crate) fn pause_compaction(&self) {
        self.background.paused.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn resume_compaction(self: &Arc<Self>) {
        self.background.paused.fetch_sub(1, Ordering::SeqCst);
        self.schedule_compaction();
    }

    fn schedule(self: &Arc<Self>, lane: Lane, work: fn(&Arc<Self>) -> Result<(), Error>) {
        if self.health.check().is_err() || self.is_resting(lane) {
            return;
        }
        if self.background.flag(lane).swap(true, Ordering::SeqCst) {
            return;
        }
        let (background, progress) = (Arc::clone(&self.background), Arc::clone(&self.progress));
        let job = Queued { core: Arc::downgrade(self), background, progress, lane, is_running: false };
        self.environment.scheduler.spawn(lane, Box::new(move || job.run(work)));
    }

    fn rest(&self, obstacle: &'static str) -> Rest {
        let now = self.environment.clock.now();
        if obstacle == DISK_FULL {
            self.clear_spare_tables();
            let free = self.environment.vfs.free_space(&self.directory).ok();
            return Rest { obstacle, until: now + DISK_PAUSE, free };
        }
        Rest { obstacle, until: now + MEMORY_PAUSE, free: None }
    }

    /// Whether a job met an obstacle and there is no sign that it is not there any more.
    fn is_resting(&self, lane: Lane) -> bool {
        let Some(Rest { until, free, .. }) = *self.background.rests[lane as usize].lock() else {
            return false;
        };
        if self.environment.clock.now() >= until {
            return false;
        }
        let Some(then) = free else { return true };
        self.environment.vfs.free_space(&self.directory).is_ok_and(|now| now <= then)
    }

    /// Waits until no background job is queued or running.
    pub(crate) fn wait_until_idle(&self) {
        loop {
            let ticket = self.progress.ticket();
            if !self.background.is_busy() {
                return;
            }
            self.environment.scheduler.wait(&self.progress, ticket, None);
        }
    }
}
