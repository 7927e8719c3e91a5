//! Scratches and object pools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_arena::{AllocError, Budget, Pool, PoolExhausted, Scratch, ScratchPool};

/// Fills a scratch to its limit. Returns the bytes and the refusal.
fn fill(scratch: &Scratch) -> (usize, AllocError) {
    let mut taken = 0;
    loop {
        match scratch.try_alloc_slice_copy(&[1_u8; 1000]) {
            Ok(_) => taken += 1000,
            Err(error) => break (taken, error),
        }
    }
}

#[test]
fn s20_a_scratch_keeps_its_limit_and_its_memory_comes_back() {
    let budget = Budget::root("test", 2 << 20);
    let pool = ScratchPool::new(&budget, 256 << 10);
    let scratch = pool.take(64 << 10).unwrap();
    let (taken, refused) = fill(&scratch);
    assert!(matches!(refused, AllocError::Exhausted { need: 1000, .. }), "{refused}");
    assert!((60_000..=70_000).contains(&taken), "{taken}");
    drop(scratch);
    let used = budget.used();
    let scratch = pool.take(64 << 10).unwrap();
    assert_eq!(budget.used(), used, "the same chunk served again");
    assert_eq!(fill(&scratch).0, taken, "and it was empty");
    drop(scratch);
    assert!(matches!(pool.take(1 << 20), Err(AllocError::TooLarge { .. })));
    budget.please_shrink(usize::MAX);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_growing_scratch_takes_larger_chunks_and_moves_nothing() {
    let budget = Budget::root("test", 2 << 20);
    let pool = ScratchPool::new(&budget, 256 << 10);
    let mut scratch = pool.take_growing(64 << 10, 1 << 20).unwrap();
    let first = scratch.try_alloc_slice_copy(&[7_u8; 1000]).unwrap();
    let word = scratch.try_alloc_str("stays").unwrap();
    let (taken, _) = fill(&scratch);
    assert!((430_000..=480_000).contains(&taken), "{taken}: 64, 128 and 256 KiB");
    assert!(first.iter().all(|&byte| byte == 7) && word == "stays" && budget.used() == scratch.capacity());
    scratch.reset();
    assert!(scratch.capacity() >= 256 << 10 && scratch.bytes_left() >= 256 << 10, "the largest chunk stays");
    let limited = pool.take_growing(64 << 10, 200 << 10).unwrap();
    assert!(fill(&limited).0 < 200 << 10);
}

#[test]
fn a_scratch_that_the_budget_does_not_let_grow_is_full() {
    let budget = Budget::root("test", 100 << 10);
    let pool = ScratchPool::new(&budget, 256 << 10);
    let scratch = pool.take_growing(1, 1 << 20).unwrap();
    assert!(matches!(fill(&scratch).1, AllocError::BudgetExceeded { .. }));
    assert!(scratch.try_alloc(1_u8).is_ok(), "a smaller request still succeeds");
}

/// Counts its instances.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn u2_a_pool_has_exactly_its_objects_and_says_when_they_are_out() {
    let alive = Arc::new(AtomicUsize::new(0));
    let budget = Budget::root("test", 1 << 10);
    let make = || {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&alive))
    };
    let pool = Pool::new(&budget, 3, make).unwrap();
    assert_eq!((alive.load(Ordering::Relaxed), budget.used()), (3, 3 * size_of::<Counted>()));
    let guards: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    assert_eq!(pool.take().map(drop), Err(PoolExhausted { capacity: 3 }));
    let places: std::collections::HashSet<_> =
        guards.iter().map(|guard| std::ptr::from_ref(&**guard)).collect();
    assert_eq!(places.len(), 3, "nobody has what another has");
    // A forgotten guard loses its object to the pool, never to two users.
    // (Kept where a leak checker finds it, and never dropped.)
    static FORGOTTEN: std::sync::Mutex<Vec<kausal_arena::Pooled<Counted>>> =
        std::sync::Mutex::new(Vec::new());
    FORGOTTEN.lock().unwrap().extend(guards.into_iter().take(1));
    assert_eq!((pool.in_use(), alive.load(Ordering::Relaxed)), (1, 3));
    let last = pool.take().unwrap();
    drop(pool);
    assert_eq!(alive.load(Ordering::Relaxed), 3, "a guard keeps them");
    drop(last);
    // The forgotten guard holds the pool for ever, so its objects are not dropped: kept, not freed twice.
    assert_eq!(alive.load(Ordering::Relaxed), 3);
}

#[test]
fn destructors_run_when_pool_and_guards_are_gone() {
    let alive = Arc::new(AtomicUsize::new(0));
    let budget = Budget::root("test", 1 << 10);
    let pool = Pool::new(&budget, 5, || {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&alive))
    })
    .unwrap();
    let guard = pool.take().unwrap();
    drop(pool);
    assert_eq!(alive.load(Ordering::Relaxed), 5);
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert_eq!((alive.load(Ordering::Relaxed), budget.used()), (0, 0));
}

#[test]
fn threads_share_a_pool_without_sharing_an_object() {
    let pool = Pool::new(&Budget::unlimited("test"), 2, || 0_u64).unwrap();
    let rounds: u64 = std::thread::scope(|threads| {
        let spawn = |_| {
            let pool = pool.clone();
            threads.spawn(move || {
                let mut rounds = 0;
                for _ in 0..10_000 {
                    if let Ok(mut number) = pool.take() {
                        *number += 1;
                        rounds += 1;
                    }
                }
                rounds
            })
        };
        let threads: Vec<_> = (0..3).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
    assert_eq!(*first + *second, rounds);
}
