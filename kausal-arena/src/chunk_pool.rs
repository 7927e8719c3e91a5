//! The chunk pool: chunks that go round between arenas instead of back to the operating system.
//!
//! 1. Arenas made with [`Arena::pooled`](crate::Arena::pooled) take chunks of power-of-two sizes from the pool, and give
//!    them back when they drop, retire, or reset to less. A chunk out is charged to its arena's node, an idle one to the
//!    pool's: moving it moves the charge, in one step under the tree's lock.
//! 2. What comes back is a list, joined to the pool's inbox in O(1) whatever is in it. It is sorted by size later, by
//!    whoever takes: each chunk once.
//! 3. What the pool's node does not admit goes to the operating system. [`ChunkPool::shrink`] sends everything idle there.
//!
//! Invariant: the pool's charge is the size of its idle chunks, whenever its lock is free.

use std::fmt;

use crate::budget::{Budget, Reservation, Shrink};
use crate::chunk::{Chunk, ChunkList};
use crate::error::AllocError;
use crate::sync::Mutex;

/// Smallest chunk of the pool, and log2 of it.
pub(crate) const POOLED_BYTES_MIN: usize = 4 << 10;

/// Sizes from [`POOLED_BYTES_MIN`] to 2 GiB; larger chunks are not kept.
const CLASS_COUNT: usize = 20;

/// Chunks shared by many arenas. Cloning gives another handle on the same pool.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, Budget, ChunkPool};
///
/// let root = Budget::root("service", 8 << 20);
/// let pool = ChunkPool::new(&root.child("idle chunks", 0, 4 << 20).unwrap());
/// let requests = root.child("requests", 0, 4 << 20).unwrap();
/// for _ in 0..3 {
///     let arena = Arena::pooled(&requests, &pool);
///     arena.scope().alloc_slice_copy(&[7_u8; 100_000]);
/// }
/// assert!(requests.used() == 0 && pool.idle_bytes() >= 100_000);
/// pool.shrink(usize::MAX);
/// assert_eq!(root.used(), 0);
/// ```
#[derive(Clone)]
pub struct ChunkPool {
    shared: std::sync::Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    charge: Reservation,
    /// Came back and is not sorted yet.
    inbox: ChunkList,
    /// Place `n` has the chunks of `POOLED_BYTES_MIN << n` bytes.
    classes: [ChunkList; CLASS_COUNT],
}

impl ChunkPool {
    /// An empty pool whose idle chunks are charged to `budget`: at most its ceiling is kept. It lets them go when the
    /// budget's [`please_shrink`](Budget::please_shrink) asks.
    pub fn new(budget: &Budget) -> Self {
        let state = State {
            charge: Reservation::empty(budget),
            inbox: ChunkList::default(),
            classes: std::array::from_fn(|_| ChunkList::default()),
        };
        let shared = std::sync::Arc::new(Shared { state: Mutex::new(state) });
        let weak = std::sync::Arc::downgrade(&shared);
        budget.add_shrinker(weak);
        Self { shared }
    }

    /// Bytes of idle chunks.
    pub fn idle_bytes(&self) -> usize {
        self.shared.state.lock().charge.bytes()
    }

    /// Gives idle chunks of at least `bytes` in all back to the operating system and the budget, or all there are.
    /// Returns the bytes.
    pub fn shrink(&self, bytes: usize) -> usize {
        self.shared.shrink(bytes)
    }

    /// A chunk of at least `bytes`, charged to `charge`: an idle one, or a new one of a pooled size.
    pub(crate) fn take(&self, bytes: usize, charge: &mut Reservation) -> Result<Chunk, AllocError> {
        let Some(class) = class_for(bytes) else {
            let size = Chunk::size_for(bytes)?;
            return obtain(size, charge);
        };
        {
            let mut state = self.shared.state.lock();
            if let Some(chunk) = state.pop(class) {
                let moved = state.charge.transfer(charge, chunk.bytes());
                if let Err(error) = moved {
                    state.inbox.push(chunk);
                    return Err(error);
                }
                return Ok(chunk);
            }
        }
        obtain(POOLED_BYTES_MIN << class, charge)
    }

    /// Takes `chunks` and their charge back; what the pool's node does not admit is freed. O(1) if it admits all.
    pub(crate) fn give(&self, mut chunks: ChunkList, charge: &mut Reservation) {
        let mut freed = ChunkList::default();
        let mut state = self.shared.state.lock();
        while charge.transfer(&mut state.charge, chunks.bytes()).is_err() {
            match chunks.pop() {
                Some(chunk) => freed.push(chunk),
                None => break,
            }
        }
        state.inbox.append(chunks);
        drop(state);
        free(freed, charge);
    }
}

/// Gives `chunks` back to the operating system, and then their charge.
pub(crate) fn free(chunks: ChunkList, charge: &mut Reservation) {
    let left = charge.bytes() - chunks.bytes();
    drop(chunks);
    charge.shrink_to(left);
}

/// A new chunk of exactly `bytes`, charged to `charge` before it exists.
pub(crate) fn obtain(bytes: usize, charge: &mut Reservation) -> Result<Chunk, AllocError> {
    let before = charge.bytes();
    charge.resize(before.saturating_add(bytes))?;
    Chunk::obtain(bytes).inspect_err(|_| charge.shrink_to(before))
}

/// Place of the smallest pooled size that has `bytes`.
fn class_for(bytes: usize) -> Option<usize> {
    let size = bytes.max(POOLED_BYTES_MIN).checked_next_power_of_two()?;
    let class = (size / POOLED_BYTES_MIN).trailing_zeros() as usize;
    (class < CLASS_COUNT).then_some(class)
}

impl State {
    /// An idle chunk of the class.
    fn pop(&mut self, class: usize) -> Option<Chunk> {
        if let Some(chunk) = self.classes[class].pop() {
            return Some(chunk);
        }
        while let Some(chunk) = self.inbox.pop() {
            match class_for(chunk.bytes()) {
                Some(found) if POOLED_BYTES_MIN << found == chunk.bytes() => {
                    if found == class {
                        return Some(chunk);
                    }
                    self.classes[found].push(chunk);
                }
                // Not of a pooled size: an arena asked for more than the largest.
                _ => {
                    let bytes = chunk.bytes();
                    drop(chunk);
                    self.charge.shrink_to(self.charge.bytes() - bytes);
                }
            }
        }
        None
    }

    fn pop_any(&mut self) -> Option<Chunk> {
        self.inbox.pop().or_else(|| self.classes.iter_mut().rev().find_map(ChunkList::pop))
    }
}

impl Shrink for Shared {
    fn shrink(&self, bytes: usize) -> usize {
        let mut state = self.state.lock();
        let mut freed = ChunkList::default();
        while freed.bytes() < bytes
            && let Some(chunk) = state.pop_any()
        {
            freed.push(chunk);
        }
        let count = freed.bytes();
        free(freed, &mut state.charge);
        count
    }
}

impl fmt::Debug for ChunkPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChunkPool").field("idle_bytes", &self.idle_bytes()).finish_non_exhaustive()
    }
}
