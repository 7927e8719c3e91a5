//! Subsystems: an arena below an arena, with a node of its own in the budget.
//!
//! 1. [`Subsystem::new`] takes the parent's coordinator and makes, in one step, a budget node below the parent's, an arena
//!    charged to it that draws its chunks from the parent's pool, and that arena's coordinator.
//! 2. It leases the parent's generation under its name: while a child lives, the parent's reset is refused and names it.
//! 3. Dropping it gives its chunks back, and then lets the parent go.
//!
//! It may be moved, stored and sent: the memory architecture's sketch of this pattern kept the address of a local variable
//! instead.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::arena::{Arena, ArenaStats, Released, Retain, Shape};
use crate::coordinator::ArenaCoordinator;
use crate::error::{ResetRefused, SubsystemRefused};
use crate::lease::Lease;
use crate::scope::Scope;

/// A local arena, charged below a parent's.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, Budget, Retain, Subsystem};
///
/// let budget = Budget::root("server", 1 << 20);
/// let mut parent = Arena::growing(&budget);
/// let child = Subsystem::new(&parent.coordinator(), "session", 64 << 10).unwrap();
/// let child = Box::new(child); // moving it changes nothing
/// child.scope().alloc_str("hello");
/// assert!(budget.used() > 0);
/// assert!(parent.reset(Retain::Nothing).unwrap_err().to_string().contains("session"));
/// drop(child);
/// assert_eq!(budget.used(), 0);
/// parent.reset(Retain::Nothing).unwrap();
/// ```
pub struct Subsystem {
    // The order is that of dropping: first the child's memory, then its claim on the parent.
    arena: Arena,
    coordinator: ArenaCoordinator,
    parent: Lease,
}

impl Subsystem {
    /// A child of the arena behind `parent`, holding at most `ceiling` bytes. It is called `name` in the budget, and so is
    /// its lease on the parent.
    ///
    /// # Errors
    ///
    /// [`SubsystemRefused`] if the parent's owner is gone or the budget refuses.
    pub fn new(
        parent: &ArenaCoordinator,
        name: &'static str,
        ceiling: usize,
    ) -> Result<Self, SubsystemRefused> {
        let lease = parent.lease_named(name)?;
        let control = parent.control();
        let node = control.budget.child(name, 0, ceiling)?;
        let arena = match &control.shape {
            Shape::Growing(Some(pool)) => Arena::pooled(&node, pool),
            Shape::Growing(None) | Shape::Fixed(_) => Arena::growing(&node),
        };
        Ok(Self { coordinator: arena.coordinator(), arena, parent: lease })
    }

    /// The local coordinator, for children of this child.
    pub fn coordinator(&self) -> &ArenaCoordinator {
        &self.coordinator
    }

    /// A borrowed door to the local arena.
    #[track_caller]
    pub fn scope(&self) -> Scope<'_> {
        self.arena.scope()
    }

    /// Ends the local generation, as [`Arena::reset`].
    ///
    /// # Errors
    ///
    /// [`ResetRefused`] if somebody holds it.
    pub fn reset(&mut self, retain: Retain) -> Result<Released, ResetRefused> {
        self.arena.reset(retain)
    }

    /// What the local arena holds now.
    pub fn stats(&self) -> ArenaStats {
        self.arena.stats()
    }

    /// The lease that keeps the parent from being reset.
    pub fn parent(&self) -> &Lease {
        &self.parent
    }
}

impl fmt::Debug for Subsystem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subsystem").field("arena", &self.arena).field("parent", &self.parent).finish()
    }
}

/// A [`Subsystem`] that borrows its parent, so that outliving it, or resetting the parent meanwhile, does not compile.
///
/// ```compile_fail,E0505
/// # use kausal_arena::{Arena, Budget};
/// let parent = Arena::growing(&Budget::unlimited("server"));
/// let child = parent.child("session", 64 << 10).unwrap();
/// drop(parent);
/// child.scope().alloc_str("too late");
/// ```
pub struct ChildArena<'parent> {
    subsystem: Subsystem,
    parent: PhantomData<&'parent Arena>,
}

impl ChildArena<'_> {
    pub(crate) fn new(subsystem: Subsystem) -> Self {
        Self { subsystem, parent: PhantomData }
    }

    /// Ends the local generation, as [`Arena::reset`].
    ///
    /// # Errors
    ///
    /// [`ResetRefused`] if somebody holds it.
    pub fn reset(&mut self, retain: Retain) -> Result<Released, ResetRefused> {
        self.subsystem.reset(retain)
    }
}

impl Deref for ChildArena<'_> {
    type Target = Subsystem;

    fn deref(&self) -> &Subsystem {
        &self.subsystem
    }
}

impl fmt::Debug for ChildArena<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subsystem.fmt(out)
    }
}
