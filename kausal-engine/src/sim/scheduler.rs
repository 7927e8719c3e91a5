//! Seeded order: background jobs run when somebody waits or when the driver says so, on the thread that waits. There is
//! one thread, or several that take [turns](super::turns).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::event::{Event, Ticket};
use crate::scheduler::{Job, Lane, Scheduler, Waited};
use crate::sim::SimRandom;
use crate::sim::turns::Turns;

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
    turns: Turns,
    /// Jobs that have begun and not ended: they may hold locks that other jobs need.
    job_depth: Mutex<u64>,
}

impl SimScheduler {
    /// A scheduler without jobs.
    pub fn new(seed: u64, clock: Arc<SimClock>) -> Self {
        Self {
            seed,
            random: SimRandom::new(seed),
            clock,
            jobs: Mutex::default(),
            impatience: Mutex::new(0),
            turns: Turns::default(),
            job_depth: Mutex::new(0),
        }
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
        *self.job_depth.lock() += 1;
        job();
        *self.job_depth.lock() -= 1;
        self.turns.wake_all();
        true
    }

    /// Runs `tasks` as on as many threads, of which one runs at a time: the turn changes where one waits and where a writer
    /// has taken batches to the log, in an order that the seed decides. Returns when all have ended.
    ///
    /// # Panics
    ///
    /// If a task does, if all of them wait and nothing is queued that could wake one, or if called by one of them.
    pub fn run_together(&self, tasks: Vec<Box<dyn FnOnce() + Send + '_>>) {
        self.turns.run(tasks, &self.random);
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
        let mut is_first = true;
        while !event.has_moved(ticket) {
            let others_ran = self.turns.sleep(deadline, is_first, &self.random);
            is_first = false;
            if others_ran || self.run_one() {
                continue;
            }
            if self.turns.pass_to_earliest(deadline, &self.random) {
                continue;
            }
            let Some(deadline) = deadline else { panic!("deadlock with seed {}", self.seed) };
            self.clock.advance_to(deadline);
            self.turns.wake();
            return Waited::DeadlinePassed;
        }
        self.turns.wake();
        Waited::Signalled
    }

    fn let_others_go(&self) {
        if *self.job_depth.lock() == 0 {
            self.turns.let_others_go(&self.random);
        }
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
