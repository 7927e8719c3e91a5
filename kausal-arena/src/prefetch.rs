//! Cache lines asked for before they are looked at.

/// Asks for the cache line of `address` to be brought near, where the processor can do that. Reads nothing, faults on no
/// address, and returns at once: a walk that knows where it will go can have several misses under way.
///
/// # Examples
///
/// ```
/// let values = [1_u8; 256];
/// kausal_arena::prefetch_line(&raw const values[128]);
/// assert_eq!(values[128], 1);
/// ```
#[inline]
pub fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it accesses nothing and cannot fault, whatever the address. SSE is part of the
    // architecture.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
