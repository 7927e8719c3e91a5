//! How a table writer's vectors of bytes grow: to twice their size while they are small, by an eighth from there on.
//!
//! What an entry may make of them is charged before it comes. With keys as long as a small budget's jobs have memory for, a
//! vector that doubles would have to be charged twice what it is going to hold.

/// Up to here a vector doubles.
const DOUBLED_MAX: usize = 4 << 10;

/// Makes room for `more` bytes.
#[inline]
pub(crate) fn make_room(bytes: &mut Vec<u8>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        grow(bytes, needed);
    }
}

#[cold]
fn grow(bytes: &mut Vec<u8>, needed: usize) {
    bytes.reserve_exact(grown(needed) - bytes.len());
}

/// What a vector has room for when it has grown to hold `needed` bytes.
#[inline]
pub(crate) fn grown(needed: usize) -> usize {
    needed + needed.min(DOUBLED_MAX).max(needed / 8)
}

/// Puts `with` in the place of what `bytes` holds.
pub(crate) fn replace(bytes: &mut Vec<u8>, with: &[u8]) {
    bytes.clear();
    make_room(bytes, with.len());
    bytes.extend_from_slice(with);
}
