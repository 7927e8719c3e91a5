//! The body of an arena: the memory of one generation and the count of those who hold it.
//!
//! 1. A body lives at a stable address (behind an `Arc`), so its owner, leases and writers may move freely.
//! 2. `holds` counts the owner and every lease. Its last hold ends the generation: a pool's body goes back to
//!    its pool in O(1), any other gives its chunks back.
//! 3. A body may then serve again under a new generation number, drawn from one process-wide counter, so a number
//!    names one generation of one arena for ever.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. A generation with a hold is never reused: its memory is neither handed out again nor freed.
//! 2. Within a generation no byte is handed out twice.
//! 3. `base` of a fixed body, and the address of a chunk in a growing one, do not change within a generation.
//!
//! Not here: allocation of single objects ([`Writer`](crate::Writer)) and who may end a generation when
//! ([`Arena`](crate::Arena), [`RegionPool`](crate::RegionPool)).

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::budget::Budget;
use crate::chunk::{CHUNK_ALIGN, Chunk};
use crate::error::AllocError;
use crate::permits::Permits;
use crate::region_pool::PoolShared;

/// Bytes a writer takes from the body at once, so that the shared counter is touched once per block.
const BLOCK_BYTES: usize = 32 << 10;

/// First offset handed out in a fixed body: 0 is nil, and the first block begins on a line of its own.
pub(crate) const FIRST_OFFSET: usize = CHUNK_ALIGN;

/// Largest fixed body: offsets are `u32`.
pub(crate) const FIXED_BYTES_MAX: usize = u32::MAX as usize & !(CHUNK_ALIGN - 1);

/// The next unused generation number. Starts at 1: 0 is never a generation.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// A new, process-wide unique generation number.
fn next_generation() -> u64 {
    // Relaxed: uniqueness needs atomicity only.
    NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)
}

pub(crate) struct Body {
    name: Arc<str>,
    generation: AtomicU64,
    holds: AtomicUsize,
    permits: Permits,
    memory: Memory,
    /// Where the body goes after its last hold; nowhere for an arena's own body.
    home: Weak<PoolShared>,
}

enum Memory {
    Fixed(Fixed),
    Growing(Mutex<Growing>),
}

/// A range of bytes handed to one writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
}

// SAFETY: a block is a range of plain memory that one owner at a time holds; it is tied to no thread.
unsafe impl Send for Block {}

impl Body {
    pub(crate) fn fixed(budget: &Budget, bytes: usize, home: Weak<PoolShared>) -> Result<Self, AllocError> {
        if bytes > FIXED_BYTES_MAX {
            return Err(AllocError::TooLarge { bytes, max: FIXED_BYTES_MAX });
        }
        let chunk = Chunk::obtain(budget, bytes.max(2 * FIRST_OFFSET))?;
        let fixed = Fixed { chunk, next: AtomicUsize::new(FIRST_OFFSET), lost: AtomicUsize::new(0) };
        Ok(Self::new(budget, Memory::Fixed(fixed), home))
    }

    pub(crate) fn growing(budget: &Budget, first_bytes: usize) -> Self {
        let growing = Growing { budget: budget.clone(), first_bytes, ..Growing::empty(budget.clone()) };
        Self::new(budget, Memory::Growing(Mutex::new(growing)), Weak::new())
    }

    fn new(budget: &Budget, memory: Memory, home: Weak<PoolShared>) -> Self {
        Self {
            name: budget.name().into(),
            generation: AtomicU64::new(next_generation()),
            holds: AtomicUsize::new(1),
            permits: Permits::default(),
            memory,
            home,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn generation(&self) -> u64 {
        // Relaxed: whoever asks holds the body, and the number changes only while nobody does.
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Leases beside the owner's hold.
    pub(crate) fn lease_count(&self) -> usize {
        self.holds.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// One more hold, for somebody who holds the body already or keeps it from being reused.
    pub(crate) fn hold(&self) {
        // Relaxed: the new hold is derived from an existing one, as in `Arc::clone`.
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one hold up; the last one ends the generation.
    pub(crate) fn release(self: Arc<Self>) {
        // AcqRel: everything done under any hold happens before the memory is used again.
        if self.holds.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(pool) = self.home.upgrade()
        {
            pool.take_back(self);
        }
    }

    /// Begins a new generation with one hold.
    ///
    /// # Safety
    ///
    /// Nobody holds the body, and only the caller can reach it.
    pub(crate) unsafe fn begin_generation(&self) {
        if let Memory::Fixed(fixed) = &self.memory {
            let used = fixed.next.swap(FIRST_OFFSET, Ordering::Relaxed);
            fixed.lost.store(0, Ordering::Relaxed);
            // SAFETY: no hold, so nobody can reach the bytes of the old generation (this function's contract).
            unsafe { fixed.chunk.mark_dead(used) };
        }
        self.permits.begin();
        self.generation.store(next_generation(), Ordering::Relaxed);
        self.holds.store(1, Ordering::Relaxed);
    }

    /// Ends the generation of a body that nobody else can reach, keeping what `keep_bytes` allows, and begins
    /// the next one. Returns (bytes that were in use, bytes given back to the budget).
    pub(crate) fn reset(&mut self, keep_bytes: usize) -> (usize, usize) {
        *self.generation.get_mut() = next_generation();
        match &mut self.memory {
            Memory::Fixed(fixed) => {
                let used = std::mem::replace(fixed.next.get_mut(), FIRST_OFFSET) - FIRST_OFFSET;
                *fixed.lost.get_mut() = 0;
                // SAFETY: `&mut self` proves that no lease or writer exists.
                unsafe { fixed.chunk.mark_dead(used + FIRST_OFFSET) };
                (used, 0)
            }
            Memory::Growing(growing) => growing.get_mut().reset(keep_bytes),
        }
    }

    /// Start of a fixed body.
    pub(crate) fn base(&self) -> Option<NonNull<u8>> {
        match &self.memory {
            Memory::Fixed(fixed) => Some(fixed.chunk.base()),
            Memory::Growing(_) => None,
        }
    }

    /// Bytes in use, alignment and unused block tails included.
    pub(crate) fn used(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.next.load(Ordering::Relaxed) - FIRST_OFFSET,
            Memory::Growing(growing) => growing.lock().used,
        }
    }

    /// Bytes that are in use but hold nothing: block tails that could not be given back.
    pub(crate) fn lost(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.lost.load(Ordering::Relaxed),
            Memory::Growing(growing) => growing.lock().lost,
        }
    }

    /// Bytes charged to the budget.
    pub(crate) fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.chunk.bytes() - FIRST_OFFSET,
            Memory::Growing(growing) => growing.lock().chunks.iter().map(Chunk::bytes).sum(),
        }
    }

    /// A block of at least `bytes`, for a writer that will want more of the same.
    pub(crate) fn take_block(&self, bytes: usize) -> Result<Block, AllocError> {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.take(bytes, BLOCK_BYTES),
            Memory::Growing(growing) => growing.lock().take(bytes, BLOCK_BYTES),
        }
    }

    /// A block of exactly `bytes`, rounded up to the block alignment.
    pub(crate) fn take_exactly(&self, bytes: usize) -> Result<Block, AllocError> {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.take(bytes, 0),
            Memory::Growing(growing) => growing.lock().take(bytes, 0),
        }
    }

    /// Takes back the unused tail of a block: free again if nothing was handed out behind it, else lost until
    /// the generation ends.
    pub(crate) fn give_back(&self, tail: Block) {
        if tail.bytes > 0 {
            match &self.memory {
                Memory::Fixed(fixed) => fixed.give_back(tail),
                Memory::Growing(growing) => growing.lock().give_back(tail),
            }
        }
    }
}

/// Blocks begin at multiples of this, so that a writer's first object needs no padding.
const BLOCK_ALIGN: usize = 16;

/// A fixed body: one chunk, bumped by an atomic offset.
struct Fixed {
    chunk: Chunk,
    /// Offset of the first byte never handed out in this generation.
    next: AtomicUsize,
    lost: AtomicUsize,
}

impl Fixed {
    /// Takes `bytes`, or as much as there is up to `wish` if that is more.
    fn take(&self, bytes: usize, wish: usize) -> Result<Block, AllocError> {
        let capacity = self.chunk.bytes();
        let mut start = self.next.load(Ordering::Relaxed);
        loop {
            let have = capacity - start;
            if bytes > have {
                return Err(AllocError::Exhausted { need: bytes, have });
            }
            // Cannot overflow: both are at most `have`, and the capacity is a multiple of the alignment.
            let taken = bytes.max(wish.min(have)).next_multiple_of(BLOCK_ALIGN);
            // Relaxed: the counter hands out disjoint ranges by atomicity alone; what is written into them is
            // published by whoever shares it.
            match self.next.compare_exchange_weak(start, start + taken, Ordering::Relaxed, Ordering::Relaxed)
            {
                // SAFETY: `start + taken` is at most the chunk's size (chunk invariant 1).
                Ok(_) => return Ok(Block { start: unsafe { self.chunk.base().add(start) }, bytes: taken }),
                Err(now) => start = now,
            }
        }
    }

    fn give_back(&self, tail: Block) {
        let start = tail.start.as_ptr().addr() - self.chunk.base().as_ptr().addr();
        let kept = start.next_multiple_of(BLOCK_ALIGN);
        let end = start + tail.bytes;
        let back = self.next.compare_exchange(end, kept, Ordering::Relaxed, Ordering::Relaxed);
        if back.is_err() {
            self.lost.fetch_add(tail.bytes, Ordering::Relaxed);
        }
    }
}

/// A growing body: chunks of doubling size, used one after the other.
struct Growing {
    budget: Budget,
    first_bytes: usize,
    chunks: Vec<Chunk>,
    /// Chunks before this one have been opened in this generation.
    opened: usize,
    /// What is left of the chunk opened last.
    rest: Option<Block>,
    used: usize,
    lost: usize,
}

impl Growing {
    fn empty(budget: Budget) -> Self {
        Self { budget, first_bytes: 0, chunks: Vec::new(), opened: 0, rest: None, used: 0, lost: 0 }
    }

    fn take(&mut self, bytes: usize, wish: usize) -> Result<Block, AllocError> {
        let max = isize::MAX as usize - BLOCK_ALIGN;
        if bytes > max {
            return Err(AllocError::TooLarge { bytes, max });
        }
        let bytes = bytes.next_multiple_of(BLOCK_ALIGN);
        let rest = match self.rest {
            Some(rest) if rest.bytes >= bytes => rest,
            _ => self.open(bytes)?,
        };
        let taken = bytes.max(wish).min(rest.bytes);
        // SAFETY: `taken` is at most what is left of the chunk.
        let start = unsafe { rest.start.add(taken) };
        self.rest = Some(Block { start, bytes: rest.bytes - taken });
        self.used += taken;
        Ok(Block { start: rest.start, bytes: taken })
    }

    /// Opens a chunk with room for `bytes`: a kept one if any fits, else a new one.
    fn open(&mut self, bytes: usize) -> Result<Block, AllocError> {
        let place = match (self.opened..self.chunks.len()).find(|&place| self.chunks[place].bytes() >= bytes)
        {
            Some(place) => place,
            None => {
                let chunk = self.obtain(bytes)?;
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        };
        if let Some(rest) = self.rest.take() {
            self.used += rest.bytes;
            self.lost += rest.bytes;
        }
        self.chunks.swap(self.opened, place);
        let chunk = &self.chunks[self.opened];
        self.opened += 1;
        Ok(Block { start: chunk.base(), bytes: chunk.bytes() })
    }

    /// Twice the last chunk, or just enough where the budget does not admit that.
    fn obtain(&self, bytes: usize) -> Result<Chunk, AllocError> {
        let doubled = self.chunks.iter().map(|chunk| 2 * chunk.bytes()).max().unwrap_or(self.first_bytes);
        match Chunk::obtain(&self.budget, bytes.max(doubled)) {
            Err(AllocError::BudgetExceeded { .. }) if bytes < doubled => Chunk::obtain(&self.budget, bytes),
            answer => answer,
        }
    }

    fn give_back(&mut self, tail: Block) {
        let kept = tail.start.as_ptr().addr().next_multiple_of(BLOCK_ALIGN) - tail.start.as_ptr().addr();
        let follows = |rest: &Block| tail.start.as_ptr().addr() + tail.bytes == rest.start.as_ptr().addr();
        match self.rest {
            Some(rest) if follows(&rest) && kept <= tail.bytes => {
                // SAFETY: `kept` is at most the tail's length.
                let start = unsafe { tail.start.add(kept) };
                self.rest = Some(Block { start, bytes: rest.bytes + tail.bytes - kept });
                self.used -= tail.bytes - kept;
            }
            _ => self.lost += tail.bytes,
        }
    }

    /// O(1) in the number of allocations; walks the chunks (whose sizes double) to give some of them back.
    fn reset(&mut self, keep_bytes: usize) -> (usize, usize) {
        let used = std::mem::take(&mut self.used);
        self.lost = 0;
        self.opened = 0;
        self.rest = None;
        let mut kept = 0;
        let mut returned = 0;
        self.chunks.retain(|chunk| {
            let keep = kept + chunk.bytes() <= keep_bytes;
            if keep {
                kept += chunk.bytes();
                // SAFETY: the body is being reset by its only holder, so nobody reaches these bytes.
                unsafe { chunk.mark_dead(chunk.bytes()) };
            } else {
                returned += chunk.bytes();
            }
            keep
        });
        (used, returned)
    }
}
