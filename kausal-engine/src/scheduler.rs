//! The scheduler: where background jobs run, and how anybody waits.
//!
//! A lane is a queue with threads of its own, so a flush never waits behind a compaction. Nothing in the engine
//! sleeps, spins or starts a thread but through this trait; a simulated scheduler runs the same jobs on one thread,
//! in an order that a seed decides.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::event::{Event, Ticket};

/// A piece of background work. It runs to its end; long ones look themselves whether they should stop.
pub type Job = Box<dyn FnOnce() + Send>;

/// Which queue a job goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Memtables to tables: gives memory back.
    Flush,
    /// Tables to fewer tables.
    Compaction,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The event has moved.
    Signalled,
    /// The deadline came first.
    DeadlinePassed,
}

/// Runs background jobs and lets callers wait.
pub trait Scheduler: Send + Sync + fmt::Debug {
    /// Queues a job. After [`shutdown`](Self::shutdown) jobs are dropped unrun.
    fn spawn(&self, lane: Lane, job: Job);

    /// Waits until `event` moves past `ticket`, or until `deadline` on the environment's clock.
    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited;

    /// Called where the calling thread goes on for a while without a lock that others need: a writer that is about to bring
    /// batches to the log. A scheduler that runs one thread at a time lets others go first; on threads there is nothing to do.
    fn let_others_go(&self) {}

    /// Offers the calling thread's core to whoever is ready to run, and returns when it is its turn again; it holds no lock then.
    /// A background job does so every few tens of microseconds, and a writer a few times before it sleeps until an earlier one has
    /// ended. Where nobody waits for a core there is nothing to do.
    fn offer_core(&self) {}

    /// Drops queued jobs, lets running ones end, and waits for them unless called from one of them.
    fn shutdown(&self);

    /// Jobs that ended in a panic so far. The lane goes on; the engine treats it as a failure of its own.
    fn panic_count(&self) -> usize;
}

/// How far compaction steps back behind flushes, and behind those who write and read, where the processor is not enough for all:
/// without it a put may stand still for a time slice of 4 ms and more. It keeps a third of what it would have, so that it
/// is not starved where the machine has other work.
const COMPACTION_NICENESS: i32 = 5;

/// Lowers the priority of the calling thread. Where that would be the whole process's, or is refused, it stays.
fn step_back(niceness: i32) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(niceness);
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

/// Threads of the operating system, one per lane or several for compactions.
pub struct ThreadScheduler {
    lanes: [LaneThreads; 2],
    origin: Instant,
}

struct LaneThreads {
    shared: Arc<LaneShared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct LaneShared {
    queue: Mutex<Queue>,
    changed: Condvar,
    panics: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl ThreadScheduler {
    /// Starts the threads, one per lane. Deadlines count from this moment.
    ///
    /// # Errors
    ///
    /// As the system gives them, if it starts no thread.
    pub fn start() -> std::io::Result<Self> {
        Self::start_with(1)
    }

    /// Starts the threads, so many of them for compactions: at least one.
    ///
    /// # Errors
    ///
    /// As the system gives them, if it starts no thread.
    pub fn start_with(compaction_threads: usize) -> std::io::Result<Self> {
        let scheduler = Self { lanes: [LaneThreads::new(), LaneThreads::new()], origin: Instant::now() };
        let [flush, compaction] = &scheduler.lanes;
        flush.start("kausal-flush", 0)?;
        for _ in 0..compaction_threads.max(1) {
            compaction.start("kausal-compact", COMPACTION_NICENESS)?;
        }
        Ok(scheduler)
    }
}

impl LaneThreads {
    fn new() -> Self {
        Self { shared: Arc::default(), threads: Mutex::default() }
    }

    fn start(&self, name: &str, niceness: i32) -> std::io::Result<()> {
        let worker = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back(niceness);
            worker.run();
        })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn shutdown(&self) {
        let dropped = {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        self.shared.changed.notify_all();
        // A job's drop may do work of its own: not under the lock.
        drop(dropped);
        let threads = std::mem::take(&mut *self.threads.lock());
        // The last handle on a database may be dropped by one of its own jobs; that thread cannot wait for itself.
        let is_another = |thread: &JoinHandle<()>| thread.thread().id() != thread::current().id();
        for thread in threads.into_iter().filter(is_another) {
            // Panics were caught and counted in the thread.
            let _ = thread.join();
        }
    }
}

impl LaneShared {
    fn run(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }
}

impl Scheduler for ThreadScheduler {
    fn spawn(&self, lane: Lane, job: Job) {
        let shared = &self.lanes[lane as usize].shared;
        let mut queue = shared.queue.lock();
        if !queue.closed {
            queue.jobs.push_back(job);
            shared.changed.notify_one();
        }
    }

    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        // A deadline too far to be told is none.
        let deadline = deadline.and_then(|deadline| self.origin.checked_add(deadline));
        if event.block(ticket, deadline) { Waited::Signalled } else { Waited::DeadlinePassed }
    }

    fn offer_core(&self) {
        thread::yield_now();
    }

    fn shutdown(&self) {
        self.lanes.iter().for_each(LaneThreads::shutdown);
    }

    fn panic_count(&self) -> usize {
        self.lanes.iter().map(|lane| lane.shared.panics.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for ThreadScheduler {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for ThreadScheduler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ThreadScheduler").finish_non_exhaustive()
    }
}
