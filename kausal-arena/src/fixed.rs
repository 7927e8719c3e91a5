//! The memory of a fixed region: one chunk, bumped by an atomic offset from any number of threads.
//!
//! Writers take blocks, so the shared counter is touched once per block. Offsets are `u32`; 0 is nil.

use crate::body::{BLOCK_ALIGN, Block};
use crate::budget::{Budget, Reservation};
use crate::chunk::{CHUNK_ALIGN, Chunk};
use crate::chunk_pool::obtain;
use crate::error::AllocError;
use crate::sync::{AtomicUsize, Ordering};

/// First offset handed out: 0 is nil, the header lies before it, and the first block begins on a line of its own.
pub(crate) const FIRST_OFFSET: usize = CHUNK_ALIGN;

/// Largest fixed region: offsets are `u32`.
const BYTES_MAX: usize = u32::MAX as usize & !(CHUNK_ALIGN - 1);

pub(crate) struct Fixed {
    chunk: Chunk,
    /// Offset of the first byte never handed out in this generation.
    next: AtomicUsize,
    lost: AtomicUsize,
    /// Given back after the chunk: fields drop in order.
    _charge: Reservation,
}

impl Fixed {
    /// A region of one chunk of at least `bytes`, header included.
    pub(crate) fn new(budget: &Budget, bytes: usize) -> Result<Self, AllocError> {
        if bytes > BYTES_MAX {
            return Err(AllocError::TooLarge { bytes, max: BYTES_MAX });
        }
        let mut charge = Reservation::empty(budget);
        let chunk = obtain(Chunk::size_for(bytes.max(2 * FIRST_OFFSET))?, &mut charge)?;
        let (next, lost) = (AtomicUsize::new(FIRST_OFFSET), AtomicUsize::new(0));
        Ok(Self { chunk, next, lost, _charge: charge })
    }

    pub(crate) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    pub(crate) fn used(&self) -> usize {
        self.next.load(Ordering::Relaxed) - FIRST_OFFSET
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or as much as there is up to `wish` if that is more.
    pub(crate) fn take(&self, bytes: usize, wish: usize) -> Result<Block, AllocError> {
        let end = self.chunk.end();
        let mut start = self.next.load(Ordering::Relaxed);
        loop {
            let have = end - start;
            if bytes > have {
                return Err(AllocError::Exhausted { need: bytes, have });
            }
            // Cannot overflow: both are at most `have`, and the end is a multiple of the alignment.
            let taken = bytes.max(wish.min(have)).next_multiple_of(BLOCK_ALIGN);
            match self.replace_next(start, start + taken) {
                Ok(()) => return Ok(Block { start: self.chunk.at(start), bytes: taken }),
                Err(now) => start = now,
            }
        }
    }

    /// Lengthens a block that ends at `end` if what follows it is free: by `bytes`, or by as much as there is up to `wish`
    /// if that is more. Returns by how much, 0 if not at all.
    pub(crate) fn extend(&self, end: usize, bytes: usize, wish: usize) -> usize {
        let offset = end.wrapping_sub(self.chunk.base().as_ptr().addr());
        let have = self.chunk.end().wrapping_sub(offset);
        // An address of another chunk makes a difference larger than any chunk.
        if bytes > have || have > BYTES_MAX {
            return 0;
        }
        let taken = bytes.max(wish.min(have)).next_multiple_of(BLOCK_ALIGN);
        if self.replace_next(offset, offset + taken).is_ok() { taken } else { 0 }
    }

    /// Takes back the unused tail of a block: free again if nothing was handed out behind it, else lost.
    pub(crate) fn give_back(&self, tail: Block) {
        let start = tail.start.as_ptr().addr() - self.chunk.base().as_ptr().addr();
        let kept = if cfg!(kausal_planted = "arena_ops") {
            // Planted for the fuzz target to find: the last bytes of what was used are handed out again.
            start.next_multiple_of(BLOCK_ALIGN) - BLOCK_ALIGN
        } else {
            start.next_multiple_of(BLOCK_ALIGN)
        };
        let end = start + tail.bytes;
        if kept > end || self.replace_next(end, kept).is_err() {
            self.lost.fetch_add(tail.bytes, Ordering::Relaxed);
        }
    }

    fn replace_next(&self, from: usize, to: usize) -> Result<(), usize> {
        // Relaxed: the counter hands out disjoint ranges by atomicity alone; what is written into them is published by
        // whoever shares it, and a tail that comes back was never written.
        self.next.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }

    /// Hands out again what is in use: a defect, planted for the engine's simulation to find.
    pub(crate) fn forget(&self) {
        if cfg!(kausal_planted = "sim") {
            self.next.store(FIRST_OFFSET, Ordering::Relaxed);
        }
    }

    /// Forgets everything handed out. Returns how many bytes that were.
    pub(crate) fn reset(&mut self) -> usize {
        let used = self.next.replace_mut(FIRST_OFFSET) - FIRST_OFFSET;
        self.lost.replace_mut(0);
        // SAFETY: `&mut self` proves that no lease or writer exists, so nobody has the bytes that were handed out.
        unsafe { self.chunk.mark_dead(FIRST_OFFSET, FIRST_OFFSET + used) };
        used
    }
}
