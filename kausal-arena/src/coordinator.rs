//! The coordinator: what children get of an arena, instead of the arena.
//!
//! 1. It reaches the arena through a control block at a stable address, so it survives moves of the owner, resets and
//!    retirements, and outlives the owner, after which it answers [`ArenaClosed`].
//! 2. It leases and writes. It has nothing that resets: only who has the [`Arena`](crate::Arena) does that.

use std::fmt;

use crate::arena::{ArenaStats, Shape};
use crate::body::Hold;
use crate::budget::Budget;
use crate::error::ArenaClosed;
use crate::lease::Lease;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::writer::Writer;

/// The stable part of an arena, shared with its coordinators.
pub(crate) struct Control {
    pub(crate) budget: Budget,
    pub(crate) shape: Shape,
    /// The owner's hold on the current generation; `None` once the owner is gone.
    pub(crate) current: Mutex<Option<Hold>>,
}

impl Control {
    pub(crate) fn new(budget: Budget, shape: Shape, hold: Hold) -> Self {
        Self { budget, shape, current: Mutex::new(Some(hold)) }
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
///
/// It cannot reset:
/// ```compile_fail,E0599
/// # let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("short-lived"));
/// arena.coordinator().reset(kausal_arena::Retain::Nothing);
/// ```
#[derive(Clone)]
pub struct ArenaCoordinator {
    control: Arc<Control>,
}

impl ArenaCoordinator {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Pins the current generation. A lock and a counter.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    #[track_caller]
    pub fn lease(&self) -> Result<Lease, ArenaClosed> {
        Ok(Lease::new(self.hold()?))
    }

    /// Pins the current generation under a name that stands in the memory report, with its age, until the lease ends.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::{Arena, Budget, Retain};
    ///
    /// let budget = Budget::root("sessions", 1 << 20);
    /// let mut arena = Arena::growing(&budget);
    /// let lease = arena.coordinator().lease_named("nightly export").unwrap();
    /// assert!(budget.report().to_string().contains("leased by nightly export"));
    /// assert!(arena.reset(Retain::Nothing).unwrap_err().to_string().contains("nightly export"));
    /// ```
    pub fn lease_named(&self, name: &'static str) -> Result<Lease, ArenaClosed> {
        Ok(Lease::named(self.hold()?, name, None))
    }

    /// A pen on the current generation.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    #[track_caller]
    pub fn writer(&self) -> Result<Writer, ArenaClosed> {
        Ok(Writer::new(self.lease()?))
    }

    /// Number of the current generation.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    pub fn generation(&self) -> Result<u64, ArenaClosed> {
        self.current().as_ref().map(|hold| hold.generation()).ok_or(ArenaClosed)
    }

    fn current(&self) -> MutexGuard<'_, Option<Hold>> {
        self.control.current.lock()
    }

    fn hold(&self) -> Result<Hold, ArenaClosed> {
        // Under the lock the owner cannot end the generation between the look and the hold.
        self.current().clone().ok_or(ArenaClosed)
    }

    /// What the arena holds now.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    pub fn stats(&self) -> Result<ArenaStats, ArenaClosed> {
        let current = self.current();
        let body = current.as_ref().ok_or(ArenaClosed)?;
        Ok(ArenaStats {
            generation: body.generation(),
            used: body.used(),
            dead: body.dead(),
            slack: body.lost(),
            capacity: body.capacity(),
            chunks: body.chunk_count(),
            leases: body.lease_count(),
        })
    }
}

impl fmt::Debug for ArenaCoordinator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ArenaCoordinator").field("stats", &self.stats()).finish()
    }
}
