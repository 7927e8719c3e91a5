//! Guards against use after the end of a generation: poison under AddressSanitizer, patterns and canaries in debug builds.
//!
//! | build | memory nobody was handed | after a generation ends | end of a chunk |
//! |---|---|---|---|
//! | release | untouched | untouched | nothing |
//! | debug | untouched | filled with [`DEAD_BYTE`] | a canary, checked at every reset and when freed |
//! | `--cfg kausal_asan` | poisoned: a read or write is reported | poisoned | a canary, poisoned |
//!
//! AddressSanitizer knows the allocator's pieces, not ours, so an arena tells it what is whose. Only here, and only in
//! those builds, does a reset cost time in proportion to what was used.
//!
//! Not here: when a range changes hands. Chunks, bodies and writers say so.

use std::ptr::NonNull;

/// What a byte looks like after its generation has ended, in debug builds.
pub(crate) const DEAD_BYTE: u8 = 0xDD;

/// What the bytes behind the last usable one of a chunk look like, in debug builds.
const CANARY: [u8; 16] = *b"kausal's canary!";

/// Bytes kept at the end of each chunk for the canary.
pub(crate) const CANARY_BYTES: usize = if cfg!(debug_assertions) { CANARY.len() } else { 0 };

#[cfg(kausal_asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const u8, bytes: usize);
    fn __asan_unpoison_memory_region(start: *const u8, bytes: usize);
}

/// Tells the sanitizer that nobody may touch these bytes.
///
/// # Safety
///
/// They lie within one chunk, and nobody who was handed them will use them again.
#[inline(always)]
pub(crate) unsafe fn forbid(start: NonNull<u8>, bytes: usize) {
    #[cfg(kausal_asan)]
    // SAFETY: marks shadow memory of a range that the chunk owns (this function's contract).
    unsafe {
        __asan_poison_memory_region(start.as_ptr(), bytes);
    }
    #[cfg(not(kausal_asan))]
    let _ = (start, bytes);
}

/// Tells the sanitizer that these bytes have been handed out, or go back to the allocator.
///
/// # Safety
///
/// They lie within one chunk.
#[inline(always)]
pub(crate) unsafe fn permit(start: NonNull<u8>, bytes: usize) {
    #[cfg(kausal_asan)]
    // SAFETY: marks shadow memory of a range that the chunk owns (this function's contract).
    unsafe {
        __asan_unpoison_memory_region(start.as_ptr(), bytes);
    }
    #[cfg(not(kausal_asan))]
    let _ = (start, bytes);
}

/// Makes the bytes of an ended generation recognisable, in debug builds, and forbids them.
///
/// # Safety
///
/// `bytes` bytes from `start` are valid for writes and nobody's, now or later, without being handed out anew.
pub(crate) unsafe fn mark_dead(start: NonNull<u8>, bytes: usize) {
    if cfg!(debug_assertions) {
        // SAFETY: within the chunk (this function's contract); what is written next must not be reported.
        unsafe { permit(start, bytes) };
        // SAFETY: valid for writes and nobody's (this function's contract).
        unsafe { start.as_ptr().write_bytes(DEAD_BYTE, bytes) };
    }
    // SAFETY: nobody uses them again (this function's contract).
    unsafe { forbid(start, bytes) };
}

/// Writes the canary, in debug builds.
///
/// # Safety
///
/// [`CANARY_BYTES`] bytes from `place` are valid for writes and nobody's.
pub(crate) unsafe fn set_canary(place: NonNull<u8>) {
    // SAFETY: within the chunk (this function's contract); all of a new chunk is forbidden.
    unsafe { permit(place, CANARY_BYTES) };
    // SAFETY: valid for writes (this function's contract).
    unsafe { place.as_ptr().copy_from_nonoverlapping(CANARY.as_ptr(), CANARY_BYTES) };
    // SAFETY: nobody's (this function's contract).
    unsafe { forbid(place, CANARY_BYTES) };
}

/// Whether the canary is as it was set; always true in release builds.
///
/// # Safety
///
/// [`set_canary`] was called with `place`, whose chunk still lives.
pub(crate) unsafe fn is_canary_whole(place: NonNull<u8>) -> bool {
    let mut found = [0; CANARY_BYTES];
    // SAFETY: within the chunk (this function's contract).
    unsafe { permit(place, CANARY_BYTES) };
    // SAFETY: initialised by `set_canary`, and valid while the chunk lives (this function's contract).
    unsafe { place.as_ptr().copy_to_nonoverlapping(found.as_mut_ptr(), CANARY_BYTES) };
    // SAFETY: nobody's (`set_canary`).
    unsafe { forbid(place, CANARY_BYTES) };
    found == CANARY[..CANARY_BYTES]
}

/// Complains if the canary is not whole.
///
/// # Panics
///
/// If somebody wrote past the end of what they were handed. Not while a panic is on its way already, the first complaint's
/// perhaps: the arena that drops then checks again, and a second panic would end the process without a word.
pub(crate) fn expect_whole(is_whole: bool) {
    assert!(is_whole || std::thread::panicking(), "something was written past the end of an arena's chunk");
}
