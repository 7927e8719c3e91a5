//! Scratch: a request's own arena, taken from a pool and given back whole.
//!
//! 1. A [`ScratchPool`] keeps a few chunks per size, powers of two between 64 KiB and the pool's maximum, each
//!    charged to the pool's budget node as long as it is kept or used.
//! 2. [`ScratchPool::take`] hands out the smallest that has the bytes asked for. A chunk's capacity is its limit: `bumpalo`
//!    never obtains another in secret.
//! 3. A scratch from [`ScratchPool::take_growing`] that is full takes a larger chunk from the pool, up to its own limit and
//!    where the budget admits one; what was allocated stays where it is.
//! 4. Dropping the [`Scratch`] gives everything allocated in it back in O(1), and its chunks to the pool. When warm,
//!    nothing here calls the global allocator.
//!
//! Built on `bumpalo`: one bump arena per chunk, its limit set to what it has.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. What a `Bump` handed out lies in its heap chunk, which neither moves nor is reset while its scratch is borrowed,
//!    wherever the `Bump` itself lies.

use std::alloc::Layout;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use bumpalo::Bump;
use crossbeam_queue::ArrayQueue;

use crate::alloc::{NoDrop, array};
use crate::budget::{Budget, Reservation, Shrink};
use crate::error::AllocError;

/// Smallest chunk of a pool.
const SCRATCH_BYTES_MIN: usize = 64 << 10;

/// Chunks kept per size; more than that are given back to the system.
const KEPT_PER_CLASS: usize = 8;

/// Chunks one scratch can have: each is larger than the one before, so this is never reached below 64 GiB.
const CHUNKS_MAX: usize = 20;

/// Largest chunk of a pool, 32 GiB: one of each size then fits into a scratch.
const SCRATCH_BYTES_MAX: usize = SCRATCH_BYTES_MIN << (CHUNKS_MAX - 1);

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
    class: usize,
    charge: Reservation,
}

impl ScratchPool {
    /// A pool whose scratches take chunks of at most `bytes_max` bytes (64 KiB at least, 32 GiB at most, rounded up to a power
    /// of two), charged to `budget` while they exist.
    pub fn new(budget: &Budget, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.clamp(SCRATCH_BYTES_MIN, SCRATCH_BYTES_MAX).next_power_of_two();
        let count = class_of(bytes_max) + 1;
        let classes = (0..count).map(|_| ArrayQueue::new(KEPT_PER_CLASS)).collect();
        let shared = Arc::new(Shared { budget: budget.clone(), bytes_max, classes });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        budget.add_shrinker(weak);
        Self { shared }
    }

    /// The largest scratch there is, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }

    /// An empty scratch with room for at least `bytes`, which never grows.
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
        let chunk = self.shared.chunk(class_of(bytes))?;
        Ok(Scratch::on(chunk, Arc::clone(&self.shared)))
    }

    /// An empty scratch with room for at least `bytes`, which takes further chunks as it needs them, at most `bytes_max`
    /// bytes in all.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::{Budget, ScratchPool};
    ///
    /// let pool = ScratchPool::new(&Budget::root("requests", 4 << 20), 1 << 20);
    /// let scratch = pool.take_growing(1000, 2 << 20).unwrap();
    /// let early = scratch.try_alloc_slice_copy(b"early").unwrap();
    /// let large = scratch.try_alloc_slice_fill(500_000, 7_u8).unwrap();
    /// assert_eq!((&*early, large.len()), (&b"early"[..], 500_000));
    /// ```
    pub fn take_growing(&self, bytes: usize, bytes_max: usize) -> Result<Scratch, AllocError> {
        let mut scratch = self.take(bytes)?;
        scratch.bytes_max = bytes_max;
        Ok(scratch)
    }

    /// Gives every idle chunk back to the system and to the budget. Returns the bytes.
    pub fn shrink(&self) -> usize {
        self.shared.shrink(usize::MAX)
    }
}

impl Shared {
    /// An idle chunk of the class, or a new one.
    fn chunk(&self, class: usize) -> Result<Chunk, AllocError> {
        if let Some(chunk) = self.classes[class].pop() {
            return Ok(chunk);
        }
        let bytes = SCRATCH_BYTES_MIN << class;
        let mut charge = self.budget.reserve(bytes)?;
        let bump = Bump::try_with_capacity(bytes).map_err(|_| AllocError::OutOfMemory { bytes })?;
        bump.set_allocation_limit(Some(bump.allocated_bytes()));
        charge.resize(bump.allocated_bytes_including_metadata())?;
        Ok(Chunk { bump, class, charge })
    }

    /// Puts a chunk back, empty.
    fn take_back(&self, mut chunk: Chunk) {
        chunk.bump.reset();
        // A full queue drops the chunk, which gives its memory and its charge back.
        let _ = self.classes[chunk.class].push(chunk);
    }
}

impl Shrink for Shared {
    fn shrink(&self, bytes: usize) -> usize {
        let mut freed = 0;
        let mut idle = self.classes.iter().rev().flat_map(|class| std::iter::from_fn(|| class.pop()));
        while freed < bytes
            && let Some(chunk) = idle.next()
        {
            freed += chunk.charge.bytes();
        }
        freed
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
///
/// Nor is it shared between threads:
/// ```compile_fail,E0277
/// # let pool = kausal_arena::ScratchPool::new(&kausal_arena::Budget::unlimited("requests"), 1 << 18);
/// let scratch = pool.take(1000).unwrap();
/// std::thread::scope(|threads| {
///     threads.spawn(|| scratch.try_alloc(7_u32));
/// });
/// ```
pub struct Scratch {
    /// The current chunk is the last.
    chunks: [UnsafeCell<Option<Chunk>>; CHUNKS_MAX],
    count: Cell<usize>,
    /// Its chunks have no more bytes than this in all.
    bytes_max: usize,
    home: Arc<Shared>,
}

#[expect(clippy::mut_from_ref, reason = "each call returns memory that nobody else has")]
impl Scratch {
    fn on(chunk: Chunk, home: Arc<Shared>) -> Self {
        let mut chunks = [const { UnsafeCell::new(None) }; CHUNKS_MAX];
        let bytes_max = chunk.charge.bytes();
        *chunks[0].get_mut() = Some(chunk);
        Self { chunks, count: Cell::new(1), bytes_max, home }
    }

    /// Bytes free in the chunk in hand; all there is for a scratch that does not grow.
    pub fn bytes_left(&self) -> usize {
        self.current().bump.chunk_capacity()
    }

    /// Bytes of all chunks it has.
    pub fn capacity(&self) -> usize {
        (0..self.count.get()).filter_map(|place| self.chunk(place)).map(|chunk| chunk.charge.bytes()).sum()
    }

    /// Uninitialised memory for `layout`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the chunk in hand has too little, and the pool no larger one or the budget no room for it. Nothing
    /// is taken then.
    #[inline]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.current().bump.try_alloc_layout(layout) {
            Ok(start) => Ok(start),
            Err(_) => self.grow(layout),
        }
    }

    /// Moves `value` into the scratch.
    ///
    /// # Errors
    ///
    /// As [`try_alloc_layout`](Self::try_alloc_layout); the value is gone then.
    #[inline]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, AllocError> {
        let () = NoDrop::<T>::CHECKED;
        let mut place = self.try_alloc_layout(Layout::new::<T>())?.cast::<T>();
        // SAFETY: aligned, valid for a write, and nobody else's.
        unsafe { place.write(value) };
        // SAFETY: just initialised; it stays where it is while the scratch is borrowed (invariant 1).
        Ok(unsafe { place.as_mut() })
    }

    /// Copies `source` into the scratch.
    ///
    /// # Errors
    ///
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    pub fn try_alloc_slice_copy<T: Copy>(&self, source: &[T]) -> Result<&mut [T], AllocError> {
        let start = self.try_alloc_layout(Layout::for_value(source))?.cast::<T>();
        // SAFETY: valid for `source.len()` elements, and nobody else's, so disjoint from `source`.
        unsafe { start.as_ptr().copy_from_nonoverlapping(source.as_ptr(), source.len()) };
        // SAFETY: just initialised; they stay where they are while the scratch is borrowed (invariant 1).
        Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), source.len()) })
    }

    /// A slice of `len` elements, each set to `value`.
    ///
    /// # Errors
    ///
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    pub fn try_alloc_slice_fill<T: Copy>(&self, len: usize, value: T) -> Result<&mut [T], AllocError> {
        let start = self.try_alloc_layout(array::<T>(len)?)?.cast::<std::mem::MaybeUninit<T>>();
        // SAFETY: aligned, valid for `len` elements and nobody else's; uninitialised memory is a valid `MaybeUninit`. It stays
        // where it is while the scratch is borrowed (invariant 1).
        let places = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) };
        for place in places.iter_mut() {
            place.write(value);
        }
        // SAFETY: every element was written above.
        Ok(unsafe { places.assume_init_mut() })
    }

    /// Copies a string into the scratch.
    ///
    /// # Errors
    ///
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    pub fn try_alloc_str(&self, source: &str) -> Result<&mut str, AllocError> {
        let bytes = self.try_alloc_slice_copy(source.as_bytes())?;
        // SAFETY: the bytes are a copy of a string.
        Ok(unsafe { std::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Forgets everything allocated so far, in O(1), and keeps the largest chunk.
    pub fn reset(&mut self) {
        let last = self.count.replace(1) - 1;
        self.chunks.swap(0, last);
        for place in &mut self.chunks[1..=last] {
            place.get_mut().take().into_iter().for_each(|chunk| self.home.take_back(chunk));
        }
        if let Some(chunk) = self.chunks[0].get_mut() {
            chunk.bump.reset();
        }
    }

    #[inline]
    fn current(&self) -> &Chunk {
        self.chunk(self.count.get() - 1).expect("a scratch has its current chunk until it drops")
    }

    #[inline]
    fn chunk(&self, place: usize) -> Option<&Chunk> {
        // SAFETY: only `grow` writes through a shared scratch, to a place that nothing borrows because it is empty; and only
        // one thread has the scratch, because it is not `Sync`.
        unsafe { &*self.chunks[place].get() }.as_ref()
    }

    /// Allocates in a larger chunk, which becomes the current one.
    #[cold]
    fn grow(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let need = layout.size().saturating_add(layout.align());
        let exhausted = AllocError::Exhausted { need: layout.size(), have: self.bytes_left() };
        let count = self.count.get();
        let class = (self.current().class + 1).max(class_of(need.min(self.home.bytes_max)));
        if class >= self.home.classes.len() || count == CHUNKS_MAX {
            return Err(exhausted);
        }
        if self.capacity() + (SCRATCH_BYTES_MIN << class) > self.bytes_max {
            return Err(exhausted);
        }
        let chunk = self.home.chunk(class)?;
        let Ok(start) = chunk.bump.try_alloc_layout(layout) else {
            self.home.take_back(chunk);
            return Err(exhausted);
        };
        // SAFETY: the place is empty, so nothing borrows from it; and only one thread has the scratch, because it is not `Sync`.
        unsafe { *self.chunks[count].get() = Some(chunk) };
        self.count.set(count + 1);
        Ok(start)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for place in &mut self.chunks[..self.count.get()] {
            place.get_mut().take().into_iter().for_each(|chunk| self.home.take_back(chunk));
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scratch").field("left", &self.bytes_left()).finish_non_exhaustive()
    }
}
