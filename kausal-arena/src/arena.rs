//! The arena: the owner of growing or fixed memory that is given back as a whole.
//!
//! 1. One subsystem owns one `Arena`. It is neither `Clone` nor `Copy`; moving it invalidates nothing, because its
//!    state lives at a stable address.
//! 2. Children get an [`ArenaCoordinator`], which keeps working after moves and resets, or a [`Scope`], which borrows.
//! 3. Only the owner resets, in O(1): [`Arena::reset`] if nobody holds the generation, [`Arena::retire`] if
//!    somebody may, in which case the old memory goes with its last lease.
//!
//! Not here: regions that are handed round and come back ([`RegionPool`](crate::RegionPool)).

use std::fmt;

use crate::body::{Body, Hold};
use crate::budget::Budget;
use crate::chunk_pool::ChunkPool;
use crate::coordinator::{ArenaCoordinator, Control};
use crate::error::{AllocError, LeaseHolders, ResetRefused, SubsystemRefused};
use crate::scope::Scope;
use crate::subsystem::{ChildArena, Subsystem};
use crate::sync::Arc;

/// What a reset keeps for the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// All chunks, their pages warm: refilling them faults no page in.
    Capacity,
    /// Chunks of up to so many bytes in all.
    UpTo(usize),
    /// Nothing: every chunk goes back to the chunk pool, or to the operating system. A fixed arena keeps its one chunk all
    /// the same.
    Nothing,
}

/// What a reset did. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Were in use and are free for the next generation.
    pub reclaimed: usize,
    /// Were given back to the budget.
    pub returned: usize,
}

/// What an arena holds. Sizes in bytes; `used` is live + `dead` + `slack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaStats {
    /// Number of the current generation.
    pub generation: u64,
    /// Handed out in blocks, alignment and what writers have not used yet included.
    pub used: usize,
    /// Of these, overwritten: as far as writers said so with [`Writer::note_dead`](crate::Writer::note_dead).
    pub dead: usize,
    /// Of these, lost to tails of blocks and chunks that could not be given back.
    pub slack: usize,
    /// Charged to the budget; without the header in a fixed arena.
    pub capacity: usize,
    /// Chunks it consists of.
    pub chunks: usize,
    /// Leases on the current generation.
    pub leases: usize,
}

impl ArenaStats {
    /// Bytes in use that are neither known to be dead nor lost. Exact once every writer has dropped.
    pub fn live(&self) -> usize {
        self.used.saturating_sub(self.dead + self.slack)
    }
}

/// Owner of an arena.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, Budget, Retain};
///
/// let budget = Budget::root("parser", 1 << 20);
/// let mut arena = Arena::growing(&budget);
/// {
///     let scope = arena.scope();
///     let name = scope.try_alloc_str("kausal").unwrap();
///     assert_eq!(name, "kausal");
/// }
/// let released = arena.reset(Retain::Nothing).unwrap();
/// assert_eq!((budget.used(), released.returned > 0), (0, true));
/// ```
///
/// A reference does not survive a reset:
/// ```compile_fail,E0502
/// # use kausal_arena::{Arena, Budget, Retain};
/// # let mut arena = Arena::growing(&Budget::unlimited("parser"));
/// let scope = arena.scope();
/// let name = scope.try_alloc_str("kausal").unwrap();
/// arena.reset(Retain::Capacity).unwrap();
/// assert_eq!(name, "kausal");
/// ```
///
/// An arena is moved, never copied:
/// ```compile_fail,E0599
/// # use kausal_arena::{Arena, Budget};
/// # let arena = Arena::growing(&Budget::unlimited("parser"));
/// let second_owner = arena.clone();
/// ```
pub struct Arena {
    control: Arc<Control>,
}

/// How a body of an arena is made.
#[derive(Clone)]
pub(crate) enum Shape {
    Growing(Option<ChunkPool>),
    Fixed(usize),
}

impl Shape {
    fn body(&self, budget: &Budget) -> Result<Box<Body>, AllocError> {
        match self {
            Self::Growing(pool) => Ok(Body::growing(budget, pool.clone())),
            Self::Fixed(bytes) => Body::fixed(budget, *bytes),
        }
    }
}

impl Arena {
    /// An arena that obtains chunks from the system as it fills, charged to `budget`. Obtains nothing yet.
    pub fn growing(budget: &Budget) -> Self {
        Self::with_body(budget, Shape::Growing(None), Body::growing(budget, None))
    }

    /// An arena that draws its chunks from `pool` and gives them back to it. Obtains nothing yet.
    pub fn pooled(budget: &Budget, pool: &ChunkPool) -> Self {
        let body = Body::growing(budget, Some(pool.clone()));
        Self::with_body(budget, Shape::Growing(Some(pool.clone())), body)
    }

    /// An arena of one contiguous chunk of at least `bytes` (header of 128 included), at most 4 GiB, charged to `budget`
    /// at once. What is allocated in it has `u32` offsets.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget or the operating system refuses.
    pub fn fixed(budget: &Budget, bytes: usize) -> Result<Self, AllocError> {
        let shape = Shape::Fixed(bytes);
        let body = shape.body(budget)?;
        Ok(Self::with_body(budget, shape, body))
    }

    fn with_body(budget: &Budget, shape: Shape, body: Box<Body>) -> Self {
        Self { control: Arc::new(Control::new(budget.clone(), shape, Hold::first(body))) }
    }

    /// A handle for children, valid for as long as anybody keeps it.
    pub fn coordinator(&self) -> ArenaCoordinator {
        ArenaCoordinator::new(Arc::clone(&self.control))
    }

    /// A borrowed door: what is allocated through it cannot outlive it, and a reset does not compile meanwhile.
    #[track_caller]
    pub fn scope(&self) -> Scope<'_> {
        Scope::new(self.coordinator().writer().expect("the owner of the arena is borrowed"))
    }

    /// A child whose arena is charged to a node of its own below this arena's, and that cannot outlive this borrow. See
    /// [`Subsystem`] for the form that can be stored.
    ///
    /// # Errors
    ///
    /// [`SubsystemRefused`] if the budget has no room for the node.
    pub fn child(&self, name: &'static str, ceiling: usize) -> Result<ChildArena<'_>, SubsystemRefused> {
        Ok(ChildArena::new(Subsystem::new(&self.coordinator(), name, ceiling)?))
    }

    /// Ends the generation and begins the next. O(1) in the number of allocations, and with [`Retain::Capacity`] in
    /// everything; otherwise O(chunks).
    ///
    /// # Errors
    ///
    /// [`ResetRefused`] if a lease or a writer on the generation lives; nothing has changed then.
    ///
    /// # Panics
    ///
    /// In debug builds, if something was written past the end of a chunk.
    pub fn reset(&mut self, retain: Retain) -> Result<Released, ResetRefused> {
        let mut current = self.control.current.lock();
        let hold = current.as_mut().expect("the body is taken out only by drop");
        // The lock keeps new leases away, and the count says whether there are old ones.
        let Some(body) = hold.get_mut() else {
            let (generation, leases) = (hold.generation(), hold.lease_count());
            drop(current);
            let mut holders = self.control.budget.leases();
            holders.retain(|lease| lease.generation == generation);
            return Err(ResetRefused { generation, leases, holders: LeaseHolders(holders) });
        };
        let (reclaimed, returned) = body.reset(retain);
        Ok(Released { reclaimed, returned })
    }

    /// Ends the generation although somebody may still read it: the next one begins at once in new memory, and the
    /// old memory goes back to the budget, and to the chunk pool if there is one, when its last lease ends.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory for the new generation of a fixed arena; the old one goes on then.
    pub fn retire(&mut self) -> Result<(), AllocError> {
        let next = Hold::first(self.control.shape.body(&self.control.budget)?);
        let old = self.control.current.lock().replace(next);
        // Outside the lock: this may free the old memory.
        drop(old);
        Ok(())
    }

    /// What the arena holds now.
    pub fn stats(&self) -> ArenaStats {
        self.coordinator().stats().expect("the owner of the arena is borrowed")
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let current = self.control.current.lock().take();
        drop(current);
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arena")
            .field("name", &self.control.budget.name())
            .field("stats", &self.stats())
            .finish()
    }
}
