//! Cache lines asked for before they are looked at.
//!
//! A block's contents are looked at from their end: the count says where the tags are, a tag says which offset, and that
//! where the entry is. The lines of count, tags and offsets are neighbours, but each would be asked for only when the one
//! behind it has come.

#![expect(unsafe_code, reason = "the instruction that asks for a line takes a pointer")]

const LINE_BYTES: usize = 64;

/// Lines that the end of a block of 4 KiB with values of 100 bytes takes: four bytes of count, three for each entry.
const LINES: usize = 3;

/// Asks for the last lines of `contents`.
#[inline]
pub(crate) fn end(contents: &[u8]) {
    let last = contents.as_ptr().wrapping_add(contents.len()).wrapping_sub(1);
    for number in 0..LINES {
        line(last.wrapping_sub(number * LINE_BYTES));
    }
}

/// Lines after which the processor has seen by itself where a walk goes.
const LINES_AHEAD: usize = 6;

/// Asks for the lines that a walk through `contents` begins with: its end, then its beginning.
#[inline]
pub(crate) fn both_ends(contents: &[u8]) {
    end(contents);
    for number in 0..LINES_AHEAD {
        line(contents.as_ptr().wrapping_add(number * LINE_BYTES));
    }
}

#[inline]
fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it accesses nothing and cannot fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
