//! Leased memory as an index in it sees it: offsets in, references out.
//!
//! 1. [`Memory::take`] takes bytes from a pen and says exactly how many more the alignment cost, so that an index can
//!    account for every byte it took.
//! 2. The rest writes to and reads from offsets. Those functions are unsafe: which offset holds what is known to the
//!    index only, so each of them stands on invariants of the index that calls it.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. The region stays mapped at `base`, and no byte of it is handed out twice, while the lease lives.
//! 2. Offsets come from pens of the leased generation only.

use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::slice;

use kausal_arena::{AllocError, Lease, Writer, prefetch_line};

/// The memory of one generation, and the lease that keeps it.
pub(crate) struct Memory {
    base: NonNull<u8>,
    lease: Lease,
}

// SAFETY: what lies behind the base is shared under the rules of the index that reads and writes it, and stays valid
// wherever this struct is (invariant 1).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Bytes that were taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Where they begin.
    pub(crate) offset: u32,
    /// Bytes taken beside them, for their alignment.
    pub(crate) slack: usize,
}

impl Memory {
    pub(crate) fn new(lease: Lease) -> Result<Self, AllocError> {
        let base = lease.base().ok_or(AllocError::NoOffsets)?;
        Ok(Self { base, lease })
    }

    /// Takes `bytes` bytes, aligned to `align` (a power of two); `align - 1` more at most.
    ///
    /// # Panics
    ///
    /// If the pen writes in another generation.
    #[inline]
    pub(crate) fn take(&self, pen: &Writer, bytes: usize, align: usize) -> Result<Taken, AllocError> {
        let generation = self.lease.generation();
        assert_eq!(pen.lease().generation(), generation, "a pen of another generation");
        let before = pen.block_bytes_left();
        if before < bytes.saturating_add(align - 1) {
            return Self::take_in_new_block(pen, bytes, align);
        }
        let (offset, _) = pen.try_alloc_offset(layout(bytes, align)?)?;
        Ok(Taken { offset, slack: before - pen.block_bytes_left() - bytes })
    }

    /// Where the pen may change its block, what alignment costs cannot be seen from outside: all of it is taken.
    #[cold]
    fn take_in_new_block(pen: &Writer, bytes: usize, align: usize) -> Result<Taken, AllocError> {
        let (offset, start) = pen.try_alloc_offset(layout(bytes.saturating_add(align - 1), 1)?)?;
        let padding = start.as_ptr().addr().wrapping_neg() & (align - 1);
        Ok(Taken { offset: offset + padding as u32, slack: align - 1 })
    }

    /// Asks for the cache line at `offset`, which may be any number.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        prefetch_line(self.at(offset));
    }

    #[inline]
    fn at(&self, offset: u32) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset as usize)
    }

    /// The value at `offset`.
    ///
    /// # Safety
    ///
    /// A `T` was written to `offset` (invariant 2), which is visible to this thread, and from then on it is changed
    /// only through shared references.
    #[inline]
    pub(crate) unsafe fn get<T: Sync>(&self, offset: u32) -> &T {
        // SAFETY: by this function's contract there is a `T`, in memory that stays (invariant 1).
        unsafe { &*self.at(offset).cast::<T>() }
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Safety
    ///
    /// They were written (invariant 2), that is visible to this thread, and they are never changed.
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: u32, len: usize) -> &[u8] {
        // SAFETY: by this function's contract they are initialised and constant, in memory that stays (invariant 1).
        unsafe { slice::from_raw_parts(self.at(offset), len) }
    }

    /// Writes `value` to `offset`.
    ///
    /// # Safety
    ///
    /// `size_of::<T>()` bytes there, aligned for `T`, were taken by the caller and are known to nobody else.
    #[inline]
    pub(crate) unsafe fn write<T>(&self, offset: u32, value: T) {
        // SAFETY: by this function's contract the place is valid, aligned and the caller's.
        unsafe { self.at(offset).cast::<T>().write(value) };
    }

    /// Copies `source` to `offset`.
    ///
    /// # Safety
    ///
    /// `source.len()` bytes there were taken by the caller and are known to nobody else.
    #[inline]
    pub(crate) unsafe fn write_bytes(&self, offset: u32, source: &[u8]) {
        // SAFETY: by this function's contract the target is valid and the caller's; so it is disjoint from the source.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), self.at(offset), source.len()) };
    }
}

/// A number that differs between generations, for hashes and tower heights.
pub(crate) fn seed(lease: &Lease) -> u64 {
    // A model must do the same in every run.
    let generation = if cfg!(any(loom, shuttle)) { 1 } else { lease.generation() };
    generation.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn layout(bytes: usize, align: usize) -> Result<Layout, AllocError> {
    let max = u32::MAX as usize;
    Layout::from_size_align(bytes, align).map_err(|_| AllocError::TooLarge { bytes, max })
}
