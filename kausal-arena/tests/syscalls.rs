//! A steady allocation makes no system call: a process that may make none but `read`, `write` and `exit` (the kernel's strict
//! mode, which kills it for any other) allocates a million times.
#![cfg(target_os = "linux")]

use std::hint::black_box;

use kausal_arena::{Arena, Budget, RegionPool, Retain};

const ALLOCATIONS: usize = 1_000_000;

/// How a locked process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    /// It made a system call.
    Killed,
}

/// Runs `work` in a copy of this process that may make no system call but `read`, `write` and `exit`.
fn locked_in(work: impl FnOnce() -> bool) -> End {
    // SAFETY: the copy has only this thread; it touches memory that is its own, takes no lock that another thread could
    // have held, and ends by `exit` below.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the system has no process left");
    if child == 0 {
        // SAFETY: changes what the copy may do from here on, which is what is wanted; no memory is touched.
        let locked = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        let code = i32::from(locked != 0 || !work());
        // SAFETY: ends the copy by the one call for it that strict mode admits.
        unsafe { libc::syscall(libc::SYS_exit, code) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for the write.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    match (libc::WIFSIGNALED(status), libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0) {
        (true, _) => End::Killed,
        (false, true) => End::Done,
        (false, false) => End::Failed,
    }
}

#[test]
fn s12_a_million_allocations_make_no_system_call() {
    let budget = Budget::unlimited("test");
    budget.trace_leases(false);
    let mut arena = Arena::growing(&budget);
    arena.scope().alloc_slice_copy(&vec![0_u8; 16 * ALLOCATIONS]);
    arena.reset(Retain::Capacity).unwrap();
    let growing = locked_in(|| {
        let scope = arena.scope();
        (0..ALLOCATIONS).for_each(|number| _ = black_box(scope.alloc(number)));
        drop(scope);
        arena.reset(Retain::Capacity).is_ok_and(|released| released.reclaimed >= 8 * ALLOCATIONS)
    });
    assert_eq!(growing, End::Done);

    let pool = RegionPool::new(&budget, 16 * ALLOCATIONS, 1, || {}).unwrap();
    let coordinator = pool.coordinator();
    let region = locked_in(|| {
        let region = coordinator.take().unwrap();
        let writer = region.writer();
        (0..ALLOCATIONS).all(|number| writer.try_alloc(black_box(number)).is_ok())
    });
    assert_eq!(region, End::Done);
}

#[test]
fn a_process_that_makes_a_system_call_is_killed() {
    let fresh = Arena::growing(&Budget::unlimited("test"));
    // The first megabytes of an arena come from the system.
    let end =
        locked_in(|| fresh.scope().try_alloc_layout(std::alloc::Layout::new::<[u8; 4 << 20]>()).is_ok());
    assert_eq!(end, End::Killed);
}
