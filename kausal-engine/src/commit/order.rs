//! Publication: who has written its entries lets readers see them, in the order of sequence numbers.
//!
//! 1. Writers fill the memtable in any order and [`finish`](Order::finish) with the numbers they were given.
//! 2. Who finishes next in order publishes itself and everybody behind it who was ready already. Who finishes early says so
//!    and waits: a write that has returned is seen by every later read.
//!
//! So nobody sees a later batch before an earlier one, and a batch is seen whole or not at all: one number decides.
//!
//! A writer here has no I/O before it any more, only its inserts: waits are short.

use kausal_arena::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use kausal_index::SeqNo;

use crate::event::Event;
use crate::scheduler::Scheduler;

/// Writers that can be ready early without an allocation; more than threads that usually write.
const READY_COUNT: usize = 64;

/// How often who is early offers its core before it sleeps: those before it are about to end, and want one as a rule.
const OFFERS_MAX: usize = 4;

/// The newest number that readers may see, and who is ready behind it.
#[derive(Debug)]
pub(crate) struct Order {
    visible: AtomicU64,
    late: Mutex<Late>,
    /// Signalled when `visible` moves or the order breaks, if somebody waits.
    moved: Event,
}

#[derive(Debug)]
struct Late {
    /// First and last numbers of those who are ready, but not next.
    ready: Vec<(u64, u64)>,
    waiting: usize,
    /// A flush waits for the last permits of a sealed memtable.
    is_freezing: bool,
    is_broken: bool,
}

/// A writer ended in a panic between its number and its publication: nobody behind it is ever visible.
#[derive(Debug)]
pub(crate) struct OrderBroken;

/// Whether a flush waits for permits to end.
#[must_use = "who waits for permits is woken by those who had them"]
pub(crate) struct IsFreezing(pub(crate) bool);

impl Order {
    /// Everything up to `visible` may be seen.
    pub(crate) fn new(visible: SeqNo) -> Self {
        let late =
            Late { ready: Vec::with_capacity(READY_COUNT), waiting: 0, is_freezing: false, is_broken: false };
        Self { visible: AtomicU64::new(visible.get()), late: Mutex::new(late), moved: Event::new() }
    }

    /// The newest number that readers may see.
    pub(crate) fn visible(&self) -> SeqNo {
        // Acquire: pairs with the Release in `finish`; who sees the number sees the entries.
        SeqNo::new(self.visible.load(Ordering::Acquire)).expect("only valid numbers are published")
    }

    /// Publishes the numbers from `first` to `last`, whose entries are written and whose permit has ended, and waits until
    /// they are visible.
    ///
    /// # Errors
    ///
    /// [`OrderBroken`].
    pub(crate) fn finish(
        &self,
        first: SeqNo,
        last: SeqNo,
        scheduler: &dyn Scheduler,
    ) -> Result<IsFreezing, OrderBroken> {
        let mut late = self.late.lock();
        let is_freezing = IsFreezing(late.is_freezing);
        // Relaxed: it changes under the lock only.
        if self.visible.load(Ordering::Relaxed) + 1 != first.get() {
            late.ready.push((first.get(), last.get()));
            return self.wait_locked(late, last, scheduler).map(|()| is_freezing);
        }
        let mut visible = last.get();
        while let Some(place) = late.ready.iter().position(|&(first, _)| first == visible + 1) {
            visible = late.ready.swap_remove(place).1;
        }
        // Release: pairs with the Acquire in `visible`. What the others wrote came here through the lock.
        self.visible.store(visible, Ordering::Release);
        let is_awaited = late.waiting > 0;
        drop(late);
        if is_awaited {
            self.moved.signal();
        }
        Ok(is_freezing)
    }

    /// Waits until readers may see `seqno`.
    ///
    /// # Errors
    ///
    /// [`OrderBroken`].
    pub(crate) fn wait_until(&self, seqno: SeqNo, scheduler: &dyn Scheduler) -> Result<(), OrderBroken> {
        if self.visible() >= seqno { Ok(()) } else { self.wait_locked(self.late.lock(), seqno, scheduler) }
    }

    fn wait_locked<'a>(
        &'a self,
        mut late: MutexGuard<'a, Late>,
        seqno: SeqNo,
        scheduler: &dyn Scheduler,
    ) -> Result<(), OrderBroken> {
        let mut offers = 0;
        while self.visible() < seqno {
            if late.is_broken {
                return Err(OrderBroken);
            }
            if offers < OFFERS_MAX {
                offers += 1;
                drop(late);
                scheduler.offer_core();
                late = self.late.lock();
            } else {
                late = self.wait(late, scheduler);
            }
        }
        Ok(())
    }

    fn wait<'a>(&'a self, mut late: MutexGuard<'a, Late>, scheduler: &dyn Scheduler) -> MutexGuard<'a, Late> {
        late.waiting += 1;
        // Under the lock: what is published from here on moves the event past it.
        let ticket = self.moved.ticket();
        drop(late);
        scheduler.wait(&self.moved, ticket, None);
        let mut late = self.late.lock();
        late.waiting -= 1;
        late
    }

    /// From here on who has ended a permit hears that a flush waits for it. A permit that ended before is seen to have
    /// ended by who calls this.
    pub(crate) fn set_freezing(&self, is_freezing: bool) {
        self.late.lock().is_freezing = is_freezing;
    }

    /// Whether a flush waits for permits. Asked by who has ended one without a number.
    pub(crate) fn is_freezing(&self) -> bool {
        self.late.lock().is_freezing
    }

    /// Wakes everybody who waits for numbers that nobody will publish any more.
    pub(crate) fn break_off(&self) {
        self.late.lock().is_broken = true;
        self.moved.signal();
    }
}
