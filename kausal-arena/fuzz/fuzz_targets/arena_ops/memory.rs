//! Patterns in raw memory.

use std::ptr::NonNull;

/// Byte `place` of the pattern of allocation `seed`.
pub(crate) fn byte(seed: u64, place: usize) -> u8 {
    let mixed = (seed ^ 0x9E37).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(place as u64 * 0x0101);
    (mixed >> 24) as u8 ^ place as u8
}

/// The pattern as bytes.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| byte(seed, place)).collect()
}

/// Memory that an arena handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    pub(crate) bytes: usize,
}

impl Memory {
    pub(crate) fn new(start: NonNull<u8>, bytes: usize) -> Self {
        Self { start, bytes }
    }

    pub(crate) fn of(slice: &[u8]) -> Self {
        Self { start: NonNull::from(slice).cast(), bytes: slice.len() }
    }

    pub(crate) fn address(self) -> usize {
        self.start.addr().get()
    }

    /// Writes the pattern.
    pub(crate) fn fill(self, seed: u64) {
        let source = pattern(seed, self.bytes);
        // SAFETY: the arena handed out `bytes` bytes from `start`, nobody has a reference to them, and the model holds the
        // generation, or fails before this.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(source.as_ptr(), self.bytes) };
    }

    /// Where the pattern is broken.
    pub(crate) fn first_difference(self, seed: u64) -> Option<usize> {
        // SAFETY: initialised by `fill` or by the arena, in a generation that the model still holds; nobody writes meanwhile.
        let there = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) };
        (0..self.bytes).find(|&place| there[place] != byte(seed, place))
    }
}
