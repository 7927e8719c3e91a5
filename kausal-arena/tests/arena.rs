//! Arenas, regions and budgets through the public interface.

use kausal_arena::{
    AllocError, Arena, ArenaClosed, Budget, PermitRefused, RegionPool, RegionUnavailable, Retain, ScratchPool,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn allocations_are_aligned_disjoint_and_keep_their_bytes(
        sizes in proptest::collection::vec((0..700_usize, 0..8_u32), 1..200),
        fixed in any::<bool>(),
    ) {
        let budget = Budget::root("test", 4 << 20);
        let arena = if fixed { Arena::fixed(&budget, 1 << 20).unwrap() } else { Arena::growing(&budget) };
        let writers = [arena.coordinator().writer().unwrap(), arena.coordinator().writer().unwrap()];
        let mut ranges = Vec::new();
        for (number, &(bytes, align)) in sizes.iter().enumerate() {
            let layout = std::alloc::Layout::from_size_align(bytes, 1 << align).unwrap();
            let start = writers[number % 2].try_alloc_layout(layout).unwrap().as_ptr().addr();
            prop_assert_eq!(start % layout.align(), 0);
            if bytes > 0 {
                ranges.push((start, start + bytes));
            }
        }
        ranges.sort_unstable();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        prop_assert!(arena.stats().used <= budget.used());
    }

    #[test]
    fn budget_sums_hold_and_limits_are_never_passed(ops in proptest::collection::vec((0..4_usize, 0..60_usize), 1..80)) {
        let root = Budget::root("root", 100);
        let middle = root.child("middle", 20, 80).unwrap();
        let leaves = [
            root.child("a", 10, 100).unwrap(),
            middle.child("b", 5, 50).unwrap(),
            middle.child("c", 0, 80).unwrap(),
        ];
        let mut held = Vec::new();
        for (place, bytes) in ops {
            match leaves.get(place) {
                Some(leaf) => held.extend(leaf.reserve(bytes)),
                None => drop(held.pop()),
            }
            let report = root.report();
            prop_assert_eq!(report.root().used, held.iter().map(|held| held.bytes()).sum::<usize>());
            prop_assert_eq!(report.root().used, report.leaves_used());
            for node in report.nodes() {
                prop_assert!(node.used <= node.limit && node.used <= node.reserved && node.floor <= node.reserved);
                prop_assert!(node.reserved <= node.limit);
            }
        }
        drop(held);
        drop(leaves);
        drop(middle);
        prop_assert_eq!((root.used(), root.reserved()), (0, 0));
    }
}

#[test]
fn a_floor_is_there_whatever_others_hold() {
    let root = Budget::root("root", 100);
    let flush = root.child("flush", 30, 60).unwrap();
    let cache = root.child("cache", 0, 100).unwrap();
    let held = cache.reserve(70).unwrap();
    let refused = cache.reserve(1).unwrap_err();
    assert!(matches!(&refused, AllocError::BudgetExceeded { node, .. } if &**node == "root"), "{refused}");
    assert!(refused.to_string().contains("cache (70 bytes)"), "{refused}");
    let own = flush.reserve(30).unwrap();
    assert!(flush.reserve(1).is_err());
    drop(held);
    drop((own, flush.reserve(60).unwrap_err()));
    assert_eq!(flush.reserve(60).unwrap().bytes(), 60);
}

#[test]
fn s10_reset_returns_what_was_released() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    arena.scope().try_alloc_slice_copy(&[1_u8; 100_000]).unwrap();
    let kept = arena.reset(Retain::Capacity).unwrap();
    assert!(kept.reclaimed >= 100_000 && kept.returned == 0 && budget.used() >= 100_000);
    let gone = arena.reset(Retain::Nothing).unwrap();
    assert!(gone.returned >= 100_000);
    assert_eq!(budget.used(), 0);
}

#[test]
fn s08_a_reset_waits_for_its_leases() {
    let mut arena = Arena::growing(&Budget::unlimited("test"));
    let lease = arena.coordinator().lease().unwrap();
    let refused = arena.reset(Retain::Capacity).unwrap_err();
    assert_eq!((refused.leases, refused.generation), (1, lease.generation()));
    drop(lease);
    arena.reset(Retain::Capacity).unwrap();
}

#[test]
fn s23_coordinator_outlives_its_arena_as_a_typed_error() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let coordinator = arena.coordinator();
    let moved = Box::new(arena);
    assert!(coordinator.lease().is_ok(), "moving the owner changes nothing");
    drop(moved);
    assert_eq!(coordinator.lease().unwrap_err(), ArenaClosed);
}

#[test]
fn retire_begins_anew_and_returns_the_old_memory_with_its_last_lease() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    let coordinator = arena.coordinator();
    let handle = coordinator.writer().unwrap().try_alloc_handle([7_u8; 50_000]).unwrap();
    let reader = coordinator.lease().unwrap();
    arena.retire().unwrap();
    assert_eq!(reader.resolve(handle).unwrap()[49_999], 7);
    assert!(coordinator.lease().unwrap().resolve(handle).is_err());
    assert!(budget.used() >= 50_000);
    drop(reader);
    assert_eq!(budget.used(), 0);
}

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
fn permits_never_promise_more_than_there_is() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 64 << 10, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let first = region.permit(40 << 10).unwrap();
    assert!(matches!(region.permit(40 << 10), Err(PermitRefused::Full { .. })));
    assert!(matches!(region.permit(1 << 20), Err(PermitRefused::TooLarge { .. })));
    drop(first);
    let whole = region.permit(region.capacity()).unwrap();
    whole.pen().try_alloc_slice_copy(&vec![1_u8; region.capacity()]).unwrap();
    assert!(whole.pen().try_alloc(1_u8).is_err());
}

#[test]
fn a_scratch_keeps_its_limit_and_its_memory_comes_back() {
    let budget = Budget::root("test", 1 << 20);
    let pool = ScratchPool::new(&budget, 256 << 10);
    let scratch = pool.take(64 << 10).unwrap();
    let used = budget.used();
    let first = scratch.try_alloc_slice_copy(&[7_u8; 1000]).unwrap();
    let mut taken = 1000;
    let refused = loop {
        match scratch.try_alloc_slice_copy(&[1_u8; 1000]) {
            Ok(_) => taken += 1000,
            Err(error) => break error,
        }
    };
    // It grew into the two larger sizes of the pool, and what it had stayed where it was.
    assert!(matches!(refused, AllocError::Exhausted { need: 1000, .. }), "{refused}");
    assert!((430_000..=480_000).contains(&taken), "{taken}");
    assert!(
        first.iter().all(|&byte| byte == 7) && budget.used() == scratch.capacity() && budget.used() > used
    );
    let used = budget.used();
    drop(scratch);
    drop(pool.take(64 << 10).unwrap());
    assert_eq!(budget.used(), used, "the same chunk served again");
    assert!(matches!(pool.take(1 << 20), Err(AllocError::TooLarge { .. })));
    pool.shrink();
    assert_eq!(budget.used(), 0);
}
