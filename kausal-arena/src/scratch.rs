//! Scratch: a request's own arena, taken from a pool and given back whole.
//!
//! 1. A [`ScratchPool`] keeps a few chunks per size, powers of two between 64 KiB and the pool's maximum, each
//!    charged to the pool's budget node as long as it is kept or used.
//! 2. [`ScratchPool::take`] hands out the smallest that has the bytes asked for. Its capacity is its limit: it never
//!    grows in secret.
//! 3. Dropping the [`Scratch`] gives everything allocated in it back in O(1), and the chunk to the pool. When warm,
//!    neither calls the global allocator.
//!
//! Built on `bumpalo`: one bump arena per chunk, its limit set to what it has.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use bumpalo::Bump;
use crossbeam_queue::ArrayQueue;

use crate::budget::{Budget, Reservation};
use crate::error::AllocError;

/// Smallest chunk of a pool.
const SCRATCH_BYTES_MIN: usize = 64 << 10;

/// Chunks kept per size; more than that are given back to the system.
const KEPT_PER_CLASS: usize = 8;

/// A pool of request arenas. Cloning gives another handle on the same pool.
#[derive(Clone)]
pub struct ScratchPool {
    shared: Arc<Shared>,
}

struct Shared {
    budget: Budget,
    bytes_max: usize,
    /// One queue per power of two from [`SCRATCH_BYTES_MIN`] on.
    classes: Box<[ArrayQueue<Chunk>]>,
}

struct Chunk {
    bump: Bump,
    charge: Reservation,
}

impl ScratchPool {
    /// A pool whose scratches have at most `bytes_max` bytes, charged to `budget` while they exist.
    pub fn new(budget: &Budget, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(SCRATCH_BYTES_MIN).next_power_of_two();
        let count = class_of(bytes_max) + 1;
        let classes = (0..count).map(|_| ArrayQueue::new(KEPT_PER_CLASS)).collect();
        Self { shared: Arc::new(Shared { budget: budget.clone(), bytes_max, classes }) }
    }

    /// The largest scratch there is, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }

    /// An empty scratch with room for at least `bytes`.
    ///
    /// # Errors
    ///
    /// [`AllocError::TooLarge`] above the pool's maximum, [`AllocError::BudgetExceeded`] if a new chunk is not
    /// admitted.
    pub fn take(&self, bytes: usize) -> Result<Scratch, AllocError> {
        let bytes_max = self.shared.bytes_max;
        if bytes > bytes_max {
            return Err(AllocError::TooLarge { bytes, max: bytes_max });
        }
        let class = class_of(bytes);
        let chunk = match self.shared.classes[class].pop() {
            Some(chunk) => chunk,
            None => self.obtain(SCRATCH_BYTES_MIN << class)?,
        };
        Ok(Scratch { chunk: ManuallyDrop::new(chunk), class, home: Arc::clone(&self.shared) })
    }

    /// Gives every idle chunk back to the system and to the budget. Returns the bytes.
    pub fn shrink(&self) -> usize {
        let idle = self.shared.classes.iter().flat_map(|class| std::iter::from_fn(|| class.pop()));
        idle.map(|chunk| chunk.charge.bytes()).sum()
    }

    fn obtain(&self, bytes: usize) -> Result<Chunk, AllocError> {
        let mut charge = self.shared.budget.reserve(bytes)?;
        let bump = Bump::try_with_capacity(bytes).map_err(|_| AllocError::OutOfMemory { bytes })?;
        bump.set_allocation_limit(Some(bump.allocated_bytes()));
        charge.resize(bump.allocated_bytes_including_metadata())?;
        Ok(Chunk { bump, charge })
    }
}

impl fmt::Debug for ScratchPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ScratchPool").field("budget", &self.shared.budget).finish_non_exhaustive()
    }
}

/// Index of the smallest power of two that has `bytes`.
fn class_of(bytes: usize) -> usize {
    let bytes = bytes.max(SCRATCH_BYTES_MIN).next_power_of_two();
    (bytes / SCRATCH_BYTES_MIN).trailing_zeros() as usize
}

/// A request's arena. What is allocated in it borrows it. `Send`, not `Sync`.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Budget, ScratchPool};
///
/// let pool = ScratchPool::new(&Budget::root("requests", 1 << 20), 1 << 18);
/// let scratch = pool.take(1000).unwrap();
/// let answer = scratch.try_alloc_slice_copy(b"forty-two").unwrap();
/// assert_eq!(answer, b"forty-two");
/// ```
///
/// A result does not outlive its request:
/// ```compile_fail,E0505
/// # use kausal_arena::{Budget, ScratchPool};
/// # let pool = ScratchPool::new(&Budget::root("requests", 1 << 20), 1 << 18);
/// let scratch = pool.take(1000).unwrap();
/// let answer = scratch.try_alloc_slice_copy(b"forty-two").unwrap();
/// drop(scratch);
/// assert_eq!(answer, b"forty-two");
/// ```
pub struct Scratch {
    chunk: ManuallyDrop<Chunk>,
    class: usize,
    home: Arc<Shared>,
}

impl Scratch {
    /// Bytes still free.
    pub fn bytes_left(&self) -> usize {
        self.chunk.bump.chunk_capacity()
    }

    /// Copies `source` into the scratch.
    ///
    /// # Errors
    ///
    /// [`AllocError::Exhausted`] if less than that is left; nothing is taken then.
    pub fn try_alloc_slice_copy<T: Copy>(&self, source: &[T]) -> Result<&mut [T], AllocError> {
        self.chunk
            .bump
            .try_alloc_slice_copy(source)
            .map_err(|_| AllocError::Exhausted { need: size_of_val(source), have: self.bytes_left() })
    }

    /// A slice of `len` elements, each set to `value`.
    ///
    /// # Errors
    ///
    /// [`AllocError::Exhausted`] if less than that is left; nothing is taken then.
    pub fn try_alloc_slice_fill<T: Copy>(&self, len: usize, value: T) -> Result<&mut [T], AllocError> {
        self.chunk.bump.try_alloc_slice_fill_copy(len, value).map_err(|_| AllocError::Exhausted {
            need: len.saturating_mul(size_of::<T>()),
            have: self.bytes_left(),
        })
    }

    /// Forgets everything allocated so far, in O(1).
    pub fn reset(&mut self) {
        self.chunk.bump.reset();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the chunk is taken out once, here, and not used afterwards.
        let mut chunk = unsafe { ManuallyDrop::take(&mut self.chunk) };
        chunk.bump.reset();
        // A full queue drops the chunk, which gives its memory and its charge back.
        let _ = self.home.classes[self.class].push(chunk);
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scratch").field("left", &self.bytes_left()).finish_non_exhaustive()
    }
}
