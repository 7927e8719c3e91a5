//! Object pools: made once, lent by guards, never more than there are.
//!
//! 1. [`Pool::new`] makes every object at once, in a `typed_arena` that never grows afterwards, and puts their places on a
//!    lock-free free list.
//! 2. [`Pool::take`] lends one by a guard, or answers [`PoolExhausted`]; neither calls the global allocator. The guard gives
//!    it back when it drops, as it is: objects keep their buffers, and whoever takes one resets what matters.
//! 3. Objects are dropped, destructors and all, when the pool and every guard are gone.
//!
//! A guard that is forgotten (`mem::forget`) loses its object to the pool, never to two users: the pool then has one less
//! to lend, and says so in [`Pool::in_use`].
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. A place is on the free list or in one guard, never in both and never twice.
//! 2. The objects live at stable addresses until the shared part of the pool drops, which every guard keeps alive.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::budget::{Budget, Reservation};
use crate::error::{AllocError, PoolExhausted};

/// A fixed number of objects of one type. Cloning gives another handle on the same pool.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Budget, Pool, PoolExhausted};
///
/// let budget = Budget::root("iterators", 1 << 20);
/// let pool = Pool::new(&budget, 2, || Vec::<u8>::with_capacity(100)).unwrap();
/// let mut first = pool.take().unwrap();
/// first.extend_from_slice(b"reused");
/// let second = pool.take().unwrap();
/// assert_eq!(pool.take().unwrap_err(), PoolExhausted { capacity: 2 });
/// drop((first, second));
/// assert_eq!(pool.in_use(), 0);
/// ```
///
/// An object does not outlive its guard:
/// ```compile_fail,E0505
/// # let pool = kausal_arena::Pool::new(&kausal_arena::Budget::unlimited("iterators"), 1, || 7_u32).unwrap();
/// let guard = pool.take().unwrap();
/// let number = &*guard;
/// drop(guard);
/// assert_eq!(*number, 7);
/// ```
pub struct Pool<T: Send> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    free: ArrayQueue<Place<T>>,
    capacity: usize,
    /// Owns the objects; drops them.
    _objects: typed_arena::Arena<T>,
    _charge: Reservation,
}

struct Place<T>(NonNull<T>);

// SAFETY: a place is the right to reach a `T` that nobody else reaches (invariant 1), so it may move where a `T` may.
unsafe impl<T: Send> Send for Place<T> {}

// SAFETY: through a shared `Shared` only the free list is reached, which moves places between threads; the arena is touched
// in `new` and in `drop` only.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T: Send> Pool<T> {
    /// A pool of `capacity` objects, each made by `make` now. Their own size is charged to `budget`; what they allocate
    /// elsewhere is theirs.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget refuses.
    pub fn new(budget: &Budget, capacity: usize, mut make: impl FnMut() -> T) -> Result<Self, AllocError> {
        let charge = budget.reserve(capacity.saturating_mul(size_of::<T>()))?;
        let objects = typed_arena::Arena::with_capacity(capacity.max(1));
        let free = ArrayQueue::new(capacity.max(1));
        for _ in 0..capacity {
            let object: &mut T = objects.alloc(make());
            // The queue has a place for each of them.
            let _ = free.push(Place(NonNull::from(object)));
        }
        Ok(Self { shared: Arc::new(Shared { free, capacity, _objects: objects, _charge: charge }) })
    }

    /// Lends an object.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`] if all are lent.
    pub fn take(&self) -> Result<Pooled<T>, PoolExhausted> {
        let place = self.shared.free.pop().ok_or(PoolExhausted { capacity: self.shared.capacity })?;
        Ok(Pooled { object: place.0, shared: Arc::clone(&self.shared) })
    }

    /// Objects of the pool.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Objects that are lent, or lost with a guard that was forgotten.
    pub fn in_use(&self) -> usize {
        self.shared.capacity - self.shared.free.len()
    }
}

impl<T: Send> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Send> fmt::Debug for Pool<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pool").field("capacity", &self.capacity()).field("in_use", &self.in_use()).finish()
    }
}

/// An object lent by a [`Pool`]; gives it back when it drops.
pub struct Pooled<T: Send> {
    object: NonNull<T>,
    shared: Arc<Shared<T>>,
}

// SAFETY: a guard reaches its `T` alone (invariant 1), and gives it back through a free list that is `Sync`.
unsafe impl<T: Send> Send for Pooled<T> {}
// SAFETY: a shared guard gives shared access to its `T`.
unsafe impl<T: Send + Sync> Sync for Pooled<T> {}

impl<T: Send> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it lives as long as the guard (invariant 2), which alone reaches it (invariant 1).
        unsafe { self.object.as_ref() }
    }
}

impl<T: Send> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { self.object.as_mut() }
    }
}

impl<T: Send> Drop for Pooled<T> {
    fn drop(&mut self) {
        // The queue has a place for each object.
        let _ = self.shared.free.push(Place(self.object));
    }
}

impl<T: Send + fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}
