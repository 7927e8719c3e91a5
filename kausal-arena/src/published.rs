//! A published value: read by anybody without a lock, replaced as a whole, and dropped when nobody looks at it any more.
//!
//! 1. A reader stores the current epoch in its own *slot*, a cell on cache lines that no other thread writes
//!    ([`PerThread`]), then loads the pointer, works with what it points at, and clears the slot. No lock, no
//!    read-modify-write, nothing that another reader could feel.
//! 2. A publisher stores the new pointer, takes the next epoch, and keeps the old value with the epoch in which it went. It
//!    drops the values of all epochs that no slot names any more.
//! 3. What somebody still looks at waits, and a flag says so. The last reader to leave sees the flag and drops it, so
//!    nothing waits for another publication. A thread that does not read holds nothing.
//! 4. Reading inside of a reading keeps the outer epoch and counts the depth in the same slot. A thread without a slot, or
//!    too deep, takes a counted hold of the value instead, under the publishers' lock.
//!
//! This is epoch-based reclamation (Fraser 2004) with one epoch for each value rather than three in all: publications are
//! rare, and what they replace is few and large, so a list of it is cheaper than bags for each thread; and the one that
//! leaves last cleans up, where an epoch scheme waits for later operations.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. A value is dropped only after it was replaced, and after a look at all slots, ordered by fences behind its
//!    replacement, found none that names its epoch or an earlier one.
//! 2. While a slot names an epoch, only its thread writes it: the invariant of [`PerThread`].
//! 3. Readings of a thread end in the reverse order of their beginnings, because each is a call.
//!
//! Two pairs of fences carry it. *Enter against publish*: either the publisher's look sees the slot, or the reader's load of
//! the pointer sees the new value. *Leave against publish*: either the look sees the slot cleared, or the leaving reader sees
//! the flag.

#![expect(unsafe_code, reason = "a value behind a pointer as a reference, kept by the slots")]

use std::fmt;

use crate::per_thread::PerThread;
use crate::sync::{Arc, AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, fence};

/// Readers that have a slot. 16 KiB a value; more threads than this that read share a lock.
const SLOTS: usize = 128;

/// Low bits of a slot, for the depth of readings inside of each other. Above it is the epoch; 0 is nobody.
const DEPTH_BITS: u32 = 16;
const DEPTH_MAX: u64 = (1 << DEPTH_BITS) - 1;

/// On lines of its own: those who take the lock do not disturb those who read.
#[repr(align(128))]
#[derive(Debug)]
struct Apart<T>(T);

/// A value that is read in place and replaced as a whole.
///
/// # Examples
///
/// ```
/// use kausal_arena::Published;
///
/// let fruit = Published::new(vec!["apple"]);
/// std::thread::scope(|threads| {
///     threads.spawn(|| fruit.change(|old| old.iter().copied().chain(["pear"]).collect()));
///     // One value or the other, never a part of one.
///     let count = fruit.read(|names| names.len());
///     assert!((1..=2).contains(&count));
/// });
/// assert_eq!(fruit.read(|names| names.join(", ")), "apple, pear");
/// ```
pub struct Published<T> {
    /// Read by all, written once a publication.
    value: AtomicPtr<T>,
    epoch: AtomicU64,
    /// Whether there is something replaced that was not dropped.
    is_waiting: AtomicBool,
    slots: PerThread<AtomicU64>,
    owned: Apart<Mutex<Owned<T>>>,
}

#[derive(Debug)]
struct Owned<T> {
    current: Arc<T>,
    /// Values that were replaced, with the epoch that ended with each.
    replaced: Vec<(u64, Arc<T>)>,
}

impl<T> Published<T> {
    /// Publishes `value`, with slots for 128 threads.
    pub fn new(value: T) -> Self {
        Self::with_slots(value, SLOTS)
    }

    /// Publishes `value`, with slots for `slots` threads. 128 bytes a slot.
    pub fn with_slots(value: T, slots: usize) -> Self {
        let current = Arc::new(value);
        Self {
            value: AtomicPtr::new(pointer(&current)),
            epoch: AtomicU64::new(1),
            is_waiting: AtomicBool::new(false),
            slots: PerThread::new(slots, || AtomicU64::new(0)),
            owned: Apart(Mutex::new(Owned { current, replaced: Vec::new() })),
        }
    }

    /// Shows `work` the current value. What is published meanwhile does not change it, and what was current stays until
    /// `work` returns: keep it short, and [`pin`](Self::pin) a value that is wanted for longer.
    ///
    /// Costs a handful of loads, two stores to the thread's own cache line and two fences; no lock, no
    /// read-modify-write, no allocation. Dropping what this reading was the last to look at, if a publisher left it
    /// behind, is extra.
    #[inline]
    pub fn read<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        self.slots.with(|slot| match slot.and_then(|slot| Reading::begin(self, slot)) {
            Some(reading) => work(reading.value()),
            None => work(&self.pin()),
        })
    }

    /// The current value with a count on it, for as long as the caller wants. Takes the publishers' lock.
    pub fn pin(&self) -> Arc<T> {
        Arc::clone(&self.owned.0.lock().current)
    }

    /// Publishes `value`. Who reads already goes on with the old one.
    pub fn publish(&self, value: T) {
        self.change(|_| value);
    }

    /// Publishes what `make` makes of the current value. One caller at a time; readers with a slot do not notice.
    ///
    /// O(slots) and the drops of what nobody looks at any more, which happen here, outside the lock.
    pub fn change(&self, make: impl FnOnce(&T) -> T) {
        let mut owned = self.owned.0.lock();
        let next = Arc::new(make(&owned.current));
        // Release: pairs with the Acquire of a reading; who sees the pointer sees the value.
        self.value.store(pointer(&next), Ordering::Release);
        let old = std::mem::replace(&mut owned.current, next);
        let epoch = self.epoch.load(Ordering::Relaxed);
        // Release: pairs with the Acquire of a reading; who is in a later epoch sees the later pointer.
        self.epoch.store(epoch + 1, Ordering::Release);
        owned.replaced.push((epoch, old));
        // Relaxed: the fence orders it before the look at the slots.
        self.is_waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        drop(owned);
        self.drop_unread();
    }

    /// Values that were replaced and that somebody still looks at, or did a moment ago.
    pub fn waiting_count(&self) -> usize {
        self.owned.0.lock().replaced.len()
    }

    /// Drops what was replaced and is in no slot.
    #[cold]
    fn drop_unread(&self) {
        // One after the other, outside the lock: a drop may take long, and may read what is published.
        while let Some(old) = self.take_unread() {
            drop(old);
        }
    }

    /// Something that was replaced and that nobody looks at. The fence after its replacement came before this.
    fn take_unread(&self) -> Option<Arc<T>> {
        let mut owned = self.owned.0.lock();
        if owned.replaced.is_empty() {
            return None;
        }
        // Acquire: pairs with the Release of every store to a slot; what was read before it was read before the drop.
        let slots = self.slots.all().map(|slot| slot.load(Ordering::Acquire));
        let oldest = slots.filter(|&slot| slot != 0).map(|slot| slot >> DEPTH_BITS).min().unwrap_or(u64::MAX);
        let place = owned.replaced.iter().position(|&(epoch, _)| epoch < oldest)?;
        let (_, old) = owned.replaced.swap_remove(place);
        if owned.replaced.is_empty() {
            self.is_waiting.store(false, Ordering::Relaxed);
        }
        Some(old)
    }
}

/// Where a value lies for as long as it is counted.
fn pointer<T>(value: &Arc<T>) -> *mut T {
    std::ptr::from_ref::<T>(value).cast_mut()
}

/// A slot that names an epoch. Lives inside of one call of [`Published::read`].
struct Reading<'a, T> {
    published: &'a Published<T>,
    slot: &'a AtomicU64,
}

impl<'a, T> Reading<'a, T> {
    /// Nothing if readings are too deep.
    #[inline]
    fn begin(published: &'a Published<T>, slot: &'a AtomicU64) -> Option<Self> {
        // Relaxed: this thread wrote it (invariant 2).
        let held = slot.load(Ordering::Relaxed);
        if held != 0 {
            // The outer reading's epoch keeps what was current since, too.
            let is_deep = held & DEPTH_MAX == DEPTH_MAX;
            return (!is_deep).then(|| {
                slot.store(held + 1, Ordering::Release);
                Self { published, slot }
            });
        }
        let epoch = published.epoch.load(Ordering::Acquire);
        // Release: a look that sees this reading has seen the end of the one before.
        slot.store(epoch << DEPTH_BITS | 1, Ordering::Release);
        // Pairs with the fence of `change`.
        #[cfg(not(kausal_planted = "published_enter_unfenced"))]
        fence(Ordering::SeqCst);
        Some(Self { published, slot })
    }

    #[inline]
    fn value(&self) -> &T {
        // Acquire: pairs with the Release in `change`.
        let value = self.published.value.load(Ordering::Acquire);
        // SAFETY:
        // - it points at a value that was published, and is not written any more.
        // - it is not dropped while this lives: the slot names an epoch in which it was current, or an earlier one, since
        //   before the load (invariants 1 and 2), and only the outermost reading, which ends last (invariant 3), clears it.
        unsafe { &*value }
    }
}

impl<T> Drop for Reading<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let held = self.slot.load(Ordering::Relaxed);
        if held & DEPTH_MAX > 1 {
            self.slot.store(held - 1, Ordering::Release);
            return;
        }
        // Release: pairs with the Acquire of a look at the slots.
        self.slot.store(0, Ordering::Release);
        // Pairs with the fence of `change`.
        #[cfg(not(kausal_planted = "published_leave_unfenced"))]
        fence(Ordering::SeqCst);
        if self.published.is_waiting.load(Ordering::Relaxed) {
            self.published.drop_unread();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Published").field("value", &self.pin()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Tells when it goes.
    struct Tracked(Arc<AtomicU64>);

    impl Drop for Tracked {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tracked(slots: usize) -> (Published<Tracked>, Arc<AtomicU64>, impl Fn() -> u64) {
        let drops = Arc::new(AtomicU64::new(0));
        let published = Published::with_slots(Tracked(Arc::clone(&drops)), slots);
        let count = Arc::clone(&drops);
        (published, drops, move || count.load(Ordering::Relaxed))
    }

    #[test]
    fn what_nobody_looks_at_goes_when_it_is_replaced() {
        let (published, drops, count) = tracked(SLOTS);
        published.read(|_| ());
        published.publish(Tracked(drops));
        assert_eq!((count(), published.waiting_count()), (1, 0));
    }

    #[test]
    fn what_somebody_looks_at_goes_when_the_last_leaves() {
        for slots in [SLOTS, 0] {
            let (published, drops, count) = tracked(slots);
            published.read(|_| {
                published.publish(Tracked(Arc::clone(&drops)));
                published.read(|_| published.publish(Tracked(Arc::clone(&drops))));
                assert!(count() <= u64::from(slots == 0), "the outer reading keeps both, or its own");
            });
            assert_eq!((count(), published.waiting_count()), (2, 0), "with {slots} slots");
        }
    }

    #[test]
    fn readings_too_deep_for_a_slot_are_counted() {
        let (published, drops, count) = tracked(SLOTS);
        published.read(|_| {
            published.slots.with(|slot| {
                let slot = slot.expect("one of the first threads");
                let held = slot.load(Ordering::Relaxed);
                slot.store(held | DEPTH_MAX, Ordering::Relaxed);
                published.read(|_| assert_eq!(slot.load(Ordering::Relaxed), held | DEPTH_MAX));
                slot.store(held, Ordering::Relaxed);
            });
        });
        published.publish(Tracked(drops));
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_panic_of_a_reader_leaves_nothing_behind() {
        let (published, drops, count) = tracked(SLOTS);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            published.read(|_| panic!("in the middle of a reading"));
        }));
        assert!(panicked.is_err());
        published.publish(Tracked(drops));
        assert_eq!(count(), 1);
    }

    #[test]
    fn readers_and_publishers_at_once_lose_nothing() {
        let (published, drops, count) = tracked(SLOTS);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    for _ in 0..20_000 {
                        published.read(|value| assert!(Arc::strong_count(&value.0) > 0));
                    }
                });
                threads.spawn(|| (0..2_000).for_each(|_| published.publish(Tracked(Arc::clone(&drops)))));
            }
        });
        assert_eq!((count(), published.waiting_count()), (4_000, 0));
    }
}
