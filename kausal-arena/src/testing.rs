//! Arenas for the tests of crates that may not construct one themselves (feature `testing`).

use crate::budget::Budget;
use crate::region::Region;
use crate::region_pool::RegionPool;

/// A region of its own, of at least `bytes` bytes, freed with its last lease.
///
/// # Panics
///
/// If the system refuses the memory.
///
/// # Examples
///
/// ```
/// let region = kausal_arena::testing::region(4096);
/// let (lease, pen) = (region.lease(), region.writer());
/// assert!(pen.try_alloc_offset(std::alloc::Layout::new::<u64>()).unwrap().0 > 0);
/// assert_eq!(lease.generation(), region.generation());
/// ```
pub fn region(bytes: usize) -> Region {
    let pool = pool(bytes, 1);
    pool.coordinator().take().expect("a new pool has its regions")
}

/// A pool of `count` regions of at least `bytes` bytes, without a budget.
///
/// # Panics
///
/// If the system refuses the memory.
pub fn pool(bytes: usize, count: usize) -> RegionPool {
    pool_in(&Budget::unlimited("test"), bytes, count)
}

/// A pool of `count` regions of at least `bytes` bytes, charged to `budget`.
///
/// # Panics
///
/// If the budget or the system refuses the memory.
pub fn pool_in(budget: &Budget, bytes: usize, count: usize) -> RegionPool {
    RegionPool::new(budget, bytes, count, || {}).expect("memory for a test")
}
