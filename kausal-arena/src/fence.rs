//! The fence that orders everything, by the instruction that is cheap.
//!
//! `std`'s sequentially consistent fence is `mfence` on x86-64, which waits for every load before it. A look-up is loads that
//! miss, so each fence in it cost what a miss costs: 174 ns for a random load and an `mfence` where the load alone takes 12,
//! as its neighbours overlap, and 15 with a locked instruction. That one orders memory just as much: it drains the
//! stores, and no later load is done before it.
//!
//! Not here: models, and weaker fences, which are no instruction on x86-64. Both go to their own `fence`.

/// Orders all accesses before it before all accesses after it, as a sequentially consistent fence does.
#[inline]
pub(crate) fn full() {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
    {
        let mut word = 0_u32;
        // SAFETY: it writes the word it is given, which is ours, and changes nothing else but the flags.
        unsafe {
            std::arch::asm!("lock or dword ptr [{}], 0", in(reg) &raw mut word, options(nostack));
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle, miri)))))]
    crate::sync::source_fence(crate::sync::Ordering::SeqCst);
}
