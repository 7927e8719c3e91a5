//! Cells that each thread has for itself: a fixed table, one cell on cache lines of its own for each of the first threads.
//!
//! 1. A thread that comes here first gets a number, the smallest that is free, and gives it back when it ends. So numbers
//!    stay small, and threads that come and go use the same few.
//! 2. A table has a cell for every number below its length. [`PerThread::with`] lends the thread its own: two loads away,
//!    without an atomic operation. Threads beyond the table, and those about to end, get none.
//! 3. Others may look at all cells, so what is in them is atomic. But only one thread writes a cell at a time, and a plain
//!    load and store is enough where a shared counter needs a read-modify-write.
//!
//! Invariant: while [`PerThread::with`] runs, no other thread is lent the same cell. It holds because a number is given back
//! by a destructor of its thread, which does not run inside of a call.
//!
//! Not here: what the cells mean. [`Published`](crate::Published) keeps epochs in them, a cache what its readers look at.

use crate::sync;

/// On lines of its own, and on the neighbour that the processor fetches along with it.
#[repr(align(128))]
#[derive(Debug)]
struct Cell<T>(T);

/// A table of cells, one for each thread.
///
/// # Examples
///
/// A counter that no two threads ever write to at once, summed by whoever wants to know:
///
/// ```
/// use kausal_arena::PerThread;
/// use kausal_arena::sync::{AtomicU64, Ordering};
///
/// let hits = PerThread::new(64, || AtomicU64::new(0));
/// std::thread::scope(|threads| {
///     for _ in 0..4 {
///         threads.spawn(|| hits.with(|mine| {
///             let mine = mine.expect("a cell for each of 64 threads");
///             mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
///         }));
///     }
/// });
/// assert_eq!(hits.all().map(|count| count.load(Ordering::Relaxed)).sum::<u64>(), 4);
/// ```
#[derive(Debug)]
pub struct PerThread<T> {
    cells: Box<[Cell<T>]>,
}

impl<T> PerThread<T> {
    /// A table of `count` cells, each made by `make`. 128 bytes a cell, or a multiple of it.
    pub fn new(count: usize, make: impl Fn() -> T) -> Self {
        Self { cells: (0..count).map(|_| Cell(make())).collect() }
    }

    /// Bytes of a table of `count` cells.
    pub const fn bytes(count: usize) -> usize {
        count * size_of::<Cell<T>>()
    }

    /// Lends the calling thread its cell, or nothing if there are more threads than cells. May be called inside of itself,
    /// and lends the same cell then. No atomic operation; only a thread's first call takes a lock.
    #[inline]
    pub fn with<R>(&self, work: impl FnOnce(Option<&T>) -> R) -> R {
        let cell = number().and_then(|number| self.cells.get(number));
        work(cell.map(|cell| &cell.0))
    }

    /// The cells that any thread may have been lent until now. Those of threads that come later are seen by a caller who is
    /// ordered after their coming by something else, such as a pair of fences.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().take(numbers_given()).map(|cell| &cell.0)
    }
}

#[cfg(not(any(loom, shuttle)))]
mod given {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::sync::{AtomicUsize, Mutex, Ordering};

    /// Numbers that were given back.
    static FREE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    /// Numbers from here on were never given.
    pub(super) static NEXT: AtomicUsize = AtomicUsize::new(0);

    const UNKNOWN: usize = usize::MAX;
    const ENDED: usize = usize::MAX - 1;

    thread_local! {
        /// Apart from its owner, so that reading it asks neither whether it was made nor whether it is gone.
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
        static OWNED: Owned = Owned::take();
    }

    /// A number, until the thread ends.
    struct Owned(usize);

    impl Owned {
        fn take() -> Self {
            let mut free = FREE.lock();
            let number = free.pop_first().unwrap_or_else(|| {
                let next = NEXT.load(Ordering::Relaxed);
                // Relaxed: under the lock, and read by those who are ordered otherwise, see `PerThread::all`.
                NEXT.store(next + 1, Ordering::Relaxed);
                next
            });
            NUMBER.set(number);
            Self(number)
        }
    }

    impl Drop for Owned {
        fn drop(&mut self) {
            NUMBER.set(ENDED);
            FREE.lock().insert(self.0);
        }
    }

    #[inline]
    pub(super) fn number() -> Option<usize> {
        match NUMBER.get() {
            UNKNOWN => first(),
            ENDED => None,
            number => Some(number),
        }
    }

    #[cold]
    fn first() -> Option<usize> {
        OWNED.try_with(|owned| owned.0).ok()
    }
}

/// A model's threads are numbered in each run anew. There are few, so none gives its number back.
#[cfg(any(loom, shuttle))]
mod given {
    #[cfg(loom)]
    use loom::{lazy_static, thread_local};
    #[cfg(shuttle)]
    use shuttle::{lazy_static, thread_local};

    use super::sync::{AtomicUsize, Ordering};

    lazy_static! {
        static ref NEXT: AtomicUsize = AtomicUsize::new(0);
    }
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn number() -> Option<usize> {
        NUMBER.try_with(|number| *number).ok()
    }
}

use given::number;

/// How many numbers there are at most.
fn numbers_given() -> usize {
    #[cfg(not(any(loom, shuttle)))]
    // Relaxed: see `PerThread::all`.
    return given::NEXT.load(sync::Ordering::Relaxed);
    #[cfg(any(loom, shuttle))]
    usize::MAX
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Ordering};

    #[test]
    fn a_thread_that_ends_gives_its_number_back() {
        let table = PerThread::new(1 << 10, || AtomicU64::new(0));
        for _ in 0..(2 << 10) {
            std::thread::scope(|threads| {
                threads.spawn(|| table.with(|cell| assert!(cell.is_some())));
            });
        }
    }

    #[test]
    fn at_once_no_two_threads_have_the_same_cell() {
        let table = PerThread::new(1 << 10, || AtomicU64::new(0));
        let all_there = std::sync::Barrier::new(20);
        std::thread::scope(|threads| {
            for _ in 0..20 {
                threads.spawn(|| {
                    table.with(|cell| {
                        let cell = cell.expect("a cell for everyone");
                        assert_eq!(cell.load(Ordering::Relaxed), 0);
                        cell.store(1, Ordering::Relaxed);
                        table.with(|again| assert!(std::ptr::eq(again.expect("the same"), cell)));
                        all_there.wait();
                    });
                });
            }
        });
        assert_eq!(table.all().map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>(), 20);
    }

    #[test]
    fn threads_beyond_the_table_get_none() {
        PerThread::new(0, || ()).with(|cell| assert!(cell.is_none()));
    }
}
