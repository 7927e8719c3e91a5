//! The body of an arena: the memory of one generation and the count of those who hold it.
//!
//! 1. A body lives at a stable address, so its owner, leases and writers may move freely. They reach it through a
//!    [`Hold`], which counts: the owner has one, and so has every lease.
//! 2. The last hold ends the generation: a region goes back to its pool in O(1), any other body is freed.
//! 3. A body may then serve again under a new generation number, drawn from one process-wide counter, so a number
//!    names one generation of one arena for ever.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. A generation with a hold is never reused: its memory is neither handed out again nor freed.
//! 2. Within a generation no byte is handed out twice, but for tails and last allocations that their only owner gives back.
//! 3. The memory of a generation does not move.
//! 4. `holds` counts the living `Hold`s of a body, and a body with none is in nobody's reach but its pool's.
//!
//! Not here: allocation of single objects ([`Writer`](crate::Writer)) and who may end a generation when
//! ([`Arena`](crate::Arena), [`RegionPool`](crate::RegionPool)).

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use crate::arena::Retain;
use crate::budget::Budget;
use crate::chunk_pool::ChunkPool;
use crate::error::AllocError;
use crate::fixed::{FIRST_OFFSET, Fixed};
use crate::growing::Growing;
use crate::permits::Permits;
use crate::region_pool::PoolShared;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};

/// Bytes a writer takes from the body at once, so that the shared counter is touched once per block.
const BLOCK_BYTES: usize = 32 << 10;

/// Blocks begin at multiples of this, so that a writer's first object needs no padding.
pub(crate) const BLOCK_ALIGN: usize = 16;

/// The next unused generation number. Starts at 1: 0 is never a generation. Not in the facade: it orders nothing.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// A new, process-wide unique generation number.
fn next_generation() -> u64 {
    // Relaxed: uniqueness needs atomicity only.
    NEXT_GENERATION.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// In the order in which a release touches them, on cache lines of its own: after long work they are all cold, and a miss
/// costs more than everything else a release does.
#[repr(C, align(64))]
pub(crate) struct Body {
    holds: AtomicUsize,
    /// Where a region that is out goes after its last hold; nowhere for an arena's own body.
    home: Mutex<Option<Arc<PoolShared>>>,
    generation: u64,
    permits: Permits,
    /// Bytes that users of the generation said to have been overwritten.
    dead: AtomicUsize,
    memory: Memory,
    /// The body below this one in its pool's stack of idle ones.
    pub(crate) next_idle: Option<Box<Self>>,
    budget: Budget,
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

impl Block {
    /// What of the block comes after its first `bytes` bytes.
    pub(crate) fn behind(self, bytes: usize) -> Self {
        assert!(bytes <= self.bytes, "a block has {} bytes, not {bytes}", self.bytes);
        // SAFETY: within the block or just past it, which is in one chunk.
        Self { start: unsafe { self.start.add(bytes) }, bytes: self.bytes - bytes }
    }
}

impl Body {
    pub(crate) fn fixed(budget: &Budget, bytes: usize) -> Result<Box<Self>, AllocError> {
        Ok(Self::new(budget, Memory::Fixed(Fixed::new(budget, bytes)?)))
    }

    pub(crate) fn growing(budget: &Budget, pool: Option<ChunkPool>) -> Box<Self> {
        Self::new(budget, Memory::Growing(Mutex::new(Growing::new(budget, pool))))
    }

    fn new(budget: &Budget, memory: Memory) -> Box<Self> {
        Box::new(Self {
            budget: budget.clone(),
            generation: next_generation(),
            holds: AtomicUsize::new(0),
            permits: Permits::default(),
            dead: AtomicUsize::new(0),
            memory,
            next_idle: None,
            home: Mutex::new(None),
        })
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Leases beside the owner's hold.
    pub(crate) fn lease_count(&self) -> usize {
        self.holds.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Ends the generation and begins the next one. Returns (bytes that were in use, bytes given back to the budget).
    ///
    /// Nothing here unwinds between two halves of the bookkeeping: a canary that is gone panics before anything changed
    /// or after everything has.
    pub(crate) fn reset(&mut self, retain: Retain) -> (usize, usize) {
        self.generation = next_generation();
        self.empty(retain)
    }

    /// Ends the generation of a body that nobody can reach before it begins the next one.
    pub(crate) fn empty(&mut self, retain: Retain) -> (usize, usize) {
        self.permits = Permits::default();
        self.dead.replace_mut(0);
        match &mut self.memory {
            Memory::Fixed(fixed) => (fixed.reset(), 0),
            Memory::Growing(growing) => growing.get_mut().reset(retain),
        }
    }

    /// Start of a fixed body.
    pub(crate) fn base(&self) -> Option<NonNull<u8>> {
        match &self.memory {
            Memory::Fixed(fixed) => Some(fixed.chunk().base()),
            Memory::Growing(_) => None,
        }
    }

    /// Whether `bytes` bytes at `address` lie in the memory of this generation. O(1) in a fixed body, else O(chunks).
    pub(crate) fn contains(&self, address: usize, bytes: usize) -> bool {
        match &self.memory {
            Memory::Fixed(fixed) => {
                let base = fixed.chunk().base().as_ptr().addr();
                base + FIRST_OFFSET <= address && address + bytes <= base + fixed.chunk().end()
            }
            Memory::Growing(growing) => growing.lock().contains(address, bytes),
        }
    }

    /// Bytes in use, alignment and unused block tails included.
    pub(crate) fn used(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.used(),
            Memory::Growing(growing) => growing.lock().used(),
        }
    }

    /// Bytes that are in use but hold nothing: block tails that could not be given back.
    pub(crate) fn lost(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.lost(),
            Memory::Growing(growing) => growing.lock().lost(),
        }
    }

    /// Bytes that were overwritten, as far as users of the generation said so.
    pub(crate) fn dead(&self) -> usize {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn add_dead(&self, bytes: usize) {
        if bytes > 0 {
            self.dead.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes there are for users in a fixed body, bytes charged so far for one that grows.
    pub(crate) fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.chunk().end() - FIRST_OFFSET,
            Memory::Growing(growing) => growing.lock().capacity(),
        }
    }

    pub(crate) fn chunk_count(&self) -> usize {
        match &self.memory {
            Memory::Fixed(_) => 1,
            Memory::Growing(growing) => growing.lock().chunk_count(),
        }
    }

    /// A block of at least `bytes`, for a writer that will want more of the same.
    pub(crate) fn take_block(&self, bytes: usize) -> Result<Block, AllocError> {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.take(bytes, BLOCK_BYTES),
            Memory::Growing(growing) => growing.lock().take(bytes, BLOCK_BYTES),
        }
    }

    /// A block for a permit of `bytes`. What it has beyond them is for later permits.
    pub(crate) fn take_for_permit(&self, bytes: usize) -> Result<Block, AllocError> {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.take_for_permit(bytes),
            Memory::Growing(growing) => growing.lock().take(bytes, 0),
        }
    }

    /// Lengthens the block that ends at `end` by at least `bytes`. Returns by how much, 0 if what follows is not free.
    pub(crate) fn extend_block(&self, end: usize, bytes: usize) -> usize {
        match &self.memory {
            Memory::Fixed(fixed) => fixed.extend(end, bytes, BLOCK_BYTES),
            Memory::Growing(growing) => growing.lock().extend(end, bytes, BLOCK_BYTES),
        }
    }

    /// Takes back the unused tail of a block: free again if nothing was handed out behind it, else kept for a permit, or lost
    /// until the generation ends.
    pub(crate) fn give_back(&self, tail: Block) {
        if tail.bytes > 0 {
            match &self.memory {
                Memory::Fixed(fixed) => fixed.give_back(tail),
                Memory::Growing(growing) => growing.lock().give_back(tail),
            }
        }
    }
}

/// A counted hold on a body. 8 bytes; cloning costs one increment.
pub(crate) struct Hold {
    body: NonNull<Body>,
}

// SAFETY: a hold is a shared reference to a `Body`, which is `Send` and `Sync`, and the last one owns it.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// The first hold on a body that its caller owns alone.
    pub(crate) fn first(mut body: Box<Body>) -> Self {
        body.holds.replace_mut(1);
        Self { body: NonNull::from(Box::leak(body)) }
    }

    /// The first hold on a region of `pool`, which will take it back.
    pub(crate) fn from_pool(mut body: Box<Body>, pool: Arc<PoolShared>) -> Self {
        *body.home.get_mut() = Some(pool);
        body.generation = next_generation();
        Self::first(body)
    }

    /// Exclusive access, if this is the only hold.
    pub(crate) fn get_mut(&mut self) -> Option<&mut Body> {
        // Acquire: pairs with the Release of every hold that ended; what was done under them happened before.
        if self.holds.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: this is the only hold (invariant 4), it is borrowed exclusively, and a further one could only be
        // cloned from it.
        Some(unsafe { self.body.as_mut() })
    }
}

impl Deref for Hold {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        // SAFETY: a body with a hold is not freed (invariants 1 and 4).
        unsafe { self.body.as_ref() }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        // Relaxed: the new hold is derived from an existing one, as in `Arc::clone`.
        self.holds.fetch_add(1, Ordering::Relaxed);
        Self { body: self.body }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // AcqRel: everything done under any hold happens before the memory is used again.
        let order =
            if cfg!(kausal_planted = "arena_relaxed_release") { Ordering::Relaxed } else { Ordering::AcqRel };
        if cfg!(kausal_planted = "sim")
            && std::env::var("KAUSAL_PLANTED").is_ok_and(|planted| planted == "early_reset")
            && let Memory::Fixed(fixed) = &self.memory
        {
            // Planted for the engine's simulation to find: the first lease that ends gives the region's bytes back.
            fixed.forget();
        }
        if self.holds.fetch_sub(1, order) != 1 {
            return;
        }
        // SAFETY: it was leaked from a box by `first`, and this was the last hold (invariant 4).
        let mut body = unsafe { Box::from_raw(self.body.as_ptr()) };
        let home = body.home.get_mut().take();
        if let Some(pool) = home {
            pool.take_back(body);
        }
    }
}
