//! Events: something others may wait for, without losing a wake-up and without spinning.
//!
//! An event is a counter. Who wants to wait takes a [`Ticket`], looks whether there is need to wait, and then waits
//! for the counter to move past the ticket; a signal in between is not lost.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The state of an event when somebody began to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A counter that can be waited for. Waiting goes through [`Scheduler::wait`](crate::scheduler::Scheduler::wait).
#[derive(Debug, Default)]
pub struct Event {
    count: Mutex<u64>,
    // The standard library's, not `parking_lot`'s, which wakes one thread and lines the others up behind the lock: sixteen members
    // of a group came back one after the other, which took as long as a sync.
    moved: Condvar,
}

impl Event {
    /// An event that was never signalled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state now.
    pub fn ticket(&self) -> Ticket {
        Ticket(*self.count())
    }

    /// Wakes everybody who holds an older ticket.
    pub fn signal(&self) {
        *self.count() += 1;
        self.moved.notify_all();
    }

    /// Whether the event was signalled since `ticket`.
    pub fn has_moved(&self, ticket: Ticket) -> bool {
        *self.count() > ticket.0
    }

    /// Blocks the thread until the event moves past `ticket`, or until `deadline`. Answers whether it has moved.
    pub(crate) fn block(&self, ticket: Ticket, deadline: Option<Instant>) -> bool {
        let mut count = self.count();
        while *count <= ticket.0 {
            let Some(deadline) = deadline else {
                count = self.moved.wait(count).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            count = self.moved.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Nothing is done under the lock that could leave the counter in between.
    fn count(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
