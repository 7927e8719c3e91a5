//! One thread, seeded order: background jobs run when somebody waits or when the driver says so.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::event::{Event, Ticket};
use crate::scheduler::{Job, Lane, Scheduler, Waited};
use crate::sim::SimRandom;

/// Time that stands still but for waits that reach their deadline, and for jumps.
#[derive(Debug, Default)]
pub struct SimClock {
    now: Mutex<Duration>,
    /// Jumps that nobody has seen yet, and those that were seen.
    jumps: Mutex<(u64, u64)>,
}

impl SimClock {
    /// Moves the clock forward to `now`.
    pub fn advance_to(&self, now: Duration) {
        let mut held = self.now.lock();
        *held = now.max(*held);
    }

    /// Moves the clock forward by `duration` all at once, as a machine that slept sees it.
    pub fn jump(&self, duration: Duration) {
        *self.now.lock() += duration;
        self.jumps.lock().0 += 1;
    }

    /// How many jumps somebody who asked for the time has seen.
    pub fn seen_jump_count(&self) -> u64 {
        self.jumps.lock().1
    }

    fn look(&self) {
        let mut jumps = self.jumps.lock();
        jumps.1 += std::mem::take(&mut jumps.0);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.look();
        *self.now.lock()
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.now()
    }
}

/// Runs jobs on the calling thread, in the order that a seed decides.
pub struct SimScheduler {
    seed: u64,
    random: SimRandom,
    clock: Arc<SimClock>,
    jobs: Mutex<Vec<Job>>,
    /// One wait with a deadline in so many sees it pass before any job has run; 0 is none.
    impatience: Mutex<u64>,
}

impl SimScheduler {
    /// A scheduler without jobs.
    pub fn new(seed: u64, clock: Arc<SimClock>) -> Self {
        Self { seed, random: SimRandom::new(seed), clock, jobs: Mutex::default(), impatience: Mutex::new(0) }
    }

    /// The clock that waits look at.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// From now on, one wait with a deadline in `one_in` sees the clock jump to it before any job has run.
    pub fn let_deadlines_pass(&self, one_in: u64) {
        *self.impatience.lock() = one_in;
    }

    fn is_impatient(&self) -> bool {
        let one_in = *self.impatience.lock();
        one_in > 0 && self.random.below(one_in) == 0
    }

    /// Runs one queued job, if there is one.
    pub fn run_one(&self) -> bool {
        let job = {
            let mut jobs = self.jobs.lock();
            if jobs.is_empty() {
                return false;
            }
            let place = self.random.below(jobs.len() as u64) as usize;
            jobs.swap_remove(place)
        };
        job();
        true
    }
}

impl Scheduler for SimScheduler {
    fn spawn(&self, _lane: Lane, job: Job) {
        self.jobs.lock().push(job);
    }

    /// # Panics
    ///
    /// If nothing is queued that could signal the event and there is no deadline: on a real machine this thread would
    /// wait for ever.
    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        if let Some(deadline) = deadline
            && self.is_impatient()
            && !event.has_moved(ticket)
        {
            let now = *self.clock.now.lock();
            self.clock.jump(deadline.saturating_sub(now));
            return Waited::DeadlinePassed;
        }
        while !event.has_moved(ticket) {
            if self.run_one() {
                continue;
            }
            let Some(deadline) = deadline else { panic!("deadlock with seed {}", self.seed) };
            self.clock.advance_to(deadline);
            return Waited::DeadlinePassed;
        }
        Waited::Signalled
    }

    fn shutdown(&self) {
        let dropped = std::mem::take(&mut *self.jobs.lock());
        drop(dropped);
    }

    fn panic_count(&self) -> usize {
        0
    }
}

impl std::fmt::Debug for SimScheduler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SimScheduler").field("seed", &self.seed).finish_non_exhaustive()
    }
}
