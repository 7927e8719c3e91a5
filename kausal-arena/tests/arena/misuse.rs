//! Everything that can be done wrong at run time, and the typed error it gets: with debug assertions and without.
//!
//! What a compiler refuses is in `compile_fail`. The guards of debug builds play no part here: what is relied on is what a
//! release build answers, and `cargo xtask ci` runs this test built that way, too.

use kausal_arena::{
    AllocError, Arena, ArenaClosed, Budget, DoubleBuffer, DupeRefused, PermitRefused, PermitsLive, Pool,
    PoolExhausted, RegionPool, RegionUnavailable, Retain, ScratchPool, StaleHandle, Subsystem,
    SubsystemRefused,
};

#[test]
fn s27_misuse_is_a_typed_error_without_debug_assertions() {
    println!("debug assertions: {}", cfg!(debug_assertions));
    handles_of_another_time_or_place();
    arenas_that_are_gone_or_in_use();
    sizes_that_cannot_be();
    regions_and_permits();
    budgets_and_pools();
}

fn handles_of_another_time_or_place() {
    let budget = Budget::unlimited("test");
    let (mut arena, other) = (Arena::growing(&budget), Arena::growing(&budget));
    let (coordinator, elsewhere) = (arena.coordinator(), other.coordinator());
    let stale = coordinator.writer().unwrap().alloc_handle(7_u64);
    let stale_slice = coordinator.writer().unwrap().alloc_handle_slice_copy(b"gone");
    arena.reset(Retain::Capacity).unwrap();
    // The same bytes serve again under the old address.
    let current = coordinator.writer().unwrap().alloc_handle(8_u64);
    let lease = coordinator.lease().unwrap();
    let refused = StaleHandle { made_in: stale.generation(), lease: lease.generation() };
    assert_eq!(lease.resolve(stale), Err(refused));
    assert_eq!(lease.dupe(stale_slice, &other.scope()).unwrap_err(), DupeRefused::Stale(refused));
    let foreign = elsewhere.lease().unwrap();
    let refused = StaleHandle { made_in: current.generation(), lease: foreign.generation() };
    assert_eq!(foreign.resolve(current), Err(refused));
    assert_eq!(lease.resolve(current), Ok(&8));
}

fn arenas_that_are_gone_or_in_use() {
    let budget = Budget::unlimited("test");
    let mut arena = Arena::growing(&budget);
    let coordinator = arena.coordinator();
    let (first, second) = (coordinator.lease().unwrap(), coordinator.lease().unwrap());
    let refused = arena.reset(Retain::Nothing).unwrap_err();
    assert_eq!((refused.leases, refused.generation), (2, first.generation()));
    drop((first, second));
    arena.reset(Retain::Nothing).unwrap();
    let child = Subsystem::new(&coordinator, "child", 64 << 10).unwrap();
    assert_eq!(arena.reset(Retain::Nothing).unwrap_err().leases, 1, "a child counts");
    drop(child);
    drop(arena);
    assert_eq!(coordinator.lease().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.writer().unwrap_err(), ArenaClosed);
    let orphan = Subsystem::new(&coordinator, "orphan", 64 << 10).map(drop);
    assert_eq!(orphan, Err(SubsystemRefused::Closed(ArenaClosed)));
}

fn sizes_that_cannot_be() {
    let budget = Budget::unlimited("test");
    let (fixed, growing) = (Arena::fixed(&budget, 4096).unwrap(), Arena::growing(&budget));
    let scope = fixed.scope();
    assert!(matches!(scope.try_alloc_slice_copy(&[1_u8; 5000]), Err(AllocError::Exhausted { .. })));
    // Nothing has no place that could be given out twice, and no byte of the arena.
    let used = fixed.stats().used;
    assert_eq!(scope.try_alloc_slice_copy::<u64>(&[]).map(|slice| slice.len()), Ok(0));
    assert_eq!(fixed.stats().used, used);
    assert_eq!(scope.try_alloc_slice_copy(&[1_u8; 100]).map(|slice| slice.len()), Ok(100), "it goes on");
    assert!(matches!(Arena::fixed(&budget, usize::MAX).map(drop), Err(AllocError::TooLarge { .. })));
    assert_eq!(growing.scope().try_alloc(1_u8).map(|byte| *byte), Ok(1));
}

fn regions_and_permits() {
    let pool = RegionPool::new(&Budget::unlimited("test"), 64 << 10, 1, || {}).unwrap();
    let coordinator = pool.coordinator();
    let region = coordinator.take().unwrap();
    assert_eq!(coordinator.take().unwrap_err(), RegionUnavailable::Exhausted { total: 1 });
    let permit = region.permit(1000).unwrap();
    assert_eq!(permit.pen().try_alloc_slice_copy(&[1_u8; 600]).map(|slice| slice.len()), Ok(600));
    let overrun = permit.pen().try_alloc_slice_copy(&[1_u8; 600]).unwrap_err();
    assert!(matches!(overrun, AllocError::Exhausted { need: 600, have } if have < 600), "{overrun}");
    assert!(matches!(region.permit(region.capacity()), Err(PermitRefused::Full { .. })));
    assert!(matches!(region.permit(usize::MAX), Err(PermitRefused::TooLarge { .. })));
    assert_eq!(region.freeze().unwrap_err(), PermitsLive { permits: 1 });
    assert_eq!(region.permit(1).unwrap_err(), PermitRefused::Sealed);
    drop(permit);
    region.freeze().unwrap();
    drop(pool);
    assert_eq!(coordinator.take().unwrap_err(), RegionUnavailable::Closed);
}

fn budgets_and_pools() {
    let budget = Budget::root("test", 100 << 10);
    let refused = RegionPool::new(&budget, 64 << 10, 2, || {}).map(drop).unwrap_err();
    assert!(matches!(&refused, AllocError::BudgetExceeded { node, .. } if &**node == "test"), "{refused}");
    let scratches = ScratchPool::new(&budget, 32 << 10);
    assert!(matches!(scratches.take(1 << 20).map(drop), Err(AllocError::TooLarge { .. })));
    let pool = Pool::new(&budget, 2, || 0_u64).unwrap();
    let held = [pool.take().unwrap(), pool.take().unwrap()];
    assert_eq!(pool.take().map(drop), Err(PoolExhausted { capacity: 2 }));
    drop(held);
    assert!(pool.take().is_ok());
    let mut buffer = DoubleBuffer::new(&Budget::unlimited("test"), 4096).unwrap();
    let sealed = buffer.swap().unwrap();
    let refused = buffer.swap().map(drop).unwrap_err();
    assert_eq!((refused.sealed, refused.draining), (1, 0));
    drop(sealed);
    assert!(buffer.swap().is_ok());
}
