//! General purpose allocators, called directly, and what glibc's heap holds.
//!
//! An allocator is used as a *value*: it is never installed, so all of them stand side by side in one process, and the
//! benchmark's own memory comes from the system's.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. [`Blocks`] holds blocks of its allocator, each with the layout it was asked for, and frees each once.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use crate::arena::source::{initialise, layout};

/// Objects on one allocator, each freed on its own.
pub struct Blocks<'a, A: GlobalAlloc> {
    allocator: &'a A,
    blocks: Vec<(NonNull<u8>, Layout)>,
}

impl<'a, A: GlobalAlloc> Blocks<'a, A> {
    /// Room to note `count` objects, so that noting them allocates nothing.
    pub fn new(allocator: &'a A, count: usize) -> Self {
        Self { allocator, blocks: Vec::with_capacity(count) }
    }

    /// Allocates and initialises `count` objects of `WORDS` words, and keeps their addresses, as their user must.
    #[inline(always)]
    pub fn fill<const WORDS: usize>(&mut self, count: usize) {
        self.fill_partly::<WORDS, WORDS>(count);
    }

    /// [`fill`](Self::fill) that writes the first `WRITTEN` words of each.
    #[inline(always)]
    pub fn fill_partly<const WORDS: usize, const WRITTEN: usize>(&mut self, count: usize) {
        const { assert!(0 < WRITTEN && WRITTEN <= WORDS) };
        for number in 0..count {
            let place = self.take(layout::<WORDS>());
            // SAFETY: the block was just obtained with this layout, which has at least as many words.
            unsafe { initialise(place, WRITTEN * 8, number as u64) };
            self.blocks.push((place, layout::<WORDS>()));
        }
    }

    /// Allocates `count` objects of `WORDS` words and writes nothing: what the allocator itself does.
    #[inline(always)]
    pub fn obtain<const WORDS: usize>(&mut self, count: usize) {
        for _ in 0..count {
            let place = std::hint::black_box(self.take(layout::<WORDS>()));
            self.blocks.push((place, layout::<WORDS>()));
        }
    }

    /// Frees all `WORDS`-word objects in the order in which they were allocated.
    ///
    /// # Panics
    ///
    /// If an object has another size.
    pub fn free<const WORDS: usize>(&mut self) {
        for (place, of_block) in self.blocks.drain(..) {
            assert_eq!(of_block, layout::<WORDS>(), "blocks of one size");
            // SAFETY: invariant 1; the block leaves the list.
            unsafe { self.allocator.dealloc(place.as_ptr(), layout::<WORDS>()) };
        }
    }

    /// Allocates `bytes` bytes, a positive multiple of 8.
    pub fn push(&mut self, bytes: usize) {
        let layout = Layout::from_size_align(bytes.max(8), 8).expect("a small size");
        let place = self.take(layout);
        // SAFETY: the block was just obtained with this layout.
        unsafe { initialise(place, layout.size(), 0) };
        self.blocks.push((place, layout));
    }

    /// Frees the object at `place` in the list; the last one takes its place.
    pub fn swap_remove(&mut self, place: usize) {
        let (block, layout) = self.blocks.swap_remove(place);
        // SAFETY: invariant 1; the block left the list.
        unsafe { self.allocator.dealloc(block.as_ptr(), layout) };
    }

    /// Frees all objects, whatever their sizes, in the order in which they were allocated.
    pub fn free_all(&mut self) {
        for (place, layout) in self.blocks.drain(..) {
            // SAFETY: invariant 1; the block leaves the list.
            unsafe { self.allocator.dealloc(place.as_ptr(), layout) };
        }
    }

    /// Address and size of every object.
    pub fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        self.blocks.iter().map(|(place, layout)| (place.as_ptr().addr(), layout.size()))
    }

    #[inline(always)]
    fn take(&self, layout: Layout) -> NonNull<u8> {
        // SAFETY: no layout here is empty.
        let place = unsafe { self.allocator.alloc(layout) };
        NonNull::new(place).expect("memory for a benchmark")
    }
}

impl<A: GlobalAlloc> Drop for Blocks<'_, A> {
    fn drop(&mut self) {
        self.free_all();
    }
}

/// Bytes that glibc's heap has handed out, its headers included; `None` with another C library.
pub fn bytes_in_use() -> Option<usize> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the function has no conditions.
        let info = unsafe { libc::mallinfo2() };
        Some(info.uordblks + info.hblkhd)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[test]
    fn blocks_are_disjoint_and_leave_when_freed() {
        let mut blocks = Blocks::new(&System, 100);
        blocks.fill::<2>(99);
        blocks.push(64);
        let mut spans: Vec<_> = blocks.spans().collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        blocks.swap_remove(99);
        blocks.free::<2>();
        assert_eq!(blocks.spans().count(), 0);
    }
}
