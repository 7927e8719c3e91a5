//! Writers: alignment, disjointness, sizes of all kinds, and what is refused.

use std::alloc::Layout;

use kausal_arena::{AllocError, Arena, Budget, ChunkPool, Retain};
use proptest::prelude::*;

/// The four kinds of arena.
fn arena(kind: u8, budget: &Budget) -> Arena {
    match kind {
        0 => Arena::growing(budget),
        1 => Arena::pooled(budget, &ChunkPool::new(budget)),
        // Room for a block of every writer: what one gives back behind another's block is lost.
        2 => Arena::fixed(budget, 8 << 20).unwrap(),
        // A first generation has been there.
        _ => {
            let mut arena = Arena::growing(budget);
            arena.scope().alloc_slice_copy(&[9_u8; 70_000]);
            arena.reset(Retain::Capacity).unwrap();
            arena
        }
    }
}

proptest! {
    #[test]
    fn allocations_are_aligned_disjoint_and_keep_their_bytes(
        sizes in proptest::collection::vec((0..700_usize, 0..8_u32, any::<bool>()), 1..200),
        kind in 0..4_u8,
    ) {
        let budget = Budget::root("test", 16 << 20);
        let arena = arena(kind, &budget);
        let mut writers = [arena.coordinator().writer().unwrap(), arena.coordinator().writer().unwrap()];
        let mut ranges = Vec::new();
        for (number, &(bytes, align, fresh)) in sizes.iter().enumerate() {
            let writer = &mut writers[number % 2];
            if fresh {
                *writer = arena.coordinator().writer().unwrap();
            }
            let layout = Layout::from_size_align(bytes, 1 << align).unwrap();
            let start = writer.try_alloc_layout(layout).unwrap().as_ptr().addr();
            prop_assert_eq!(start % layout.align(), 0);
            if bytes > 0 {
                ranges.push((start, start + bytes));
            }
        }
        ranges.sort_unstable();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let (asked, stats) = (ranges.iter().map(|range| range.1 - range.0).sum::<usize>(), arena.stats());
        prop_assert!(asked <= stats.used && stats.used <= stats.capacity && stats.capacity <= budget.used());
        drop(writers);
        prop_assert!(asked <= arena.stats().live() + 16);
    }
}

#[test]
fn every_way_to_allocate_has_its_bytes() {
    let budget = Budget::unlimited("test");
    for kind in 0..4 {
        let arena = arena(kind, &budget);
        let scope = arena.scope();
        let number = scope.alloc(1_u64);
        let word = scope.alloc_str("word");
        let copied = scope.alloc_slice_copy(&[1_u16, 2, 3]);
        let filled = scope.alloc_slice_fill_with(4, |place| place * place);
        let later = scope.alloc_uninit::<u32>().write(7);
        let laters = scope.alloc_uninit_slice::<u8>(3);
        laters.iter_mut().for_each(|place| _ = place.write(5));
        let twin = scope.dupe(&[4_u8; 5]);
        *number += 1;
        copied[0] = 9;
        assert_eq!((*number, &*word, &*copied, &*filled), (2, "word", &[9, 2, 3][..], &[0, 1, 4, 9][..]));
        assert_eq!((*later, laters.len(), *twin), (7, 3, [4; 5]));
    }
}

#[test]
fn an_allocation_costs_no_byte_beyond_its_alignment() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let writer = arena.coordinator().writer().unwrap();
    for _ in 0..1_000 {
        writer.alloc(0_u128);
    }
    drop(writer);
    let stats = arena.stats();
    assert_eq!(stats.live(), 16_000, "{stats:?}");
}

#[test]
fn s15_only_what_was_allocated_last_gives_memory_back() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let used = |arena: &Arena| arena.stats().live();
    {
        let scope = arena.scope();
        let mut last = kausal_arena::ArenaVec::try_with_capacity(&scope, 1_000).unwrap();
        last.extend_from_slice(&[7_u8; 16]);
        last.into_slice();
    }
    assert_eq!(used(&arena), 16, "the last one shrank");
    {
        let scope = arena.scope();
        let mut early = kausal_arena::ArenaVec::try_with_capacity(&scope, 1_000).unwrap();
        early.extend_from_slice(&[7_u8; 16]);
        scope.alloc(1_u8);
        early.into_slice();
    }
    assert_eq!(used(&arena), 16 + 1_000 + 8, "nothing else does: 1,001 bytes, rounded up");
}

#[test]
fn zero_sized_things_take_no_memory() {
    let budget = Budget::root("test", 0);
    let arena = Arena::growing(&budget);
    let scope = arena.scope();
    scope.alloc(());
    assert!(scope.alloc_slice_copy::<u64>(&[]).is_empty());
    assert_eq!(scope.alloc_slice_fill_with(1_000_000, |_| ()).len(), 1_000_000);
    assert_eq!(scope.alloc_layout(Layout::from_size_align(0, 4096).unwrap()).as_ptr().addr() % 4096, 0);
    let handle = scope.alloc_handle([0_u32; 0]);
    assert!(scope.lease().resolve(handle).is_ok());
    assert_eq!((budget.used(), arena.stats().used), (0, 0));
}

#[test]
fn over_aligned_things_are_aligned() {
    let budget = Budget::unlimited("test");
    for kind in 0..3 {
        let arena = arena(kind, &budget);
        let scope = arena.scope();
        for shift in 0..17 {
            let layout = Layout::from_size_align(3, 1 << shift).unwrap();
            scope.alloc(1_u8);
            assert_eq!(scope.alloc_layout(layout).as_ptr().addr() % layout.align(), 0);
        }
    }
}

#[test]
fn sizes_that_cannot_be_are_values_and_change_nothing() {
    let budget = Budget::root("test", 1 << 20);
    let arena = Arena::growing(&budget);
    let scope = arena.scope();
    let before = (arena.stats(), budget.used());
    assert!(matches!(scope.try_alloc_uninit_slice::<u64>(usize::MAX), Err(AllocError::TooLarge { .. })));
    let largest = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
    assert!(matches!(scope.try_alloc_layout(largest), Err(AllocError::TooLarge { .. })));
    let huge = Layout::from_size_align(1 << 40, 1).unwrap();
    let refused = scope.try_alloc_layout(huge).unwrap_err();
    assert!(matches!(refused, AllocError::BudgetExceeded { .. }), "{refused}");
    assert_eq!((arena.stats(), budget.used()), before);
    // A request the budget admits and no machine has.
    let unlimited = Arena::growing(&Budget::unlimited("test"));
    let beyond = Layout::from_size_align(1 << 60, 1).unwrap();
    assert!(matches!(unlimited.scope().try_alloc_layout(beyond), Err(AllocError::OutOfMemory { .. })));
    assert!(matches!(Arena::fixed(&budget, 5 << 30), Err(AllocError::TooLarge { .. })));
    assert_eq!(budget.used(), before.1);
}

#[test]
#[should_panic(expected = "memory refused: 17 bytes needed, the arena has")]
fn an_infallible_twin_panics_and_says_why() {
    let arena = Arena::fixed(&Budget::unlimited("test"), 256).unwrap();
    let scope = arena.scope();
    while scope.try_alloc([0_u8; 16]).is_ok() {}
    scope.alloc([0_u8; 17]);
}

#[test]
fn a_smaller_request_may_succeed_after_a_refusal() {
    let budget = Budget::root("test", 6 << 10);
    let arena = Arena::growing(&budget);
    let scope = arena.scope();
    scope.alloc([0_u8; 1_000]);
    assert!(scope.try_alloc([0_u8; 8_000]).is_err());
    scope.alloc([0_u8; 2_000]);
    assert!(budget.used() <= 6 << 10);
}

#[test]
fn the_last_bytes_of_a_region_are_used_across_blocks() {
    let arena = Arena::fixed(&Budget::unlimited("test"), 128 << 10).unwrap();
    let scope = arena.scope();
    let capacity = arena.stats().capacity;
    // Two thirds of what is left lie in the block in hand, one third behind it.
    scope.alloc_slice_copy(&vec![0_u8; capacity - (32 << 10)]);
    let rest = capacity - arena.stats().used + scope.block_bytes_left();
    assert!(scope.block_bytes_left() < rest || rest == scope.block_bytes_left());
    scope.alloc_slice_copy(&vec![0_u8; rest]);
    assert!(scope.try_alloc(0_u8).is_err());
    assert_eq!((arena.stats().used, arena.stats().slack), (capacity, 0));
}

#[test]
fn offsets_belong_to_fixed_regions() {
    let budget = Budget::unlimited("test");
    let growing = Arena::growing(&budget);
    let layout = Layout::new::<u64>();
    assert_eq!(growing.scope().try_alloc_offset(layout).unwrap_err(), AllocError::NoOffsets);
    let fixed = Arena::fixed(&budget, 4096).unwrap();
    let scope = fixed.scope();
    let base = scope.lease().base().unwrap().as_ptr().addr();
    let (first, place) = scope.try_alloc_offset(layout).unwrap();
    assert_eq!((first, place.as_ptr().addr()), (128, base + 128));
    assert_eq!(scope.try_alloc_offset(layout).unwrap().0, 136);
}

#[test]
fn writers_of_many_threads_share_a_region_without_overlap() {
    let arena = Arena::fixed(&Budget::unlimited("test"), 8 << 20).unwrap();
    let coordinator = arena.coordinator();
    let ranges: Vec<_> = std::thread::scope(|threads| {
        let spawn = |number: u8| {
            let writer = coordinator.writer().unwrap();
            threads.spawn(move || {
                let handles: Vec<_> = (0..2_000)
                    .map(|size| writer.alloc_handle_slice_copy(&vec![number; size % 300]))
                    .collect();
                (number, handles)
            })
        };
        let threads: Vec<_> = (0..4).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let lease = coordinator.lease().unwrap();
    for (number, handles) in ranges {
        for (size, handle) in handles.into_iter().enumerate() {
            let bytes = lease.resolve(handle).unwrap();
            assert!(bytes.len() == size % 300 && bytes.iter().all(|&byte| byte == number));
        }
    }
}
