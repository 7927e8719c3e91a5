//! Collections of other crates in an arena: `allocator-api2` for a pen, borrowed or owned (feature `allocator-api2`).
//!
//! A pen holds a lease, so what it allocated stays valid for as long as the collection keeps the pen: that is what the
//! trait asks for. An [`Arena`](crate::Arena) does not implement it, because it could be reset below the collection; nor
//! does a coordinator.
//!
//! What a collection frees is counted as dead and comes back with the generation, unless it was allocated last.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::scope::Scope;
use crate::writer::Writer;

// SAFETY:
// - A block stays valid until the generation ends, which the writer's lease prevents for as long as the allocator, a
//   `Writer` or a borrow of one, lives. Moving a `Writer` moves no block.
// - A `Writer` is not `Clone`; copies of `&Writer` and `&Scope` are the same allocator.
// - `allocate` returns memory that fits the layout: `try_alloc_layout` got this very layout.
unsafe impl Allocator for Writer {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let start = self.try_alloc_layout(layout).map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(start, layout.size()))
    }

    #[inline]
    unsafe fn deallocate(&self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: the block was allocated here and is not used any more (the trait's contract).
        if !unsafe { self.resize_last(start, layout.size(), 0) } {
            self.note_dead(layout.size());
        }
    }

    #[inline]
    unsafe fn grow(&self, start: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let is_aligned = start.as_ptr().addr().is_multiple_of(new.align());
        // SAFETY: the block was allocated here (the trait's contract); growing gives nothing up.
        if is_aligned && unsafe { self.resize_last(start, old.size(), new.size()) } {
            return Ok(NonNull::slice_from_raw_parts(start, new.size()));
        }
        let target = self.allocate(new)?;
        // SAFETY: both are valid for the old size, and new memory is disjoint from old.
        unsafe { start.copy_to_nonoverlapping(target.cast(), old.size()) };
        self.note_dead(old.size());
        Ok(target)
    }

    #[inline]
    unsafe fn shrink(
        &self,
        start: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if !start.as_ptr().addr().is_multiple_of(new.align()) {
            let target = self.allocate(new)?;
            // SAFETY: both are valid for the new size, and new memory is disjoint from old.
            unsafe { start.copy_to_nonoverlapping(target.cast(), new.size()) };
            self.note_dead(old.size());
            return Ok(target);
        }
        // SAFETY: the block was allocated here, and what lies behind its new end is given up (the trait's contract).
        if !unsafe { self.resize_last(start, old.size(), new.size()) } {
            self.note_dead(old.size() - new.size());
        }
        Ok(NonNull::slice_from_raw_parts(start, new.size()))
    }
}

// SAFETY: everything is the writer's, for which the contract is kept above; a scope lends one.
unsafe impl Allocator for Scope<'_> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        (**self).allocate(layout)
    }

    #[inline]
    unsafe fn deallocate(&self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).deallocate(start, layout) }
    }

    #[inline]
    unsafe fn grow(&self, start: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).grow(start, old, new) }
    }

    #[inline]
    unsafe fn shrink(
        &self,
        start: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).shrink(start, old, new) }
    }
}
