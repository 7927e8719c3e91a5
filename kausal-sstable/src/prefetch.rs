//! Cache lines asked for before they are looked at.
//!
//! A block's contents are looked at from their end: the count says where the tags are, a tag says which offset, and that
//! where the entry is. The lines of count, tags and offsets are neighbours, but each would be asked for only when the one
//! behind it has come.

use std::ops::Range;

use kausal_arena::prefetch_line;

const LINE_BYTES: usize = 64;

/// Lines that the end of a block of 4 KiB with values of 100 bytes takes: four bytes of count, three for each entry.
const LINES: usize = 3;

/// Asks for the last lines of `contents`.
#[inline]
pub(crate) fn end(contents: &[u8]) {
    before(contents.as_ptr_range().end);
}

/// Asks for the last lines of what ends before `end`, which need not be there any more.
#[inline]
pub(crate) fn before(end: *const u8) {
    let last = end.wrapping_sub(1);
    for number in 0..LINES {
        prefetch_line(last.wrapping_sub(number * LINE_BYTES));
    }
}

/// Asks for the line behind the one in which something begins that is about to be looked at: where its parts are is known only
/// when that has come.
#[inline]
pub(crate) fn second_line(contents: &[u8], start: usize) {
    prefetch_line(contents.as_ptr().wrapping_add(start + LINE_BYTES));
}

/// Heads that are asked for before it is known where they are: those of a block of 4 KiB with values of 100 bytes, and more.
const HEADS: usize = 4;

/// Asks for the lines where the heads of groups would lie in the `len` bytes from `start` on, which need not be there any more, if
/// each group took `stride` bytes.
#[inline]
pub(crate) fn heads(start: *const u8, len: usize, stride: usize) {
    for at in (0..len).step_by(stride.max(LINE_BYTES)).take(HEADS) {
        prefetch_line(start.wrapping_add(at));
        // A head's key may lie across two lines, and the head a little further on.
        prefetch_line(start.wrapping_add(at + LINE_BYTES / 2));
    }
}

/// Asks for the lines of the first and the last of the first `bytes` bytes of `contents`, which may be shorter.
#[inline]
pub(crate) fn both_ends_of(contents: &[u8], bytes: usize) {
    prefetch_line(contents.as_ptr());
    prefetch_line(contents.as_ptr().wrapping_add(bytes - 1));
}

/// Asks for the lines of the first and the last of `few`.
#[inline]
pub(crate) fn ends_of<T>(few: &[T]) {
    for end in few.first().into_iter().chain(few.last()) {
        prefetch_line((&raw const *end).cast());
    }
}

/// Lines of an entry that are asked for, at most: a long one is walked over by the processor's own looking ahead.
const LINES_ALONG_MAX: usize = 4;

/// Asks for the lines of `soon` that `range` would take there.
#[inline(always)]
pub(crate) fn along(soon: &[u8], range: Range<usize>) {
    if !soon.is_empty() {
        for line in range.step_by(LINE_BYTES).take(LINES_ALONG_MAX) {
            prefetch_line(soon.as_ptr().wrapping_add(line));
        }
    }
}

/// Lines after which the processor has seen by itself where a walk goes.
const LINES_AHEAD: usize = 6;

/// Asks for the lines that a walk through `contents` begins with: its end, then its beginning.
#[inline]
pub(crate) fn both_ends(contents: &[u8]) {
    end(contents);
    for number in 0..LINES_AHEAD {
        prefetch_line(contents.as_ptr().wrapping_add(number * LINE_BYTES));
    }
}
