//! The region pool: fixed regions that are handed out and come back warm.
//!
//! 1. The pool obtains its regions at once and charges them to its budget for as long as it lives.
//! 2. [`RegionCoordinator::take`] hands out a [`Region`]: one generation of one of them.
//! 3. When the region and every lease on it have been dropped, the memory is back in the pool, in O(1) and
//!    whatever was in it; then the pool's `on_return` hook runs.
//!
//! The pool is the storage subsystem's one arena: the engine owns it, the memtable manager has its coordinator.
//!
//! Not here: waiting for a region. Who waits does so on an event that the hook signals.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::body::Body;
use crate::budget::Budget;
use crate::error::{AllocError, RegionUnavailable};
use crate::lease::Lease;
use crate::region::Region;

/// Owner of a fixed number of equal regions.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Budget, RegionPool};
///
/// let budget = Budget::root("memtables", 4 << 20);
/// let pool = RegionPool::new(&budget, 1 << 20, 2, || {}).unwrap();
/// let coordinator = pool.coordinator();
/// let first = coordinator.take().unwrap();
/// let reader = first.lease();
/// let second = coordinator.take().unwrap();
/// assert!(coordinator.take().is_err());
/// drop(first);
/// assert!(coordinator.take().is_err(), "the reader still pins the first region");
/// drop(reader);
/// assert_ne!(coordinator.take().unwrap().generation(), second.generation());
/// ```
pub struct RegionPool {
    shared: Arc<PoolShared>,
}

pub(crate) struct PoolShared {
    free: ArrayQueue<Arc<Body>>,
    region_bytes: usize,
    closed: AtomicBool,
    on_return: Box<dyn Fn() + Send + Sync>,
}

impl PoolShared {
    /// Puts a body without holds back. O(1), no allocation.
    pub(crate) fn take_back(&self, body: Arc<Body>) {
        // SAFETY: its last hold has just been released, and it is in nobody's reach until it is pushed below.
        unsafe { body.begin_generation() };
        // The queue has a place for every region, so this always succeeds; were it full, the body would be freed.
        let _ = self.free.push(body);
        // Acquire: pairs with the Release in the owner's drop, which empties the queue after it.
        if self.closed.load(Ordering::Acquire) {
            while self.free.pop().is_some() {}
        }
        (self.on_return)();
    }
}

impl RegionPool {
    /// Obtains `count` regions of at least `region_bytes` bytes (at most 4 GiB), charged to `budget`. `on_return`
    /// runs whenever a region comes back, on the thread that dropped the last lease.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget or the operating system refuses; nothing is held then.
    pub fn new(
        budget: &Budget,
        region_bytes: usize,
        count: usize,
        on_return: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, AllocError> {
        let shared = Arc::new(PoolShared {
            free: ArrayQueue::new(count.max(1)),
            region_bytes,
            closed: AtomicBool::new(false),
            on_return: Box::new(on_return),
        });
        for _ in 0..count {
            let body = Body::fixed(budget, region_bytes, Arc::downgrade(&shared))?;
            let _ = shared.free.push(Arc::new(body));
        }
        Ok(Self { shared })
    }

    /// A handle for children.
    pub fn coordinator(&self) -> RegionCoordinator {
        RegionCoordinator { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for RegionPool {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `take_back`; whichever comes second empties the queue.
        self.shared.closed.store(true, Ordering::Release);
        while self.shared.free.pop().is_some() {}
    }
}

impl fmt::Debug for RegionPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RegionPool").field("free", &self.shared.free.len()).finish_non_exhaustive()
    }
}

/// Cheap handle to somebody else's region pool: takes regions, cannot close it. 8 bytes.
#[derive(Clone)]
pub struct RegionCoordinator {
    shared: Arc<PoolShared>,
}

impl RegionCoordinator {
    /// A fresh generation of a free region. O(1), no allocation.
    ///
    /// # Errors
    ///
    /// [`RegionUnavailable`] if all are in use or the pool's owner is gone.
    pub fn take(&self) -> Result<Region, RegionUnavailable> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(RegionUnavailable::Closed);
        }
        let total = self.total_count();
        let body = self.shared.free.pop().ok_or(RegionUnavailable::Exhausted { total })?;
        Ok(Region::new(Lease::from_hold(body)))
    }

    /// Regions free at this moment.
    pub fn free_count(&self) -> usize {
        self.shared.free.len()
    }

    /// Regions of the pool, free or not.
    pub fn total_count(&self) -> usize {
        self.shared.free.capacity()
    }

    /// Size of a region as asked for, in bytes.
    pub fn region_bytes(&self) -> usize {
        self.shared.region_bytes
    }
}

impl fmt::Debug for RegionCoordinator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RegionCoordinator").field("free", &self.free_count()).finish_non_exhaustive()
    }
}
