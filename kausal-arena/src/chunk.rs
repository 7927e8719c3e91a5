//! Chunks: the contiguous pieces of raw memory below every arena, and the only place that obtains them.
//!
//! A chunk is charged to a budget before it is obtained and for as long as it lives. Large chunks are anonymous
//! mappings, advised to use huge pages (a first touch of 64 MiB costs 10 ms in place of 30), small ones come from
//! the global allocator.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. `base` is valid for reads and writes of `bytes` bytes for as long as the chunk lives, wherever the
//!    `Chunk` itself moves.
//!
//! Not here: who uses which byte. A chunk does not even know whether a byte was written.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::budget::{Budget, Reservation};
use crate::error::AllocError;

/// From this size on a chunk is mapped: below it the page table work costs more than it saves.
const MAPPED_BYTES_MIN: usize = 1 << 20;

/// Mapped chunks are multiples of this, the largest page of the supported systems, so the kernel rounds nothing up.
const MAPPED_UNIT: usize = 64 << 10;

/// Alignment of every chunk: a cache line pair, as the adjacent-line prefetcher sees memory.
pub(crate) const CHUNK_ALIGN: usize = 128;

/// What a byte looks like after its generation has ended, in debug builds.
pub(crate) const DEAD_BYTE: u8 = 0xDD;

pub(crate) struct Chunk {
    base: NonNull<u8>,
    bytes: usize,
    source: Source,
    /// Given back to the budget after the memory: fields drop after `Drop::drop`.
    charge: Reservation,
}

enum Source {
    Heap(Layout),
    /// Unmaps when dropped.
    Mapping(#[expect(dead_code, reason = "held for its destructor")] MmapMut),
}

// SAFETY: a chunk is plain memory reached through `base`; it is tied to no thread, and sharing a `&Chunk` only
// shares the address. Whoever reads or writes through it answers for races.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// A chunk of at least `bytes` bytes, charged to `budget`.
    pub(crate) fn obtain(budget: &Budget, bytes: usize) -> Result<Self, AllocError> {
        let unit = if bytes >= MAPPED_BYTES_MIN { MAPPED_UNIT } else { CHUNK_ALIGN };
        let max = isize::MAX as usize & !(unit - 1);
        if bytes > max {
            return Err(AllocError::TooLarge { bytes, max });
        }
        let bytes = bytes.max(1).next_multiple_of(unit);
        let charge = budget.reserve(bytes)?;
        if bytes >= MAPPED_BYTES_MIN { Self::map(bytes, charge) } else { Self::allocate(bytes, charge) }
    }

    fn map(bytes: usize, charge: Reservation) -> Result<Self, AllocError> {
        let mut mapping = MmapMut::map_anon(bytes).map_err(|_| AllocError::OutOfMemory { bytes })?;
        // Advice only: a kernel without huge pages serves small ones.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise(memmap2::Advice::HugePage);
        let base = NonNull::new(mapping.as_mut_ptr()).ok_or(AllocError::OutOfMemory { bytes })?;
        Ok(Self { base, bytes, source: Source::Mapping(mapping), charge })
    }

    fn allocate(bytes: usize, charge: Reservation) -> Result<Self, AllocError> {
        let layout = Layout::from_size_align(bytes, CHUNK_ALIGN)
            .map_err(|_| AllocError::TooLarge { bytes, max: isize::MAX as usize })?;
        // SAFETY: `bytes` is at least CHUNK_ALIGN, so the layout is not empty.
        let base = unsafe { alloc::alloc(layout) };
        let base = NonNull::new(base).ok_or(AllocError::OutOfMemory { bytes })?;
        Ok(Self { base, bytes, source: Source::Heap(layout), charge })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// In debug builds makes the first `used` bytes recognisable as dead; otherwise does nothing.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes these bytes, now or later, without having been handed them anew.
    pub(crate) unsafe fn mark_dead(&self, used: usize) {
        if cfg!(debug_assertions) {
            let used = used.min(self.bytes);
            // SAFETY: `used` bytes from `base` are valid for writes (invariant 1) and, by this function's
            // contract, nobody's.
            unsafe { self.base.as_ptr().write_bytes(DEAD_BYTE, used) };
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Source::Heap(layout) = self.source {
            // SAFETY: `base` came from `alloc` with this very layout and is freed once.
            unsafe { alloc::dealloc(self.base.as_ptr(), layout) };
        }
        debug_assert_eq!(self.charge.bytes(), self.bytes, "a chunk is charged for what it is");
    }
}
