//! Owners, coordinators, leases and generations.

use kausal_arena::{
    AllocError, Arena, ArenaClosed, ArenaStats, Budget, ChunkPool, DupeRefused, Retain, StaleHandle,
};

#[test]
fn s03_a_coordinator_allocates_dupes_and_reports_and_only_the_owner_resets() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    let coordinator = arena.coordinator();
    let first = coordinator.generation().unwrap();
    let writer = coordinator.writer().unwrap();
    let original = writer.alloc_slice_copy(&[1_u32, 2, 3]);
    let copy = writer.try_alloc_slice_copy(original).unwrap();
    assert_eq!(copy, [1, 2, 3]);
    let stats = coordinator.stats().unwrap();
    assert!(
        stats.generation == first && stats.used > 0 && stats.leases == 1 && stats.capacity <= budget.used()
    );
    // Exclusive access to the owner is not enough while somebody holds the generation.
    assert!(arena.reset(Retain::Capacity).is_err());
    drop(writer);
    arena.reset(Retain::Capacity).unwrap();
    assert_ne!(coordinator.generation().unwrap(), first);
    // Every way to ask fails as a value once the owner is gone.
    drop(arena);
    assert_eq!(coordinator.lease().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.writer().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.stats().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.generation().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.lease_named("late").unwrap_err(), ArenaClosed);
}

#[test]
fn s07_a_reader_leaves_the_write_arena_as_it_was() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let coordinator = arena.coordinator();
    let writer = coordinator.writer().unwrap();
    let handles: Vec<_> = (0..1_000_u64).map(|number| writer.alloc_handle(number)).collect();
    drop(writer);
    let ArenaStats { used, capacity, .. } = arena.stats();
    for (number, handle) in (0..).zip(handles) {
        let lease = coordinator.lease().unwrap();
        assert_eq!(lease.resolve(handle), Ok(&number));
    }
    let after = arena.stats();
    assert_eq!((after.used, after.capacity), (used, capacity));
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
fn s13_live_dead_and_slack_add_up_to_used() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let writer = arena.coordinator().writer().unwrap();
    writer.alloc_slice_copy(&[0_u8; 1_000]);
    // Overwritten: a newer version takes its place somewhere else.
    writer.note_dead(400);
    drop(writer);
    let stats = arena.stats();
    assert_eq!(
        (stats.live(), stats.dead, stats.slack),
        (608, 400, 0),
        "{stats:?}: the end is rounded up to 16"
    );
    // What does not fit into the rest of the first chunk of 4 KiB leaves a tail behind.
    arena.scope().alloc_slice_copy(&[0_u8; 4_000]);
    let stats = arena.stats();
    assert!(stats.slack > 2_900, "{stats:?}");
    assert_eq!(stats.live() + stats.dead + stats.slack, stats.used);
    assert!(stats.used <= stats.capacity);
}

#[test]
fn s17_each_retain_is_visible_in_the_budget() {
    let root = Budget::root("root", 8 << 20);
    let (node, idle) = (root.child("arena", 0, 4 << 20).unwrap(), root.child("idle", 0, 4 << 20).unwrap());
    let pool = ChunkPool::new(&idle);
    let mut arena = Arena::pooled(&node, &pool);
    let fill = |arena: &Arena| {
        arena.scope().alloc_slice_copy(&vec![1_u8; 600_000]);
        node.used()
    };
    let full = fill(&arena);
    arena.reset(Retain::Capacity).unwrap();
    assert_eq!((node.used(), idle.used()), (full, 0));
    assert_eq!(fill(&arena), full, "what was kept is enough");
    let released = arena.reset(Retain::UpTo(100_000)).unwrap();
    assert!(node.used() <= 100_000 && node.used() + released.returned == full);
    assert_eq!(idle.used(), released.returned, "the pool has what the arena gave");
    fill(&arena);
    let (before, kept) = (root.used(), node.used());
    let released = arena.reset(Retain::Nothing).unwrap();
    assert_eq!((node.used(), released.returned, root.used()), (0, kept, before));
    pool.shrink(usize::MAX);
    assert_eq!(root.used(), 0);
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
fn s24_a_copy_in_another_arena_is_the_one_way_across_a_reset() {
    let budget = Budget::unlimited("test");
    let (mut first, second) = (Arena::growing(&budget), Arena::fixed(&budget, 8 << 10).unwrap());
    let (from, to) = (first.coordinator(), second.coordinator());
    let handle = from.writer().unwrap().alloc_handle_slice_copy(b"kept");
    let (stale, copy) = {
        let lease = from.lease().unwrap();
        (handle, lease.dupe(handle, &second.scope()).unwrap())
    };
    first.reset(Retain::Capacity).unwrap();
    // The same bytes may serve again under the old address: the generation tells.
    from.writer().unwrap().alloc_slice_copy(b"lost");
    let lease = from.lease().unwrap();
    let expected = StaleHandle { made_in: stale.generation(), lease: lease.generation() };
    assert_eq!(lease.resolve(stale).unwrap_err(), expected);
    assert_eq!(lease.dupe(stale, &second.scope()).unwrap_err(), DupeRefused::Stale(expected));
    assert_eq!(to.lease().unwrap().resolve(copy).unwrap(), b"kept");
    // Nor does a handle work in an arena that it is not of, though both are alive.
    assert!(lease.resolve(copy).is_err() && to.lease().unwrap().resolve(stale).is_err());
}

/// Both arenas live through the same history, so that a generation counted for each arena alone would be equal in both.
#[test]
fn u3_a_handle_is_refused_by_an_arena_it_is_not_of_whatever_both_went_through() {
    let budget = Budget::unlimited("test");
    let mut arenas = [Arena::growing(&budget), Arena::growing(&budget)];
    for _ in 0..3 {
        let handles =
            arenas.each_ref().map(|arena| arena.coordinator().writer().unwrap().alloc_handle(7_u64));
        let leases = arenas.each_ref().map(|arena| arena.coordinator().lease().unwrap());
        for (own, other) in [(0, 1), (1, 0)] {
            assert_eq!(leases[own].resolve(handles[own]), Ok(&7));
            let refusal = leases[other].resolve(handles[own]).unwrap_err();
            let expected =
                StaleHandle { made_in: leases[own].generation(), lease: leases[other].generation() };
            assert_eq!(refusal, expected);
        }
        drop(leases);
        for arena in &mut arenas {
            arena.reset(Retain::Capacity).unwrap();
        }
    }
}

#[test]
fn s24_a_second_coordinator_learns_of_a_reset() {
    let mut arena = Arena::growing(&Budget::unlimited("test"));
    let (first, second) = (arena.coordinator(), arena.coordinator());
    let handle = first.writer().unwrap().alloc_handle(7_u8);
    arena.reset(Retain::Capacity).unwrap();
    // Something else lies at the old address now.
    first.writer().unwrap().alloc(8_u8);
    assert!(second.lease().unwrap().resolve(handle).is_err());
    assert_eq!(first.generation(), second.generation());
}

#[test]
fn retire_begins_anew_and_returns_the_old_memory_with_its_last_lease() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    let coordinator = arena.coordinator();
    let handle = coordinator.writer().unwrap().alloc_handle([7_u8; 50_000]);
    let reader = coordinator.lease().unwrap();
    arena.retire().unwrap();
    assert_eq!(reader.resolve(handle).unwrap()[49_999], 7);
    assert!(coordinator.lease().unwrap().resolve(handle).is_err());
    assert!(budget.used() >= 50_000);
    drop(reader);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_fixed_arena_that_cannot_have_a_second_region_goes_on_with_the_first() {
    let budget = Budget::root("test", 100 << 10);
    let mut arena = Arena::fixed(&budget, 64 << 10).unwrap();
    let lease = arena.coordinator().lease().unwrap();
    assert!(matches!(arena.retire(), Err(AllocError::BudgetExceeded { .. })));
    assert_eq!(arena.coordinator().generation().unwrap(), lease.generation());
}

#[test]
fn generations_are_unique_among_all_arenas_of_the_process() {
    let budget = Budget::unlimited("test");
    let mut seen = std::collections::HashSet::new();
    let mut arenas: Vec<_> = (0..3).map(|_| Arena::growing(&budget)).collect();
    for _ in 0..50 {
        for arena in &mut arenas {
            assert!(seen.insert(arena.coordinator().generation().unwrap()));
            arena.reset(Retain::Capacity).unwrap();
        }
    }
}

#[test]
fn a_panic_under_a_writer_leaves_the_arena_whole() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        arena.scope().alloc_slice_fill_with(100, |number| {
            assert!(number < 50, "half way");
            number
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(arena.stats().leases, 0);
    arena.scope().alloc(7_u8);
    arena.reset(Retain::Nothing).unwrap();
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_forgotten_lease_keeps_its_memory_and_is_named() {
    let budget = Budget::root("test", 1 << 20);
    let mut arena = Arena::growing(&budget);
    // Never dropped, and still reachable for a leak checker.
    static FORGOTTEN: std::sync::Mutex<Vec<kausal_arena::Lease>> = std::sync::Mutex::new(Vec::new());
    FORGOTTEN.lock().unwrap().push(arena.coordinator().lease_named("forgotten").unwrap());
    let refused = arena.reset(Retain::Nothing).unwrap_err();
    assert!(refused.to_string().contains("forgotten"), "{refused}");
    // The way out: a new generation at once. The old one is the price of forgetting.
    arena.retire().unwrap();
    arena.reset(Retain::Nothing).unwrap();
}
