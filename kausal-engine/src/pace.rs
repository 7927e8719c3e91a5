//! Pace of background work: how far a job is, for writers to keep in step with, and how fast it may write.
//!
//! 1. Every few kilobytes a job tells how much of its entries it has read ([`Flow`](crate::flow::Flow)).
//! 2. What it has written is taken off a budget of bytes per second, if the options give one. A flush takes first: it only waits
//!    for what flushes have written, and compaction waits for what both have.
//! 3. It offers its core to others ([`Courtesy`]).
//! 4. A compaction that writes below level 1 gives way to a flush that writers wait behind: it stands still until the flush has
//!    ended, for a twentieth of a second at most at a time.
//!
//! Every wait goes through the scheduler, and ends when the database is closed.

use std::cell::RefCell;
use std::time::Duration;

use kausal_arena::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use kausal_index::BlockIndex;

use crate::core::Core;
use crate::courtesy::Courtesy;
use crate::environment::Environment;
use crate::scheduler::{Lane, Waited};
use crate::table_output::Pace;

/// What was not written in the last tenth of a second may be made up for.
const BURST: Duration = Duration::from_millis(100);

/// Shorter waits are saved up.
const WAIT_MIN: Duration = Duration::from_millis(2);

/// How long a deep compaction gives way to one flush.
const GIVE_WAY_MAX: Duration = Duration::from_millis(50);

/// Bytes per second of background work: the time up to which each lane has used its bytes.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    used: Mutex<[Duration; 2]>,
}

impl RateLimit {
    /// Takes `cost`, the time that the bytes are worth. Answers until when the lane has to wait.
    fn take(&self, lane: Lane, now: Duration, cost: Duration) -> Duration {
        let mut used = self.used.lock();
        let begin = now.saturating_sub(BURST);
        if lane == Lane::Flush {
            let flush = &mut used[Lane::Flush as usize];
            *flush = (*flush).max(begin) + cost;
        }
        // Compaction pays for all.
        let all = &mut used[Lane::Compaction as usize];
        *all = (*all).max(begin) + cost;
        used[lane as usize]
    }
}

/// How far a job is, and whether it is to go on: shared by all who do parts of it.
#[derive(Debug, Default)]
pub(crate) struct JobState {
    /// Entries read.
    done: AtomicU64,
    is_stopped: AtomicBool,
}

impl JobState {
    /// Nothing of the job is needed any more.
    pub(crate) fn stop(&self) {
        // Relaxed, here and below: who sees it late does a little more in vain.
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// The job begins anew.
    pub(crate) fn reset(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.is_stopped.store(false, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Counts entries, and answers how many there were in all.
    fn advance(&self, entries: u64) -> u64 {
        self.done.fetch_add(entries, Ordering::Relaxed) + entries
    }
}

/// The pace of one job, or of who does a part of it.
pub(crate) struct JobPace<'a, I: BlockIndex + 'static> {
    core: &'a Core<I>,
    lane: Lane,
    is_deep: bool,
    /// Flushes that had ended when a job began that the next one ends.
    given_up_after: Option<u64>,
    all: u64,
    state: &'a JobState,
    /// Of this thread: offers are made one at a time.
    courtesy: RefCell<Courtesy>,
}

impl<'a, I: BlockIndex + 'static> JobPace<'a, I> {
    /// Of a job that reads so many entries.
    pub(crate) fn new(core: &'a Core<I>, lane: Lane, entry_count: u64, state: &'a JobState) -> Self {
        let courtesy = RefCell::new(Courtesy::new(core.visible().get()));
        Self { core, lane, is_deep: false, given_up_after: None, all: entry_count, state, courtesy }
    }

    /// Of a compaction that nobody waits for.
    pub(crate) fn deep(mut self, is_deep: bool) -> Self {
        self.is_deep = is_deep;
        self
    }

    /// Of a compaction that is given up when a memtable is full: of one that began when so many flushes had ended.
    pub(crate) fn given_up_after(mut self, flushes: Option<u64>) -> Self {
        self.given_up_after = flushes;
        self
    }

    /// Whether the job is to end without a result: the database is closed, or a memtable was full and the job gives way to that,
    /// or another part of it has failed.
    pub(crate) fn is_over(&self) -> bool {
        self.core.health.is_closed()
            || self.state.is_stopped()
            || self.given_up_after.is_some_and(|flushes| self.has_flushed_since(flushes))
    }

    fn has_flushed_since(&self, flushes: u64) -> bool {
        self.core.counters.flushes.get() != flushes || self.core.read_view(|view| !view.frozen.is_empty())
    }

    /// Waits until `until`; less if the database is closed, or if `is_over` before.
    fn wait(&self, until: Duration, is_over: impl Fn() -> bool) {
        let core = self.core;
        loop {
            let ticket = core.progress.ticket();
            if self.is_over() || is_over() || core.environment.clock.now() >= until {
                return;
            }
            let waited = core.environment.scheduler.wait(&core.progress, ticket, Some(until));
            if waited == Waited::DeadlinePassed {
                return;
            }
        }
    }

    /// Offers the core to others, if that is due. Some tens of microseconds of work after the last time, holding no lock.
    pub(crate) fn offer_core(&self) {
        let Environment { clock, scheduler, .. } = &self.core.environment;
        let last_write = self.core.visible().get();
        self.courtesy.borrow_mut().step(last_write, || clock.now(), || scheduler.offer_core());
    }

    fn limit(&self, bytes: u64) {
        let Some(per_second) = self.core.options.background_bytes_per_second else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        let now = self.core.environment.clock.now();
        let until = self.core.rate_limit.take(self.lane, now, cost);
        let is_free = self.lane == Lane::Flush && !self.core.options.rate_limit_flushes;
        if !is_free && until >= now + WAIT_MIN {
            self.wait(until, || false);
        }
    }
}

impl<I: BlockIndex + 'static> Pace for JobPace<'_, I> {
    fn step(&self, entries: u64, bytes: u64) {
        self.core.flow.advance_job(self.lane, self.state.advance(entries), self.all);
        self.offer_core();
        self.limit(bytes);
        if self.is_deep && self.core.is_flush_awaited() {
            let until = self.core.environment.clock.now() + GIVE_WAY_MAX;
            self.wait(until, || !self.core.is_flush_awaited());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_flushes_only_and_compaction_for_both() {
        let limit = RateLimit::default();
        let second = Duration::from_secs;
        assert_eq!(limit.take(Lane::Compaction, second(10), second(5)), second(15) - BURST);
        assert_eq!(limit.take(Lane::Flush, second(10), second(1)), second(11) - BURST);
        assert_eq!(limit.take(Lane::Compaction, second(10), second(1)), second(17) - BURST);
    }

    #[test]
    fn what_was_not_used_is_kept_for_a_tenth_of_a_second() {
        let limit = RateLimit::default();
        let first = limit.take(Lane::Compaction, Duration::from_secs(10), Duration::from_millis(60));
        assert_eq!(first, Duration::from_millis(9_960));
        let later = limit.take(Lane::Compaction, Duration::from_secs(20), Duration::from_millis(60));
        assert_eq!(later, Duration::from_millis(19_960));
    }
}
