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
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::body::Body;
use crate::budget::Budget;
use crate::error::{AllocError, ArenaClosed, ResetRefused};
use crate::lease::Lease;
use crate::writer::Writer;

/// Size of the first chunk of a growing arena; each further one is twice the largest.
const FIRST_CHUNK_BYTES: usize = 4 << 10;

/// What a reset keeps for the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// All chunks, their pages warm: refilling them faults no page in.
    Capacity,
    /// Chunks of up to so many bytes in all.
    UpTo(usize),
    /// Nothing: every chunk goes back to the operating system. A fixed arena keeps its one chunk all the same.
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

/// What an arena holds. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaStats {
    /// Number of the current generation.
    pub generation: u64,
    /// In use, alignment and block tails included.
    pub used: usize,
    /// Of these, lost to tails that could not be given back.
    pub slack: usize,
    /// Charged to the budget.
    pub capacity: usize,
    /// Leases on the current generation.
    pub leases: usize,
}

/// The stable part of an arena, shared with its coordinators.
struct Control {
    /// The body of the current generation; `None` once the owner is gone.
    current: Mutex<Option<Arc<Body>>>,
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
    budget: Budget,
    shape: Shape,
}

/// How a body of this arena is made.
#[derive(Clone, Copy)]
enum Shape {
    Growing,
    Fixed(usize),
}

impl Shape {
    fn body(self, budget: &Budget) -> Result<Body, AllocError> {
        match self {
            Self::Growing => Ok(Body::growing(budget, FIRST_CHUNK_BYTES)),
            Self::Fixed(bytes) => Body::fixed(budget, bytes, Weak::new()),
        }
    }
}

impl Arena {
    /// An arena that obtains chunks as it fills, charged to `budget`. Obtains nothing yet.
    pub fn growing(budget: &Budget) -> Self {
        Self::with_body(budget, Shape::Growing, Body::growing(budget, FIRST_CHUNK_BYTES))
    }

    /// An arena of one contiguous chunk of at least `bytes`, at most 4 GiB, charged to `budget` at once.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget or the operating system refuses.
    pub fn fixed(budget: &Budget, bytes: usize) -> Result<Self, AllocError> {
        let shape = Shape::Fixed(bytes);
        Ok(Self::with_body(budget, shape, shape.body(budget)?))
    }

    fn with_body(budget: &Budget, shape: Shape, body: Body) -> Self {
        let control = Arc::new(Control { current: Mutex::new(Some(Arc::new(body))) });
        Self { control, budget: budget.clone(), shape }
    }

    /// A handle for children, valid for as long as anybody keeps it.
    pub fn coordinator(&self) -> ArenaCoordinator {
        ArenaCoordinator { control: Arc::clone(&self.control) }
    }

    /// A borrowed door: what is allocated through it cannot outlive it, and a reset does not compile meanwhile.
    pub fn scope(&self) -> Scope<'_> {
        let lease = self.coordinator().lease().expect("the owner of the arena is borrowed");
        Scope { writer: lease.writer(), arena: PhantomData }
    }

    /// Ends the generation and begins the next. O(1) in the number of allocations.
    ///
    /// # Errors
    ///
    /// [`ResetRefused`] if a lease or a writer on the generation lives; nothing has changed then.
    pub fn reset(&mut self, retain: Retain) -> Result<Released, ResetRefused> {
        let keep_bytes = match retain {
            Retain::Capacity => usize::MAX,
            Retain::UpTo(bytes) => bytes,
            Retain::Nothing => 0,
        };
        let mut current = self.control.current.lock();
        let shared = current.as_mut().expect("the body is taken out only by drop");
        let (generation, leases) = (shared.generation(), shared.lease_count());
        // Exclusive access to the body is the proof that no lease lives; each keeps a reference to it.
        let Some(body) = Arc::get_mut(shared) else { return Err(ResetRefused { generation, leases }) };
        let (reclaimed, returned) = body.reset(keep_bytes);
        Ok(Released { reclaimed, returned })
    }

    /// Ends the generation although somebody may still read it: the next one begins at once in new memory, and the
    /// old memory goes back to the budget when its last lease ends.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory for the new generation of a fixed arena; the old one goes on then.
    pub fn retire(&mut self) -> Result<(), AllocError> {
        let next = Arc::new(self.shape.body(&self.budget)?);
        let old = self.control.current.lock().replace(next);
        old.expect("the body is taken out only by drop").release();
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
        if let Some(body) = current {
            body.release();
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arena").field("name", &self.budget.name()).field("stats", &self.stats()).finish()
    }
}

/// Cheap handle to somebody else's arena. 8 bytes, `Clone + Send + Sync`; survives moves of the owner and resets,
/// and answers [`ArenaClosed`] when the owner is gone. It cannot reset.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, ArenaClosed, Budget};
///
/// fn child() -> kausal_arena::ArenaCoordinator {
///     let arena = Arena::growing(&Budget::unlimited("short-lived"));
///     arena.coordinator()
/// }
/// assert_eq!(child().lease().unwrap_err(), ArenaClosed);
/// ```
#[derive(Clone)]
pub struct ArenaCoordinator {
    control: Arc<Control>,
}

impl ArenaCoordinator {
    /// Pins the current generation.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    pub fn lease(&self) -> Result<Lease, ArenaClosed> {
        // Under the lock the owner cannot end the generation between the look and the hold.
        let current = self.control.current.lock();
        current.as_ref().map(Lease::new).ok_or(ArenaClosed)
    }

    /// A pen on the current generation.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    pub fn writer(&self) -> Result<Writer, ArenaClosed> {
        Ok(Writer::new(self.lease()?))
    }

    /// What the arena holds now.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    pub fn stats(&self) -> Result<ArenaStats, ArenaClosed> {
        let current = self.control.current.lock();
        let body = current.as_ref().ok_or(ArenaClosed)?;
        Ok(ArenaStats {
            generation: body.generation(),
            used: body.used(),
            slack: body.lost(),
            capacity: body.capacity(),
            leases: body.lease_count(),
        })
    }
}

impl fmt::Debug for ArenaCoordinator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ArenaCoordinator").field("stats", &self.stats()).finish()
    }
}

/// A borrowed door to an arena: a [`Writer`] that cannot outlive the borrow.
///
/// A scope does not leave the function that owns the arena:
/// ```compile_fail,E0515
/// fn broken() -> kausal_arena::Scope<'static> {
///     let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("local"));
///     arena.scope()
/// }
/// ```
#[derive(Debug)]
pub struct Scope<'arena> {
    writer: Writer,
    arena: PhantomData<&'arena Arena>,
}

impl Deref for Scope<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}
