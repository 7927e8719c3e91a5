//! The memory of an arena that grows: chunks of doubling size, used one after the other.
//!
//! 1. Blocks are cut from the chunk opened last. When it is used up, one kept from an earlier generation is opened, or a
//!    new one obtained: from the chunk pool if there is one, else from the system.
//! 2. A reset that keeps everything joins two lists: O(1). One that keeps less walks the chunks (not the allocations) once,
//!    and what it gives to a chunk pool it gives as one list.
//!
//! Invariant: the charge is the size of all chunks, in use or kept.

use crate::arena::Retain;
use crate::body::{BLOCK_ALIGN, Block};
use crate::budget::{Budget, Reservation};
use crate::chunk::{Chunk, ChunkList, PAYLOAD_OFFSET};
use crate::chunk_pool::{ChunkPool, POOLED_BYTES_MIN, free, obtain};
use crate::error::AllocError;

/// Chunks double up to this size: more would leave too much of a budget in the last one.
const CHUNK_BYTES_MAX: usize = 8 << 20;

pub(crate) struct Growing {
    /// Opened in this generation, the last one first.
    open: ChunkList,
    /// Kept from earlier generations, the largest first as long as nothing is taken out.
    kept: ChunkList,
    /// What is left of the chunk opened last.
    rest: Option<Block>,
    used: usize,
    lost: usize,
    next_chunk_bytes: usize,
    pool: Option<ChunkPool>,
    charge: Reservation,
}

impl Growing {
    /// Memory that obtains nothing yet.
    pub(crate) fn new(budget: &Budget, pool: Option<ChunkPool>) -> Self {
        Self {
            open: ChunkList::default(),
            kept: ChunkList::default(),
            rest: None,
            used: 0,
            lost: 0,
            next_chunk_bytes: POOLED_BYTES_MIN,
            pool,
            charge: Reservation::empty(budget),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    pub(crate) fn capacity(&self) -> usize {
        self.charge.bytes()
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.open.count() + self.kept.count()
    }

    /// Whether `bytes` bytes at `address` lie in a chunk of this generation. O(chunks).
    pub(crate) fn contains(&self, address: usize, bytes: usize) -> bool {
        let mut found = false;
        self.open.for_each(|chunk| {
            let base = chunk.base().as_ptr().addr();
            found |= base + PAYLOAD_OFFSET <= address && address + bytes <= base + chunk.end();
        });
        found
    }

    /// Takes `bytes`, or as much as the chunk has up to `wish` if that is more.
    pub(crate) fn take(&mut self, bytes: usize, wish: usize) -> Result<Block, AllocError> {
        let max = isize::MAX as usize - BLOCK_ALIGN;
        if bytes > max {
            return Err(AllocError::TooLarge { bytes, max });
        }
        let bytes = bytes.next_multiple_of(BLOCK_ALIGN);
        let rest = match self.rest {
            Some(rest) if rest.bytes >= bytes => rest,
            _ => self.open_chunk(bytes)?,
        };
        let taken = bytes.max(wish).min(rest.bytes);
        self.rest = Some(rest.behind(taken));
        self.used += taken;
        Ok(Block { start: rest.start, bytes: taken })
    }

    /// Lengthens a block that ends at `end` if what follows it is free. Returns by how much, 0 if not at all.
    ///
    /// The header at the start of each chunk keeps the end of one from being the free space of another.
    pub(crate) fn extend(&mut self, end: usize, bytes: usize, wish: usize) -> usize {
        match self.rest {
            Some(rest) if rest.start.as_ptr().addr() == end && rest.bytes >= bytes => {
                let taken = bytes.next_multiple_of(BLOCK_ALIGN).max(wish).min(rest.bytes);
                self.rest = Some(rest.behind(taken));
                self.used += taken;
                taken
            }
            _ => 0,
        }
    }

    /// Takes back the unused tail of a block: free again if nothing was handed out behind it, else lost.
    pub(crate) fn give_back(&mut self, tail: Block) {
        let start = tail.start.as_ptr().addr();
        let kept = start.next_multiple_of(BLOCK_ALIGN) - start;
        match self.rest {
            Some(rest) if start + tail.bytes == rest.start.as_ptr().addr() && kept <= tail.bytes => {
                let back = tail.behind(kept);
                self.used -= back.bytes;
                self.rest = Some(Block { start: back.start, bytes: rest.bytes + back.bytes });
            }
            _ => self.lost += tail.bytes,
        }
    }

    /// Opens a chunk with room for `bytes`: a kept one if any fits, else a new one.
    fn open_chunk(&mut self, bytes: usize) -> Result<Block, AllocError> {
        let need = bytes + PAYLOAD_OFFSET + crate::guard::CANARY_BYTES;
        let chunk = match self.kept.pop_fitting(need) {
            Some(chunk) => chunk,
            None => self.obtain(need)?,
        };
        if let Some(rest) = self.rest.take() {
            self.used += rest.bytes;
            self.lost += rest.bytes;
        }
        let block = Block { start: chunk.at(PAYLOAD_OFFSET), bytes: chunk.end() - PAYLOAD_OFFSET };
        self.open.push(chunk);
        Ok(block)
    }

    /// A chunk of the next size, or just enough where the budget does not admit that.
    fn obtain(&mut self, need: usize) -> Result<Chunk, AllocError> {
        let wish = need.max(self.next_chunk_bytes);
        let chunk = match self.obtain_exactly(wish) {
            Err(AllocError::BudgetExceeded { .. } | AllocError::HostRefused { .. }) if need < wish => {
                self.obtain_exactly(need)?
            }
            answer => answer?,
        };
        let doubled = (2 * chunk.bytes()).clamp(POOLED_BYTES_MIN, CHUNK_BYTES_MAX);
        self.next_chunk_bytes = self.next_chunk_bytes.max(doubled);
        Ok(chunk)
    }

    fn obtain_exactly(&mut self, bytes: usize) -> Result<Chunk, AllocError> {
        match &self.pool {
            Some(pool) => pool.take(bytes, &mut self.charge),
            None => obtain(Chunk::size_for(bytes)?, &mut self.charge),
        }
    }

    /// Ends a generation that nobody reads any more. Returns the bytes that were in use and the bytes given back.
    pub(crate) fn reset(&mut self, retain: Retain) -> (usize, usize) {
        self.mark_dead();
        let used = std::mem::take(&mut self.used);
        self.lost = 0;
        self.rest = None;
        let kept = std::mem::take(&mut self.kept);
        self.kept = std::mem::take(&mut self.open);
        self.kept.append(kept);
        let returned = match retain {
            Retain::Capacity => 0,
            Retain::UpTo(bytes) => self.keep_up_to(bytes),
            Retain::Nothing => self.keep_up_to(0),
        };
        (used, returned)
    }

    /// Gives back what the kept chunks have beyond `bytes`. Returns how many bytes that were.
    fn keep_up_to(&mut self, bytes: usize) -> usize {
        let (mut kept, mut surplus) = (ChunkList::default(), ChunkList::default());
        if bytes == 0 {
            std::mem::swap(&mut self.kept, &mut surplus);
        }
        while let Some(chunk) = self.kept.pop() {
            let fits = kept.bytes() + chunk.bytes() <= bytes;
            if fits { kept.push(chunk) } else { surplus.push(chunk) }
        }
        self.kept = kept;
        let returned = surplus.bytes();
        self.give(surplus);
        self.next_chunk_bytes =
            self.kept.bytes().next_power_of_two().clamp(POOLED_BYTES_MIN, CHUNK_BYTES_MAX);
        returned
    }

    /// In debug builds and under the sanitizer only; elsewhere nothing is walked. Called before `rest` is forgotten.
    fn mark_dead(&mut self) {
        if cfg!(any(debug_assertions, kausal_asan)) {
            let rest = self.rest.map(|rest| rest.start.as_ptr().addr());
            self.open.for_each(|chunk| {
                let base = chunk.base().as_ptr().addr();
                let is_current = |start: &usize| (base..base + chunk.bytes()).contains(start);
                let end = rest.filter(is_current).map_or(chunk.end(), |start| start - base);
                // SAFETY: exclusive access proves that no lease or writer exists, so nobody has these bytes.
                unsafe { chunk.mark_dead(PAYLOAD_OFFSET, end) };
            });
        }
    }

    fn give(&mut self, chunks: ChunkList) {
        match &self.pool {
            Some(pool) => pool.give(chunks, &mut self.charge),
            None => free(chunks, &mut self.charge),
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.mark_dead();
        let mut all = std::mem::take(&mut self.open);
        all.append(std::mem::take(&mut self.kept));
        self.give(all);
    }
}
