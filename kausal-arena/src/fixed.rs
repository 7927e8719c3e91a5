//! The memory of a fixed region: one chunk, bumped by an atomic offset from any number of threads.
//!
//! Writers take blocks, so the shared counter is touched once per block. Offsets are `u32`; 0 is nil.
//!
//! A tail that comes back goes to where the next block begins, if nothing was handed out behind it; that is how one writer's permits
//! follow each other without a gap. Where several threads hold permits at once, the tails of the earlier ones become **spares**,
//! which serve later permits before new memory does. For that a permit's block has more than the permit needs: of a tail that is shorter
//! than the block was, the next permit could make nothing, as what a permit reserves is the worst case and many times what is used.

use crate::body::{BLOCK_ALIGN, Block};
use crate::budget::{Budget, Reservation};
use crate::chunk::{CHUNK_ALIGN, Chunk};
use crate::chunk_pool::obtain;
use crate::error::AllocError;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// First offset handed out: 0 is nil, the header lies before it, and the first block begins on a line of its own.
pub(crate) const FIRST_OFFSET: usize = CHUNK_ALIGN;

/// Largest fixed region: offsets are `u32`.
const BYTES_MAX: usize = u32::MAX as usize & !(CHUNK_ALIGN - 1);

/// Spares that are kept: as many threads as are likely to be in the middle of a batch at once.
const SPARE_COUNT: usize = 4;

/// Shorter tails are not kept.
const SPARE_BYTES_MIN: usize = 256;

/// Share of a region that a permit's block has, if the permit is for less: what the spares have at the region's end is left over.
const PERMIT_SHARE: usize = 128;

/// A permit's block has no more than this for the sake of later permits.
const PERMIT_BYTES_MAX: usize = 32 << 10;

pub(crate) struct Fixed {
    chunk: Chunk,
    /// Offset of the first byte never handed out in this generation.
    next: AtomicUsize,
    spares: [AtomicU64; SPARE_COUNT],
    lost: AtomicUsize,
    /// Given back after the chunk: fields drop in order.
    _charge: Reservation,
}

/// A range before `next` that nobody has, in one word: its offset and its length. None has length 0.
#[derive(Clone, Copy)]
struct Spare(u64);

impl Spare {
    const NONE: Self = Self(0);

    fn new(offset: usize, bytes: usize) -> Self {
        // Both are below `BYTES_MAX`.
        Self((offset as u64) << 32 | bytes as u64)
    }

    fn offset(self) -> usize {
        (self.0 >> 32) as usize
    }

    fn bytes(self) -> usize {
        self.0 as u32 as usize
    }
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
        let spares = std::array::from_fn(|_| AtomicU64::new(Spare::NONE.0));
        Ok(Self { chunk, next, spares, lost, _charge: charge })
    }

    pub(crate) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// Bytes handed out. While others take and give back it may be off by what they hold.
    pub(crate) fn used(&self) -> usize {
        let spare: usize = self.spares.iter().map(|spare| Spare(spare.load(Ordering::Relaxed)).bytes()).sum();
        (self.next.load(Ordering::Relaxed) - FIRST_OFFSET).saturating_sub(spare)
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

    /// Takes at least `bytes` for a permit: a spare that has them, else new memory.
    pub(crate) fn take_for_permit(&self, bytes: usize) -> Result<Block, AllocError> {
        for place in &self.spares {
            let there = Spare(place.load(Ordering::Relaxed));
            // Relaxed, here and below: as in `replace_next`.
            let is_taken = there.bytes() >= bytes.max(1)
                && place
                    .compare_exchange(there.0, Spare::NONE.0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if is_taken {
                return Ok(Block { start: self.chunk.at(there.offset()), bytes: there.bytes() });
            }
        }
        self.take(bytes, (self.chunk.end() / PERMIT_SHARE).min(PERMIT_BYTES_MAX))
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

    /// Takes back the unused tail of a block: free again if nothing was handed out behind it, else a spare, else lost.
    pub(crate) fn give_back(&self, tail: Block) {
        let start = tail.start.as_ptr().addr() - self.chunk.base().as_ptr().addr();
        let kept = if cfg!(kausal_planted = "arena_ops") {
            // Planted for the fuzz target to find: the last bytes of what was used are handed out again.
            start.next_multiple_of(BLOCK_ALIGN) - BLOCK_ALIGN
        } else {
            start.next_multiple_of(BLOCK_ALIGN)
        };
        let end = start + tail.bytes;
        if kept <= end && self.replace_next(end, kept).is_ok() {
            return;
        }
        let spared = end.saturating_sub(kept);
        let lost =
            if spared < SPARE_BYTES_MIN { tail.bytes } else { kept - start + self.spare(kept, spared) };
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Keeps a range for a later permit, in the place of the shortest spare. Answers how many bytes are lost by it.
    fn spare(&self, offset: usize, bytes: usize) -> usize {
        let length = |place: &&AtomicU64| Spare(place.load(Ordering::Relaxed)).bytes();
        let Some(place) = self.spares.iter().min_by_key(length) else { return bytes };
        let there = Spare(place.load(Ordering::Relaxed));
        let is_kept = there.bytes() < bytes
            && place
                .compare_exchange(there.0, Spare::new(offset, bytes).0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_kept { there.bytes() } else { bytes }
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
        let used = self.used();
        let end = self.next.replace_mut(FIRST_OFFSET);
        self.lost.replace_mut(0);
        for spare in &mut self.spares {
            spare.replace_mut(Spare::NONE.0);
        }
        // SAFETY: `&mut self` proves that no lease or writer exists, so nobody has the bytes that were handed out.
        unsafe { self.chunk.mark_dead(FIRST_OFFSET, end) };
        used
    }
}
