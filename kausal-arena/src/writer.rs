//! The writer: the pen of one thread, which bumps a private block without atomics.
//!
//! 1. A writer leases its generation, so what it wrote cannot go away below it.
//! 2. It takes blocks from the body (one shared operation per block) and hands out their bytes in order.
//! 3. A permit's pen has one block, reserved beforehand, and takes no other.
//! 4. When it drops, the unused tail of its block goes back.
//! 5. Nothing is freed one by one. The only exception is what was allocated last: it may shrink, grow in place, or go
//!    back, because the next byte is still its writer's.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. `next .. end` belongs to this writer alone and is not handed out (body invariant 2).
//!
//! The reference an allocation returns borrows the writer: it cannot outlive it, nor cross to another thread
//! while the writer could still move there. What shall live longer is a [`Handle`](crate::Handle).
//!
//! Not here: the typed ways to allocate (`alloc`).

use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;

use crate::body::Block;
use crate::error::AllocError;
use crate::guard;
use crate::lease::Lease;

/// Allocates in one generation of an arena. `Send` but not `Sync`: one thread, one pen.
///
/// Each way to allocate has a fallible twin: [`alloc`](Self::alloc) panics where [`try_alloc`](Self::try_alloc) returns an
/// [`AllocError`]. Costs an addition and a comparison, plus one shared operation per block of 32 KiB; no byte beyond
/// alignment.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, Budget};
///
/// let arena = Arena::growing(&Budget::unlimited("words"));
/// let writer = arena.coordinator().writer().unwrap();
/// let word = writer.alloc_slice_copy(b"causal");
/// let number = writer.alloc(7_u32);
/// *number += 1;
/// assert_eq!((&*word, *number), (&b"causal"[..], 8));
/// ```
///
/// A type with a destructor does not compile, because nobody would run it:
/// ```compile_fail,E0080
/// # let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("words"));
/// # let writer = arena.coordinator().writer().unwrap();
/// writer.alloc(String::from("never dropped"));
/// ```
pub struct Writer {
    next: Cell<NonNull<u8>>,
    end: Cell<NonNull<u8>>,
    /// Said to be dead and not yet added to the generation's count.
    dead: Cell<usize>,
    refills: bool,
    lease: Lease,
}

// SAFETY: the block is plain memory that belongs to this writer alone (invariant 1), and references into it borrow
// the writer, so none exists while it moves to another thread.
unsafe impl Send for Writer {}

impl Writer {
    pub(crate) fn new(lease: Lease) -> Self {
        let (next, end) = (Cell::new(NonNull::dangling()), Cell::new(NonNull::dangling()));
        Self { next, end, dead: Cell::new(0), refills: true, lease }
    }

    /// A pen that writes on `block` and on nothing else.
    pub(crate) fn on_block(lease: Lease, block: Block) -> Self {
        let (next, end) = (Cell::new(block.start), Cell::new(block.behind(block.bytes).start));
        Self { next, end, dead: Cell::new(0), refills: false, lease }
    }

    /// The lease on the generation this writer writes in.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Bytes left of the block in hand; all there is for a permit's pen.
    pub fn block_bytes_left(&self) -> usize {
        self.end.get().as_ptr().addr() - self.next.get().as_ptr().addr()
    }

    /// Address of the next byte of the block in hand: where the next allocation begins, if the block has room for it.
    /// A hint for who places things by cache line.
    #[inline]
    pub fn next_address(&self) -> usize {
        self.next.get().as_ptr().addr()
    }

    /// Uninitialised memory for `layout`. A layout of size 0 takes no memory.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.bump(layout) {
            Some(start) => Ok(start),
            None => self.refill(layout),
        }
    }

    /// [`try_alloc_layout`](Self::try_alloc_layout) that panics where it returns an error.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_layout(&self, layout: Layout) -> NonNull<u8> {
        granted(self.try_alloc_layout(layout))
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
        let offset = if layout.size() == 0 { crate::fixed::FIRST_OFFSET } else { offset };
        Ok((u32::try_from(offset).map_err(|_| AllocError::NoOffsets)?, start))
    }

    /// Counts `bytes` of what was allocated as dead: overwritten, replaced, never to be read again. They come back with the
    /// generation, and until then stand in [`ArenaStats::dead`](crate::ArenaStats::dead). Touches no shared counter before
    /// the next block.
    pub fn note_dead(&self, bytes: usize) {
        self.dead.set(self.dead.get() + bytes);
    }

    /// Resizes `start .. start + old_bytes` in place if it was allocated last and the block has the room. Answers whether
    /// it did.
    ///
    /// # Safety
    ///
    /// The range was handed out by this writer, and nobody uses what of it lies behind `new_bytes` any more.
    pub(crate) unsafe fn resize_last(&self, start: NonNull<u8>, old_bytes: usize, new_bytes: usize) -> bool {
        let first = start.as_ptr().addr();
        let is_last = old_bytes > 0 && first + old_bytes == self.next.get().as_ptr().addr();
        if !is_last || new_bytes > self.end.get().as_ptr().addr() - first {
            return false;
        }
        // SAFETY: at most `end`, which bounds the block that `start` lies in (invariant 1).
        let next = unsafe { start.add(new_bytes) };
        self.next.set(next);
        // SAFETY: given up by its user, or never handed out.
        unsafe { guard::forbid(next, old_bytes.saturating_sub(new_bytes)) };
        // SAFETY: in the block in hand.
        unsafe { guard::permit(start, new_bytes) };
        true
    }

    /// Gives the unused tail of the block in hand back.
    pub(crate) fn finish(&mut self) {
        self.finish_before(0);
    }

    /// Gives the unused tail of the block in hand back, and `behind` bytes that follow it and are the caller's.
    pub(crate) fn finish_before(&mut self, behind: usize) {
        let Block { start, bytes } = self.block();
        let tail = Block { start, bytes: bytes + behind };
        self.end.set(self.next.get());
        self.lease.body().give_back(tail);
        self.lease.body().add_dead(self.dead.take());
    }

    fn block(&self) -> Block {
        Block { start: self.next.get(), bytes: self.block_bytes_left() }
    }

    #[inline(always)]
    fn bump(&self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return Some(dangling(layout));
        }
        let next = self.next.get();
        let mask = layout.align() - 1;
        let padding = next.as_ptr().addr().wrapping_neg() & mask;
        // Cannot overflow: a layout's size, rounded up to its alignment, is at most `isize::MAX`.
        let taken = padding + layout.size();
        if taken > self.block_bytes_left() {
            return None;
        }
        // SAFETY: `taken` bytes from `next` on are this writer's (invariant 1).
        self.next.set(unsafe { next.add(taken) });
        // SAFETY: `padding` is less than `taken`.
        let start = unsafe { next.add(padding) };
        // SAFETY: in the block in hand.
        unsafe { guard::permit(start, layout.size()) };
        Some(start)
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let exhausted = AllocError::Exhausted { need: layout.size(), have: self.block_bytes_left() };
        if !self.refills {
            return Err(exhausted);
        }
        let body = self.lease.body();
        body.add_dead(self.dead.take());
        // Blocks are aligned to 16 bytes; more has to be made room for.
        let bytes = layout.size().saturating_add(layout.align().saturating_sub(16));
        let old = self.block();
        let padding = old.start.as_ptr().addr().wrapping_neg() & (layout.align() - 1);
        // Cannot overflow, as in `bump`; and it is more than what is left, or `bump` had succeeded.
        let missing = padding + layout.size() - old.bytes;
        let more = body.extend_block(self.end.get().as_ptr().addr(), missing);
        if more > 0 {
            // SAFETY: the body lengthened this very block by `more` bytes, within the same chunk.
            self.end.set(unsafe { self.end.get().add(more) });
        } else {
            let block = body.take_block(bytes)?;
            body.give_back(old);
            self.next.set(block.start);
            self.end.set(block.behind(block.bytes).start);
        }
        self.bump(layout).ok_or(exhausted)
    }
}

/// A well-aligned address for something without bytes.
#[inline]
fn dangling(layout: Layout) -> NonNull<u8> {
    NonNull::without_provenance(std::num::NonZero::new(layout.align()).expect("an alignment is at least 1"))
}

/// What was granted.
///
/// # Panics
///
/// If nothing was. The fallible twin of whoever calls this returns the error instead.
#[inline]
#[track_caller]
pub(crate) fn granted<T>(answer: Result<T, AllocError>) -> T {
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn refused(error: &AllocError) -> ! {
        panic!("memory refused: {error}")
    }
    match answer {
        Ok(granted) => granted,
        Err(error) => refused(&error),
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writer")
            .field("lease", &self.lease)
            .field("left", &self.block_bytes_left())
            .finish_non_exhaustive()
    }
}
