//! Region pools and permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_arena::{AllocError, Arena, Budget, PermitRefused, PermitsLive, RegionPool, RegionUnavailable};

#[test]
fn a_pool_hands_out_and_takes_back_generations() {
    let budget = Budget::root("test", 1 << 20);
    let pool = RegionPool::new(&budget, 64 << 10, 2, || {}).unwrap();
    let used = budget.used();
    let coordinator = pool.coordinator();
    let mut generations = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let region = coordinator.take().unwrap();
        assert!(generations.insert(region.generation()));
        assert_eq!(region.used(), 0);
        region.writer().try_alloc_slice_copy(&[1_u8; 10_000]).unwrap();
    }
    assert_eq!(budget.used(), used, "no growth");
    let held = coordinator.take().unwrap();
    drop(pool);
    assert_eq!(coordinator.take().unwrap_err(), RegionUnavailable::Closed);
    drop(held);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_last_lease_brings_a_region_back_and_runs_the_hook() {
    let returns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&returns);
    let hook = move || _ = counter.fetch_add(1, Ordering::Relaxed);
    let pool = RegionPool::new(&Budget::unlimited("test"), 4096, 1, hook).unwrap();
    let coordinator = pool.coordinator();
    let region = coordinator.take().unwrap();
    let (lease, writer) = (region.lease(), region.writer());
    let handle = writer.alloc_handle(7_u32);
    drop(region);
    drop(writer);
    assert_eq!((returns.load(Ordering::Relaxed), coordinator.free_count()), (0, 0));
    assert_eq!(coordinator.take().unwrap_err(), RegionUnavailable::Exhausted { total: 1 });
    assert_eq!(lease.resolve(handle), Ok(&7));
    drop(lease);
    assert_eq!((returns.load(Ordering::Relaxed), coordinator.free_count()), (1, 1));
    assert!(coordinator.take().unwrap().lease().resolve(handle).is_err());
}

#[test]
fn a_pool_that_the_budget_refuses_holds_nothing() {
    let budget = Budget::root("test", 100 << 10);
    assert!(matches!(RegionPool::new(&budget, 40 << 10, 3, || {}), Err(AllocError::BudgetExceeded { .. })));
    assert_eq!(budget.used(), 0);
}

#[test]
fn permits_never_promise_more_than_there_is() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 64 << 10, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let first = region.permit(40 << 10).unwrap();
    assert!(matches!(region.permit(40 << 10), Err(PermitRefused::Full { .. })));
    assert!(matches!(region.permit(1 << 20), Err(PermitRefused::TooLarge { .. })));
    drop(first);
    let whole = region.permit(region.capacity()).unwrap();
    whole.pen().alloc_slice_copy(&vec![1_u8; region.capacity()]);
    assert!(whole.pen().try_alloc(1_u8).is_err());
}

#[test]
fn a_permit_blocks_freezing_and_its_rest_comes_back() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 64 << 10, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let (first, second) = (region.permit(1_000).unwrap(), region.permit(1_000).unwrap());
    first.pen().alloc_slice_copy(&[1_u8; 600]);
    assert_eq!(region.freeze().unwrap_err(), PermitsLive { permits: 2 });
    assert_eq!(region.permit(1).unwrap_err(), PermitRefused::Sealed, "none is minted from then on");
    drop(second);
    drop(first);
    region.freeze().unwrap();
    assert_eq!(region.used(), 608, "both rests came back, the last one first");
}

#[test]
fn a_writer_of_a_region_shares_it_with_permits() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 256 << 10, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let writer = region.writer();
    let head = writer.alloc_handle_slice_copy(&[1_u8; 100]);
    let permit = region.permit(100).unwrap();
    let middle = permit.pen().alloc_handle_slice_copy(&[2_u8; 100]);
    let tail = writer.alloc_handle_slice_copy(&[3_u8; 40_000]);
    let lease = region.lease();
    for (handle, byte) in [(head, 1), (middle, 2), (tail, 3)] {
        assert!(lease.resolve(handle).unwrap().iter().all(|&found| found == byte));
    }
}

#[test]
fn rests_of_permits_that_overlap_serve_later_permits() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 1 << 20, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    // As two threads that are in the middle of a batch all the time: each rest comes back behind the other's permit.
    let mut before = region.permit(1_000).unwrap();
    let mut written = 0;
    while let Ok(next) = region.permit(1_000) {
        before.pen().alloc_slice_copy(&[1_u8; 96]);
        assert!(
            before.pen().try_alloc_slice_copy(&[1_u8; 1_000]).is_err(),
            "a pen has what its permit covers"
        );
        written += 96;
        drop(std::mem::replace(&mut before, next));
        assert!(region.used() >= written);
    }
    drop(before);
    assert!(written > region.capacity() * 85 / 100, "{written} of {}", region.capacity());
    assert!(region.used() < written + region.capacity() / 8);
    region.freeze().unwrap();
}

#[test]
fn spares_end_with_their_generation() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 64 << 10, 1, || {}).unwrap();
    for _ in 0..3 {
        let region = pool.coordinator().take().unwrap();
        assert_eq!(region.used(), 0);
        let (first, second) = (region.permit(20_000).unwrap(), region.permit(20_000).unwrap());
        drop(first);
        assert!(region.used() < 21_000, "a rest that others lie behind is no more in use");
        let third = region.permit(20_000).unwrap();
        assert!(region.used() < 41_000, "it is what the third permit got");
        drop((second, third));
        assert_eq!(region.used(), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_arena_begins_where_a_huge_page_does() {
    const HUGE_BYTES: usize = 2 << 20;
    let budget = Budget::root("arenas", 64 << 20);
    // What lies between them is no multiple of a huge page.
    let sizes = [HUGE_BYTES, HUGE_BYTES + (64 << 10), 5 << 20, HUGE_BYTES];
    let arenas = sizes.map(|bytes| {
        let arena = Arena::fixed(&budget, bytes).unwrap();
        let writer = arena.coordinator().writer().unwrap();
        let first = &raw const *writer.alloc(0_u8);
        assert!(first.addr() % HUGE_BYTES < 4096, "{bytes} bytes from {first:p} on");
        arena
    });
    assert!(budget.reserved() >= sizes.iter().sum());
    drop(arenas);
    assert_eq!(budget.reserved(), 0);
}
