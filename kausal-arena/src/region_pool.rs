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

use crate::arena::Retain;
use crate::body::{Body, Hold};
use crate::budget::Budget;
use crate::error::{AllocError, RegionUnavailable};
use crate::lease::Lease;
use crate::region::Region;
use crate::sync::{Arc, Mutex};

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
    idle: Mutex<Idle>,
    count: usize,
    region_bytes: usize,
    on_return: Box<dyn Fn() + Send + Sync>,
}

struct Idle {
    /// A stack, linked through the bodies themselves: what comes back touches no memory but its own.
    top: Option<Box<Body>>,
    count: usize,
    is_closed: bool,
}

impl Idle {
    fn push(&mut self, mut body: Box<Body>) {
        body.next_idle = self.top.take();
        self.top = Some(body);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Box<Body>> {
        let mut body = self.top.take()?;
        self.top = body.next_idle.take();
        self.count -= 1;
        Some(body)
    }
}

impl PoolShared {
    /// Puts a body without holds back. O(1), no allocation.
    pub(crate) fn take_back(&self, mut body: Box<Body>) {
        body.empty(Retain::Capacity);
        let mut idle = self.idle.lock();
        let freed = if idle.is_closed {
            Some(body)
        } else {
            idle.push(body);
            None
        };
        drop(idle);
        drop(freed);
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
        let mut idle = Idle { top: None, count: 0, is_closed: false };
        for _ in 0..count {
            idle.push(Body::fixed(budget, region_bytes)?);
        }
        let shared =
            PoolShared { idle: Mutex::new(idle), count, region_bytes, on_return: Box::new(on_return) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A handle for children.
    pub fn coordinator(&self) -> RegionCoordinator {
        RegionCoordinator { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for RegionPool {
    fn drop(&mut self) {
        let mut idle = self.shared.idle.lock();
        idle.is_closed = true;
        // Outside the lock, and one by one: a stack of many would be freed by recursion.
        let mut bodies =
            Idle { top: idle.top.take(), count: std::mem::take(&mut idle.count), is_closed: true };
        drop(idle);
        while bodies.pop().is_some() {}
    }
}

impl fmt::Debug for RegionPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RegionPool").field("free", &self.coordinator().free_count()).finish_non_exhaustive()
    }
}

/// Cheap handle to somebody else's region pool: takes regions, cannot close it. 8 bytes.
#[derive(Clone)]
pub struct RegionCoordinator {
    shared: Arc<PoolShared>,
}

impl RegionCoordinator {
    /// A fresh generation of a free region: the one that came back last, whose pages are the warmest. O(1), no
    /// allocation.
    ///
    /// # Errors
    ///
    /// [`RegionUnavailable`] if all are in use or the pool's owner is gone.
    #[track_caller]
    pub fn take(&self) -> Result<Region, RegionUnavailable> {
        let mut idle = self.shared.idle.lock();
        if idle.is_closed {
            return Err(RegionUnavailable::Closed);
        }
        let body = idle.pop().ok_or(RegionUnavailable::Exhausted { total: self.shared.count })?;
        drop(idle);
        Ok(Region::new(Lease::new(Hold::from_pool(body, Arc::clone(&self.shared)))))
    }

    /// Regions free at this moment.
    pub fn free_count(&self) -> usize {
        self.shared.idle.lock().count
    }

    /// Regions of the pool, free or not.
    pub fn total_count(&self) -> usize {
        self.shared.count
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
