//! The writer: the pen of one thread, which bumps a private block without atomics.
//!
//! 1. A writer leases its generation, so what it wrote cannot go away below it.
//! 2. It takes blocks from the body (one shared operation per block) and hands out their bytes in order.
//! 3. A permit's pen has one block, reserved beforehand, and takes no other.
//! 4. When it drops, the unused tail of its block goes back.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. `next .. end` belongs to this writer alone and is not yet handed out (body invariant 2).
//!
//! The reference an allocation returns borrows the writer: it cannot outlive it, nor cross to another thread
//! while the writer could still move there. What shall live longer is a [`Handle`].

use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use crate::body::Block;
use crate::error::AllocError;
use crate::handle::Handle;
use crate::lease::Lease;

/// Allocates in one generation of an arena. `Send` but not `Sync`: one thread, one pen.
///
/// Individual allocations are not freed: memory comes back when the generation ends.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, Budget};
///
/// let arena = Arena::growing(&Budget::unlimited("words"));
/// let writer = arena.coordinator().writer().unwrap();
/// let word = writer.try_alloc_slice_copy(b"causal").unwrap();
/// let number = writer.try_alloc(7_u32).unwrap();
/// *number += 1;
/// assert_eq!((&*word, *number), (&b"causal"[..], 8));
/// ```
///
/// A type with a destructor does not compile, because nobody would run it:
/// ```compile_fail,E0080
/// # let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("words"));
/// # let writer = arena.coordinator().writer().unwrap();
/// writer.try_alloc(String::from("never dropped")).unwrap();
/// ```
pub struct Writer {
    next: Cell<NonNull<u8>>,
    left: Cell<usize>,
    refills: bool,
    lease: Lease,
}

// SAFETY: the block is plain memory that belongs to this writer alone (invariant 1), and references into it borrow
// the writer, so none exists while it moves to another thread.
unsafe impl Send for Writer {}

impl Writer {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { next: Cell::new(NonNull::dangling()), left: Cell::new(0), refills: true, lease }
    }

    /// A pen that writes on `block` and on nothing else.
    pub(crate) fn on_block(lease: Lease, block: Block) -> Self {
        Self { next: Cell::new(block.start), left: Cell::new(block.bytes), refills: false, lease }
    }

    /// The lease on the generation this writer writes in.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Bytes left of the block in hand; all there is for a permit's pen.
    pub fn block_bytes_left(&self) -> usize {
        self.left.get()
    }

    /// Uninitialised memory for `layout`. A layout of size 0 takes no memory.
    ///
    /// Costs an addition and a comparison, plus one shared operation per block of 32 KiB.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        if let Some(start) = self.bump(layout) {
            return Ok(start);
        }
        self.refill(layout)
    }

    /// [`try_alloc_layout`](Self::try_alloc_layout) in a fixed region, with the offset of the memory from
    /// [`Lease::base`]. Offsets are never 0.
    ///
    /// # Errors
    ///
    /// [`AllocError::NoOffsets`] in an arena that grows; otherwise as `try_alloc_layout`.
    #[inline]
    pub fn try_alloc_offset(&self, layout: Layout) -> Result<(u32, NonNull<u8>), AllocError> {
        let base = self.lease.base().ok_or(AllocError::NoOffsets)?;
        let start = self.try_alloc_layout(layout)?;
        let offset = start.as_ptr().addr().wrapping_sub(base.as_ptr().addr());
        // A zero-sized allocation has no place, so any valid offset does.
        let offset = if layout.size() == 0 { crate::body::FIRST_OFFSET } else { offset };
        Ok((u32::try_from(offset).map_err(|_| AllocError::NoOffsets)?, start))
    }

    /// Moves `value` into the arena.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the value is dropped then.
    #[expect(clippy::mut_from_ref, reason = "each call returns memory that nobody else has")]
    #[inline]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, AllocError> {
        let mut place = self.place_value(value)?;
        // SAFETY:
        // - `place` is aligned, inside the leased memory and just initialised.
        // - It is this writer's alone (invariant 1) and the result borrows the writer, which holds a lease.
        Ok(unsafe { place.as_mut() })
    }

    /// Copies `source` into the arena. One bump and one `memcpy`.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[expect(clippy::mut_from_ref, reason = "each call returns memory that nobody else has")]
    #[inline]
    pub fn try_alloc_slice_copy<T: Copy>(&self, source: &[T]) -> Result<&mut [T], AllocError> {
        let target = self.try_alloc_layout(Layout::for_value(source))?.cast::<T>();
        // SAFETY: `target` is aligned and valid for `source.len()` elements, and disjoint from `source`, because
        // no byte is handed out twice (invariant 1).
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), source.len()) };
        // SAFETY: the elements were just initialised, belong to nobody else, and the result borrows this writer.
        Ok(unsafe { slice::from_raw_parts_mut(target.as_ptr(), source.len()) })
    }

    /// Copies a string into the arena.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    pub fn try_alloc_str(&self, source: &str) -> Result<&str, AllocError> {
        let bytes = self.try_alloc_slice_copy(source.as_bytes())?;
        // SAFETY: the bytes are a copy of a string.
        Ok(unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    /// Moves `value` into the arena and returns a name for it, to be read through any lease on this generation.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the value is dropped then.
    pub fn try_alloc_handle<T: 'static>(&self, value: T) -> Result<Handle<T>, AllocError> {
        Ok(Handle::new(self.place_value(value)?, self.lease.generation()))
    }

    /// Gives the unused tail of the block in hand back.
    pub(crate) fn finish(&mut self) {
        let tail = Block { start: self.next.get(), bytes: self.left.replace(0) };
        self.lease.body().give_back(tail);
    }

    #[inline]
    fn place_value<T>(&self, value: T) -> Result<NonNull<T>, AllocError> {
        const { assert!(!mem::needs_drop::<T>(), "a bump arena runs no destructors") };
        let place = self.try_alloc_layout(Layout::new::<T>())?.cast::<T>();
        // SAFETY: `place` is aligned for `T` and valid for a write of it.
        unsafe { place.as_ptr().write(value) };
        Ok(place)
    }

    #[inline]
    fn bump(&self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return Some(without_provenance(layout));
        }
        let next = self.next.get();
        let padding = next.as_ptr().addr().wrapping_neg() & (layout.align() - 1);
        // Cannot overflow: a layout's size is at most `isize::MAX`, and so is its alignment.
        let taken = padding + layout.size();
        let left = self.left.get();
        if taken > left {
            return None;
        }
        // SAFETY: `taken` bytes from `next` on are this writer's (invariant 1).
        let end = unsafe { next.add(taken) };
        self.next.set(end);
        self.left.set(left - taken);
        // SAFETY: `padding` is less than `taken`.
        Some(unsafe { next.add(padding) })
    }

    #[cold]
    fn refill(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        // Blocks are aligned to 16 bytes; more has to be made room for.
        let bytes = layout.size().saturating_add(layout.align().saturating_sub(16));
        if !self.refills {
            return Err(AllocError::Exhausted { need: layout.size(), have: self.left.get() });
        }
        let body = self.lease.body();
        let block = body.take_block(bytes)?;
        let old = Block { start: self.next.get(), bytes: self.left.get() };
        // SAFETY: `old.bytes` bytes from `old.start` on are this writer's, so the end is in or just past them.
        let old_end = unsafe { old.start.add(old.bytes) };
        if old_end == block.start && body.base().is_some() {
            // The next block follows the one in hand within the same chunk: nothing is lost.
            self.left.set(old.bytes + block.bytes);
        } else {
            body.give_back(old);
            self.next.set(block.start);
            self.left.set(block.bytes);
        }
        self.bump(layout).ok_or(AllocError::Exhausted { need: layout.size(), have: self.left.get() })
    }
}

/// A well-aligned address for something without bytes.
fn without_provenance(layout: Layout) -> NonNull<u8> {
    NonNull::without_provenance(std::num::NonZero::new(layout.align()).expect("an alignment is at least 1"))
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writer").field("lease", &self.lease).field("left", &self.left.get()).finish()
    }
}
