//! Sizes that no machine has: each is refused as a value, and what was there stays.
#![forbid(unsafe_code)]

use std::alloc::Layout;

use kausal_arena::{
    AllocError, Allowance, Arena, ArenaVec, Budget, ChunkPool, PermitRefused, RegionPool, Retain, ScratchPool,
};

/// Sizes around every place where arithmetic could wrap around.
const ABSURD: [usize; 7] = [
    usize::MAX,
    usize::MAX - 1,
    usize::MAX - 4095,
    usize::MAX / 2 + 1,
    isize::MAX as usize,
    isize::MAX as usize - 15,
    isize::MAX as usize - 128,
];

#[test]
fn an_allowance_refuses_what_no_node_admits() {
    for node in [Budget::unlimited("pins"), Budget::root("pins", 1 << 20)] {
        let allowance = Allowance::new(&node, 4096);
        let held = allowance.take(100).unwrap();
        for bytes in [usize::MAX, usize::MAX - 1, usize::MAX - 4095] {
            let refused = allowance.take(bytes).expect_err("more than there is");
            assert!(
                matches!(refused, AllocError::TooLarge { .. } | AllocError::BudgetExceeded { .. }),
                "{refused}"
            );
            assert_eq!((allowance.used(), node.used()), (100, 4096));
        }
        drop(held);
        assert_eq!((allowance.settle(), node.used()), (4096, 0));
    }
}

#[test]
fn a_scratch_pool_without_a_limit_is_limited_by_its_budget() {
    let budget = Budget::root("requests", 1 << 20);
    for bytes_max in ABSURD {
        let pool = ScratchPool::new(&budget, bytes_max);
        assert!(pool.bytes_max() >= 1 << 30, "{}", pool.bytes_max());
        pool.take(100_000).unwrap().try_alloc_slice_copy(&[7_u8; 100_000]).unwrap();
        for bytes in ABSURD {
            let refused = pool.take(bytes).expect_err("more than there is");
            assert!(
                matches!(refused, AllocError::TooLarge { .. } | AllocError::BudgetExceeded { .. }),
                "{refused}"
            );
        }
        pool.shrink();
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn arenas_refuse_absurd_layouts_and_go_on() {
    let budget = Budget::root("names", 1 << 20);
    let chunks = ChunkPool::new(&budget);
    let arenas =
        [Arena::growing(&budget), Arena::pooled(&budget, &chunks), Arena::fixed(&budget, 1 << 16).unwrap()];
    for mut arena in arenas {
        {
            let scope = arena.scope();
            scope.alloc(7_u8);
            for bytes in ABSURD {
                for align in [1, 16, 4096, 1 << 40] {
                    let Ok(layout) = Layout::from_size_align(bytes, align) else { continue };
                    assert!(scope.try_alloc_layout(layout).is_err());
                }
                assert!(scope.try_alloc_uninit_slice::<u64>(bytes).is_err());
                assert!(ArenaVec::<u64>::try_with_capacity(&scope, bytes).is_err());
                let mut vec = ArenaVec::new(&scope);
                vec.push(1_u64);
                assert!(vec.try_reserve(bytes).is_err());
                assert_eq!(vec.into_slice(), [1]);
            }
        }
        arena.reset(Retain::UpTo(usize::MAX)).unwrap();
        arena.scope().alloc(7_u8);
    }
    chunks.shrink(usize::MAX);
    assert_eq!(budget.used(), 0);
}

#[test]
fn absurd_regions_permits_and_reservations_are_refused() {
    let budget = Budget::root("memtables", 1 << 20);
    let pool = RegionPool::new(&budget, 1 << 16, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let used = budget.used();
    let mut charge = budget.reserve(100).unwrap();
    for bytes in ABSURD {
        assert!(matches!(region.permit(bytes), Err(PermitRefused::TooLarge { .. })));
        assert!(Arena::fixed(&budget, bytes).is_err());
        assert!(RegionPool::new(&budget, bytes, 2, || {}).is_err());
        assert!(budget.reserve(bytes).is_err() && charge.resize(bytes).is_err());
        assert_eq!(budget.used(), used + 100);
    }
}
