//! Publication in order, under a model checker: the very file that ships, with an event that the checker knows.
//!
//! ```console
//! $ RUSTFLAGS="--cfg shuttle" cargo test --release -p kausal-engine --target-dir target/shuttle --test order_models
//! ```
//!
//! Its name keeps it from `cargo xtask model loom`, under which the engine does not build: loom's `Arc` is not `std`'s.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod event {
    #[cfg(shuttle)]
    use shuttle::sync::{Condvar, Mutex};
    #[cfg(not(shuttle))]
    use std::sync::{Condvar, Mutex};

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Ticket(u64);

    /// The engine's event, on the checker's lock and condition.
    #[derive(Debug)]
    pub(crate) struct Event {
        count: Mutex<u64>,
        moved: Condvar,
    }

    impl Event {
        pub(crate) fn new() -> Self {
            Self { count: Mutex::new(0), moved: Condvar::new() }
        }

        pub(crate) fn ticket(&self) -> Ticket {
            Ticket(*self.count.lock().unwrap())
        }

        pub(crate) fn signal(&self) {
            *self.count.lock().unwrap() += 1;
            self.moved.notify_all();
        }

        pub(crate) fn block(&self, ticket: Ticket) {
            let mut count = self.count.lock().unwrap();
            while *count <= ticket.0 {
                count = self.moved.wait(count).unwrap();
            }
        }
    }
}

mod scheduler {
    use std::time::Duration;

    use crate::event::{Event, Ticket};

    pub(crate) trait Scheduler {
        fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>);
        fn offer_core(&self);
    }

    pub(crate) struct Threads;

    impl Scheduler for Threads {
        fn wait(&self, event: &Event, ticket: Ticket, _deadline: Option<Duration>) {
            event.block(ticket);
        }

        fn offer_core(&self) {
            kausal_arena::sync::thread::yield_now();
        }
    }
}

#[path = "../src/commit/order.rs"]
mod order;

use kausal_arena::sync::{Arc, AtomicU64, Ordering, model, thread};
use kausal_index::SeqNo;

use event::Event;
use order::{IsFreezing, Order};
use scheduler::{Scheduler, Threads};

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

/// What the writers share beside the order.
struct Shared {
    order: Order,
    /// Entry `n - 1` is written when it is `n`.
    entries: Vec<AtomicU64>,
    permits: AtomicU64,
    progress: Event,
}

impl Shared {
    fn new(entries: u64, permits: u64) -> Arc<Self> {
        Arc::new(Self {
            order: Order::new(SeqNo::ZERO),
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
            permits: AtomicU64::new(permits),
            progress: Event::new(),
        })
    }

    /// Writes the entries `first..=last`, ends the permit, and publishes.
    fn write(&self, first: u64, last: u64) {
        for number in first..=last {
            self.entries[number as usize - 1].store(number, Ordering::Relaxed);
        }
        // Release: as the permits of a region end.
        self.permits.fetch_sub(1, Ordering::Release);
        let IsFreezing(is_freezing) = self.order.finish(seqno(first), seqno(last), &Threads).unwrap();
        if is_freezing {
            self.progress.signal();
        }
        self.read(last);
    }

    /// Everything that is visible is written, and `least` is visible.
    fn read(&self, least: u64) {
        let visible = self.order.visible().get();
        assert!(visible >= least, "a batch that has been published is seen");
        for number in 1..=visible {
            assert_eq!(
                self.entries[number as usize - 1].load(Ordering::Relaxed),
                number,
                "seen before it was there"
            );
        }
    }
}

fn explored(name: &str, check: impl Fn() + Send + Sync + 'static) {
    println!("{name}: {} runs", model(check));
}

#[test]
fn nobody_sees_a_batch_before_it_and_all_earlier_ones_are_there() {
    explored("two writers and a reader", || {
        let shared = Shared::new(3, 2);
        let threads = [(1, 2), (3, 3)].map(|(first, last)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.write(first, last))
        });
        let before = shared.order.visible().get();
        assert!([0, 2, 3].contains(&before), "half a batch is visible");
        shared.read(before);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        shared.read(3);
    });
}

#[test]
fn a_flush_that_waits_for_permits_and_numbers_is_woken() {
    explored("a writer and a flush", || {
        let shared = Shared::new(1, 1);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.write(1, 1))
        };
        shared.order.set_freezing(true);
        loop {
            let ticket = shared.progress.ticket();
            // Acquire: pairs with the Release of who ends a permit.
            if shared.permits.load(Ordering::Acquire) == 0 {
                break;
            }
            Threads.wait(&shared.progress, ticket, None);
        }
        shared.order.set_freezing(false);
        shared.order.wait_until(seqno(1), &Threads).unwrap();
        shared.read(1);
        writer.join().unwrap();
    });
}

#[test]
fn who_waits_behind_a_broken_writer_hears_of_it() {
    explored("a writer and a break", || {
        let shared = Shared::new(2, 2);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.order.finish(seqno(2), seqno(2), &Threads).is_err())
        };
        assert!(!shared.order.is_freezing());
        shared.order.break_off();
        assert!(writer.join().unwrap(), "nobody publishes number 1");
    });
}

#[cfg(shuttle)]
#[test]
fn many_writers_of_any_number_finish() {
    explored("five writers", || {
        let shared = Shared::new(9, 5);
        let threads: Vec<_> = [(1, 3), (4, 4), (5, 6), (7, 7), (8, 9)]
            .into_iter()
            .map(|(first, last)| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.write(first, last))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        shared.read(9);
    });
}
