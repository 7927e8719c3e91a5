//! Events: something others may wait for, without losing a wake-up and without spinning.
//!
//! An event is a counter. Who wants to wait takes a [`Ticket`], looks whether there is need to wait, and then waits
//! for the counter to move past the ticket; a signal in between is not lost.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// The state of an event when somebody began to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A counter that can be waited for. Waiting goes through [`Scheduler::wait`](crate::scheduler::Scheduler::wait).
#[derive(Debug, Default)]
pub struct Event {
    count: Mutex<u64>,
    moved: Condvar,
}

impl Event {
    /// An event that was never signalled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state now.
    pub fn ticket(&self) -> Ticket {
        Ticket(*self.count.lock())
    }

    /// Wakes everybody who holds an older ticket.
    pub fn signal(&self) {
        *self.count.lock() += 1;
        self.moved.notify_all();
    }

    /// Whether the event was signalled since `ticket`.
    pub fn has_moved(&self, ticket: Ticket) -> bool {
        *self.count.lock() > ticket.0
    }

    /// Blocks the thread until the event moves past `ticket`, or until `deadline`. Answers whether it has moved.
    pub(crate) fn block(&self, ticket: Ticket, deadline: Option<Instant>) -> bool {
        let mut count = self.count.lock();
        while *count <= ticket.0 {
            match deadline {
                None => self.moved.wait(&mut count),
                Some(deadline) => {
                    if self.moved.wait_until(&mut count, deadline).timed_out() {
                        return *count > ticket.0;
                    }
                }
            }
        }
        true
    }
}
