//! A warm arena calls the global allocator no more: a million rounds, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kausal_arena::{Arena, Budget, ChunkPool, Pool, RegionPool, Retain, ScratchPool, Subsystem};

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes every call on to the system's allocator, and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(start, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls that `round` makes in `rounds` rounds after a hundred that warm up.
fn calls(rounds: usize, mut round: impl FnMut(usize)) -> u64 {
    (0..100).for_each(&mut round);
    let before = CALLS.get();
    (0..rounds).for_each(round);
    CALLS.get() - before
}

/// Rounds of the tests: a million, fewer where a debug build's patterns would take minutes.
const ROUNDS: usize = 1_000_000;

#[test]
fn a_million_rounds_of_allocate_and_reset_call_the_allocator_never() {
    let mut arena = Arena::growing(&Budget::unlimited("test"));
    let made = calls(ROUNDS, |round| {
        let scope = arena.scope();
        scope.alloc_slice_copy(&[1_u8; 100]);
        scope.alloc(round);
        drop(scope);
        arena.reset(Retain::Capacity).unwrap();
    });
    assert_eq!(made, 0);
}

#[test]
fn s16_a_reset_calls_nobody_and_touches_one_lock_whatever_was_allocated() {
    let mut arena = Arena::growing(&Budget::unlimited("test"));
    for entries in [1_000, 100_000, 10_000_000] {
        let writer = arena.coordinator().writer().unwrap();
        (0..entries).for_each(|number| _ = writer.alloc(number as u8));
        drop(writer);
        let chunks = arena.stats().chunks;
        let before = CALLS.get();
        let (counts, released) = kausal_arena::sync::counts::of(|| arena.reset(Retain::Capacity).unwrap());
        assert_eq!((CALLS.get() - before, counts.locks, counts.read_modify_writes), (0, 1, 0));
        assert!(released.reclaimed >= entries && arena.stats().chunks == chunks);
    }
}

#[test]
fn warm_regions_pools_and_scratches_call_the_allocator_never() {
    let budget = Budget::root("test", 64 << 20);
    budget.trace_leases(false);
    let regions = RegionPool::new(&budget, 64 << 10, 2, || {}).unwrap();
    let coordinator = regions.coordinator();
    let made = calls(10_000, |_| {
        let region = coordinator.take().unwrap();
        let permit = region.permit(1_000).unwrap();
        permit.pen().alloc_slice_copy(&[1_u8; 500]);
        drop(permit);
        region.freeze().unwrap();
    });
    assert_eq!(made, 0, "regions");

    let scratches = ScratchPool::new(&budget, 1 << 20);
    let made = calls(ROUNDS / 10, |_| {
        let scratch = scratches.take_growing(1_000, 1 << 20).unwrap();
        scratch.try_alloc_slice_fill(60_000, 1_u8).unwrap();
        scratch.try_alloc_slice_fill(60_000, 1_u8).unwrap();
    });
    assert_eq!(made, 0, "scratches");

    let objects = Pool::new(&budget, 4, || 0_u64).unwrap();
    let made = calls(ROUNDS, |_| *objects.take().unwrap() += 1);
    assert_eq!(made, 0, "objects");

    // A pooled arena draws its chunks from the pool and gives them back: only its own control blocks are new.
    let idle = ChunkPool::new(&budget);
    let parent = Arena::pooled(&budget, &idle);
    let child = Subsystem::new(&parent.coordinator(), "child", 1 << 20).unwrap();
    let mut child = child;
    let made = calls(10_000, |_| {
        child.scope().alloc_slice_copy(&[1_u8; 10_000]);
        child.reset(Retain::Nothing).unwrap();
    });
    assert_eq!(made, 0, "chunks of a subsystem");
}

#[test]
fn a_refusal_calls_the_allocator_never() {
    let budget = Budget::root("test", 8 << 10);
    let arena = Arena::growing(&budget);
    let scope = arena.scope();
    scope.alloc([0_u8; 3_000]);
    let made = calls(1_000, |_| assert!(scope.try_alloc([0_u8; 50_000]).is_err()));
    assert_eq!(made, 0);
}
