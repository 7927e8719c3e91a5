//! The lease: a counted, `'static` door that reads one generation and keeps it from ending.
//!
//! 1. `ArenaCoordinator::lease` and `Region::lease` make one; cloning makes another.
//! 2. As long as any lease on a generation lives, its memory is neither reused nor freed (body invariant 1).
//! 3. A [`Handle`] is resolved against the lease's generation: one made in another generation, of this or any
//!    other arena, is a typed error.
//! 4. A lease with a name, and every lease while tracing is on, stands in the memory report until it ends.
//!
//! Not here: allocation. A lease reads and pins; a [`Writer`] writes.

use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::time::Instant;

use crate::body::{Body, Hold};
use crate::budget::{LeaseOwner, LeaseRecord, Ticket};
use crate::error::StaleHandle;
use crate::handle::Handle;
use crate::writer::Writer;

/// A counted hold on one generation of an arena. `Send`, `Sync`, `Clone`; 16 bytes. Cloning and dropping cost one counter
/// each, and a lock and a clock if the lease is in the memory report.
///
/// A lease reads; it has nothing that allocates, so a reader cannot grow the writer's arena:
/// ```compile_fail,E0599
/// # let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("names"));
/// let lease = arena.coordinator().lease().unwrap();
/// lease.alloc(7_u32);
/// ```
pub struct Lease {
    hold: Hold,
    ticket: Ticket,
}

impl Lease {
    /// Wraps a hold, and enters it in the report if the tree is being traced.
    #[track_caller]
    pub(crate) fn new(hold: Hold) -> Self {
        let ticket = if hold.budget().is_tracing() {
            enter(&hold, LeaseOwner::At(Location::caller()), None)
        } else {
            Ticket::NONE
        };
        Self { hold, ticket }
    }

    /// Wraps a hold that is in the report in any case, with `bytes` or what is in use now.
    pub(crate) fn named(hold: Hold, name: &'static str, bytes: Option<usize>) -> Self {
        let ticket = enter(&hold, LeaseOwner::Named(name), bytes);
        Self { hold, ticket }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.hold
    }

    /// A second lease on the same generation that stands in the memory report as `name`, holding `bytes`: for a value that
    /// is pinned for longer than a call.
    pub fn clone_named(&self, name: &'static str, bytes: usize) -> Self {
        Self::named(self.hold.clone(), name, Some(bytes))
    }

    /// The generation this lease reads; unique among all arenas of the process.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.body().generation()
    }

    /// Name of the arena's budget node.
    pub fn name(&self) -> &str {
        self.body().budget().name()
    }

    /// A pen on the leased generation, which holds a lease of its own.
    #[track_caller]
    pub fn writer(&self) -> Writer {
        Writer::new(Self::new(self.hold.clone()))
    }

    /// Start of a fixed region, to which offsets are relative; `None` for an arena that grows. The address stays
    /// the same and its memory stays mapped while this lease or a clone of it lives.
    #[inline]
    pub fn base(&self) -> Option<NonNull<u8>> {
        self.body().base()
    }

    /// Bytes in use in the leased generation, alignment and unused block tails included.
    pub fn used(&self) -> usize {
        self.body().used()
    }

    /// Reads what `handle` names. O(1): compares generations, and in a fixed region bounds; debug builds compare bounds in
    /// an arena that grows as well.
    ///
    /// # Errors
    ///
    /// [`StaleHandle`] if the handle was made in another generation than the leased one.
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::{Arena, Budget, Retain};
    ///
    /// let mut arena = Arena::growing(&Budget::unlimited("names"));
    /// let coordinator = arena.coordinator();
    /// let handle = coordinator.writer().unwrap().alloc_handle(42_u64);
    /// assert_eq!(*coordinator.lease().unwrap().resolve(handle).unwrap(), 42);
    /// arena.reset(Retain::Capacity).unwrap();
    /// assert!(coordinator.lease().unwrap().resolve(handle).is_err());
    /// ```
    #[inline]
    pub fn resolve<T: Sync + ?Sized + 'static>(&self, handle: Handle<T>) -> Result<&T, StaleHandle> {
        let stale = StaleHandle { made_in: handle.generation(), lease: self.generation() };
        if handle.generation() != self.generation() {
            return Err(stale);
        }
        // SAFETY:
        // - The handle was made by a writer of this very generation (numbers are process-wide unique), so it points
        //   to a live, initialised `T` in the memory this lease holds (body invariants 1 and 3).
        // - Nobody has or will have a `&mut T` to it: `alloc_handle` returned none.
        // - `T: Sync`, so reading it from this thread is allowed, and the handle reached us by a happens-before edge,
        //   as every non-atomic value does.
        let value = unsafe { handle.address().as_ref() };
        // The generation decides; this would catch a mistake in here.
        let is_checked = cfg!(debug_assertions) || self.base().is_some();
        let bytes = size_of_val(value);
        if is_checked && bytes > 0 && !self.body().contains(std::ptr::from_ref(value).addr(), bytes) {
            return Err(stale);
        }
        Ok(value)
    }

    /// Copies the slice that `handle` names into another arena: the one way across a reset.
    ///
    /// # Errors
    ///
    /// [`DupeRefused`](crate::DupeRefused) if the handle is stale here, or `target` has no room.
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::{Arena, Budget, Retain};
    ///
    /// let budget = Budget::unlimited("service");
    /// let (mut first, second) = (Arena::growing(&budget), Arena::growing(&budget));
    /// let handle = first.coordinator().writer().unwrap().alloc_handle_slice_copy(b"survives");
    /// let copy = first.coordinator().lease().unwrap().dupe(handle, &second.scope()).unwrap();
    /// first.reset(Retain::Nothing).unwrap();
    /// assert_eq!(second.coordinator().lease().unwrap().resolve(copy).unwrap(), b"survives");
    /// ```
    pub fn dupe<T: Copy + Sync + 'static>(
        &self,
        handle: Handle<[T]>,
        target: &Writer,
    ) -> Result<Handle<[T]>, crate::DupeRefused> {
        Ok(target.try_alloc_handle_slice_copy(self.resolve(handle)?)?)
    }
}

fn enter(hold: &Hold, owner: LeaseOwner, bytes: Option<usize>) -> Ticket {
    let bytes = bytes.unwrap_or_else(|| hold.used());
    hold.budget().enter_lease(LeaseRecord {
        owner,
        generation: hold.generation(),
        bytes,
        since: Instant::now(),
    })
}

impl Clone for Lease {
    #[track_caller]
    fn clone(&self) -> Self {
        match self.body().budget().lease_record(self.ticket) {
            Some(LeaseRecord { owner: LeaseOwner::Named(name), bytes, .. }) => self.clone_named(name, bytes),
            _ => Self::new(self.hold.clone()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The register is not on the way of a lease that is not in it: a release after long work finds every line cold.
        if self.ticket != Ticket::NONE {
            self.body().budget().leave_lease(self.ticket);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lease")
            .field("arena", &self.name())
            .field("generation", &self.generation())
            .finish()
    }
}
