//! The one door to atomics, locks and cells: real ones, counted ones, or those of a model checker.
//!
//! | build | atomics, locks, cells | what for |
//! |---|---|---|
//! | as usual | `std`'s atomics, `parking_lot`'s mutex | production; the wrappers compile to nothing |
//! | feature `sync-counts` | the same, counted per thread: see [`counts`] | to prove that a path takes no lock and shares no counter |
//! | `--cfg loom` | `loom`'s | every interleaving and every allowed memory order of a small model |
//! | `--cfg shuttle` | `shuttle`'s | many random schedules of a large one |
//!
//! Everything in the kausal crates whose correctness depends on an order between threads comes through here, so that a
//! model checks the very code that ships. Use [`model`] in a test that shall run under all of them.
//!
//! Not here: reference counts that carry no order of ours (`std::sync::Arc` around names), and queues of `crossbeam`,
//! which that project checks.

#[cfg(all(loom, shuttle))]
compile_error!("choose one model checker: --cfg loom or --cfg shuttle");

#[cfg(loom)]
use loom::sync as source;
#[cfg(shuttle)]
use shuttle::sync as source;
#[cfg(not(any(loom, shuttle)))]
use std::sync as source;

#[cfg(loom)]
pub use loom::thread;
#[cfg(shuttle)]
pub use shuttle::thread;
#[cfg(not(any(loom, shuttle)))]
pub use std::thread;

pub use source::Arc;
pub use std::sync::atomic::Ordering;

/// Orders accesses on both sides of it; counts as nothing. A sequentially consistent one is cheaper here than `std`'s on
/// x86-64, where that waits for every load before it.
#[inline]
pub fn fence(order: Ordering) {
    if order == Ordering::SeqCst { crate::fence::full() } else { source_fence(order) }
}

/// The fence of `std`, or of the model.
#[inline]
pub(crate) fn source_fence(order: Ordering) {
    source::atomic::fence(order);
}

/// Lets another thread go on: a hint on real machines, a switch in a model. For loops that wait for another thread.
#[inline]
pub fn spin_loop() {
    #[cfg(any(loom, shuttle))]
    thread::yield_now();
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
}

macro_rules! atomic {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        #[repr(transparent)]
        pub struct $name(source::atomic::$name);

        impl $name {
            atomic!(@new $name, $value);

            /// Reads.
            #[inline]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// Writes.
            #[inline]
            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }

            /// Writes, and returns what was there.
            #[inline]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.swap(value, order)
            }

            /// Writes `new` if `current` is there.
            ///
            /// # Errors
            ///
            /// What is there instead.
            #[inline]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                counts::read_modify_write();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// [`compare_exchange`](Self::compare_exchange) that may fail although `current` is there.
            ///
            /// # Errors
            ///
            /// What is there.
            #[inline]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                counts::read_modify_write();
                self.0.compare_exchange_weak(current, new, success, failure)
            }

        }
    };
    (@new $name:ident, $value:ty) => {
        /// An atomic that holds `value`.
        #[cfg(not(any(loom, shuttle)))]
        pub const fn new(value: $value) -> Self {
            Self(source::atomic::$name::new(value))
        }

        /// An atomic that holds `value`.
        #[cfg(any(loom, shuttle))]
        pub fn new(value: $value) -> Self {
            Self(source::atomic::$name::new(value))
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty) => {
        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        impl $name {
            /// Exclusive access: writes without an atomic operation, and returns what was there.
            #[inline]
            pub fn replace_mut(&mut self, value: $value) -> $value {
                #[cfg(loom)]
                return self.0.with_mut(|there| std::mem::replace(there, value));
                #[cfg(not(loom))]
                return std::mem::replace(self.0.get_mut(), value);
            }

            /// Adds, wrapping around, and returns what was there.
            #[inline]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.fetch_add(value, order)
            }

            /// Subtracts, wrapping around, and returns what was there.
            #[inline]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.fetch_sub(value, order)
            }

            /// Sets the bits of `value`, and returns what was there.
            #[inline]
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.fetch_or(value, order)
            }

            /// Keeps only the bits of `value`, and returns what was there.
            #[inline]
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.fetch_and(value, order)
            }

            /// Writes the larger of `value` and what is there, and returns what was there.
            #[inline]
            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                counts::read_modify_write();
                self.0.fetch_max(value, order)
            }
        }
    };
}

atomic!(
    /// `std::sync::atomic::AtomicBool` through the facade.
    AtomicBool,
    bool
);
atomic!(
    /// `std::sync::atomic::AtomicU8` through the facade.
    AtomicU8,
    u8
);
atomic!(
    /// `std::sync::atomic::AtomicU16` through the facade.
    AtomicU16,
    u16
);
atomic!(
    /// `std::sync::atomic::AtomicU32` through the facade.
    AtomicU32,
    u32
);
atomic!(
    /// `std::sync::atomic::AtomicU64` through the facade.
    AtomicU64,
    u64
);
atomic!(
    /// `std::sync::atomic::AtomicUsize` through the facade.
    AtomicUsize,
    usize
);

impl Default for AtomicBool {
    fn default() -> Self {
        Self::new(false)
    }
}

arithmetic!(AtomicU8, u8);
arithmetic!(AtomicU16, u16);
arithmetic!(AtomicU32, u32);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);

/// `std::sync::atomic::AtomicPtr` through the facade.
#[derive(Debug)]
#[repr(transparent)]
pub struct AtomicPtr<T>(source::atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    /// An atomic that holds `value`.
    pub fn new(value: *mut T) -> Self {
        Self(source::atomic::AtomicPtr::new(value))
    }

    /// Reads.
    #[inline]
    pub fn load(&self, order: Ordering) -> *mut T {
        self.0.load(order)
    }

    /// Writes.
    #[inline]
    pub fn store(&self, value: *mut T, order: Ordering) {
        self.0.store(value, order);
    }
}

#[cfg(not(any(loom, shuttle)))]
type MutexSource<T> = parking_lot::Mutex<T>;
#[cfg(any(loom, shuttle))]
type MutexSource<T> = source::Mutex<T>;

/// What [`Mutex::lock`] returns.
#[cfg(not(any(loom, shuttle)))]
pub type MutexGuard<'a, T> = parking_lot::MutexGuard<'a, T>;
/// What [`Mutex::lock`] returns.
#[cfg(any(loom, shuttle))]
pub type MutexGuard<'a, T> = source::MutexGuard<'a, T>;

/// A lock without poisoning: what it guards must be sound whenever it is free, also after a panic.
#[derive(Debug, Default)]
pub struct Mutex<T>(MutexSource<T>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(value: T) -> Self {
        Self(MutexSource::new(value))
    }

    /// A free lock around `value`.
    #[cfg(any(loom, shuttle))]
    pub fn new(value: T) -> Self {
        Self(MutexSource::new(value))
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        counts::lock();
        #[cfg(not(any(loom, shuttle)))]
        return self.0.lock();
        #[cfg(any(loom, shuttle))]
        return self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        counts::lock();
        #[cfg(not(any(loom, shuttle)))]
        return self.0.try_lock();
        #[cfg(any(loom, shuttle))]
        return self.0.try_lock().ok();
    }

    /// Exclusive access: what is inside, without taking the lock.
    #[cfg(not(loom))]
    pub fn get_mut(&mut self) -> &mut T {
        #[cfg(not(shuttle))]
        return self.0.get_mut();
        #[cfg(shuttle)]
        return self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
    }

    /// Exclusive access: what is inside. (The model's lock can only be taken.)
    #[cfg(loom)]
    pub fn get_mut(&mut self) -> MutexGuard<'_, T> {
        self.lock()
    }
}

/// Runs `check` under the model checker of this build, and returns how often: every interleaving under loom (bounded by
/// `LOOM_MAX_PREEMPTIONS`), `SHUTTLE_SCHEDULES` random ones (20,000 unless told) under shuttle, and a hundred times on real
/// threads otherwise.
///
/// # Panics
///
/// If `check` does, in any run; the checker then prints the schedule.
pub fn model(check: impl Fn() + Send + Sync + 'static) -> u64 {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&runs);
    let counted = move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        check();
    };
    #[cfg(loom)]
    loom::model(counted);
    #[cfg(shuttle)]
    {
        let schedules = std::env::var("SHUTTLE_SCHEDULES").ok().and_then(|text| text.parse().ok());
        shuttle::check_random(counted, schedules.unwrap_or(20_000));
    }
    #[cfg(not(any(loom, shuttle)))]
    (0..100).for_each(|_| counted());
    runs.load(std::sync::atomic::Ordering::Relaxed)
}

/// What this thread did through the facade, with feature `sync-counts`.
pub mod counts {
    #[cfg(feature = "sync-counts")]
    use std::cell::Cell;

    #[cfg(feature = "sync-counts")]
    thread_local! {
        static LOCKS: Cell<u64> = const { Cell::new(0) };
        static READ_MODIFY_WRITES: Cell<u64> = const { Cell::new(0) };
    }

    /// Operations of one thread that other cores can feel.
    #[cfg(feature = "sync-counts")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Counts {
        /// Locks taken or tried.
        pub locks: u64,
        /// Atomic read-modify-writes, failed ones included.
        pub read_modify_writes: u64,
    }

    /// What `work` did on this thread, and its result.
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::sync::{AtomicU32, Ordering, counts};
    ///
    /// let number = AtomicU32::new(0);
    /// let (seen, before) = counts::of(|| number.fetch_add(1, Ordering::Relaxed) + number.load(Ordering::Relaxed));
    /// assert_eq!((seen.locks, seen.read_modify_writes, before), (0, 1, 1));
    /// ```
    #[cfg(feature = "sync-counts")]
    pub fn of<T>(work: impl FnOnce() -> T) -> (Counts, T) {
        let (locks, writes) = (LOCKS.get(), READ_MODIFY_WRITES.get());
        let result = work();
        let counts =
            Counts { locks: LOCKS.get() - locks, read_modify_writes: READ_MODIFY_WRITES.get() - writes };
        (counts, result)
    }

    #[inline]
    pub(super) fn lock() {
        #[cfg(feature = "sync-counts")]
        LOCKS.set(LOCKS.get() + 1);
    }

    #[inline]
    pub(super) fn read_modify_write() {
        #[cfg(feature = "sync-counts")]
        READ_MODIFY_WRITES.set(READ_MODIFY_WRITES.get() + 1);
    }
}
