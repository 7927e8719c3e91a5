//! The lease: a counted, `'static` door that reads one generation and keeps it from ending.
//!
//! 1. `ArenaCoordinator::lease` and `Region::lease` make one; cloning makes another.
//! 2. As long as any lease on a generation lives, its memory is neither reused nor freed (body invariant 1).
//! 3. A [`Handle`] is resolved against the lease's generation: one made in another generation, of this or any
//!    other arena, is a typed error.
//!
//! Not here: allocation. A lease reads and pins; a [`Writer`] writes.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::body::Body;
use crate::error::StaleHandle;
use crate::handle::Handle;
use crate::writer::Writer;

/// A counted hold on one generation of an arena. `Send`, `Sync`, `Clone`; costs two counter increments.
pub struct Lease {
    /// `None` only while dropping.
    body: Option<Arc<Body>>,
}

impl Lease {
    /// Wraps a hold that the caller has counted already.
    pub(crate) fn from_hold(body: Arc<Body>) -> Self {
        Self { body: Some(body) }
    }

    /// Counts a new hold and wraps it. The caller must know that the body's generation cannot end meanwhile.
    pub(crate) fn new(body: &Arc<Body>) -> Self {
        body.hold();
        Self::from_hold(Arc::clone(body))
    }

    pub(crate) fn body(&self) -> &Arc<Body> {
        self.body.as_ref().expect("a lease has its body until it drops")
    }

    /// The generation this lease reads; unique among all arenas of the process.
    pub fn generation(&self) -> u64 {
        self.body().generation()
    }

    /// Name of the arena's budget node.
    pub fn name(&self) -> &str {
        self.body().name()
    }

    /// A pen on the leased generation, which holds a lease of its own.
    pub fn writer(&self) -> Writer {
        Writer::new(self.clone())
    }

    /// Start of a fixed region, to which offsets are relative; `None` for an arena that grows. The address stays
    /// the same and its memory stays mapped while this lease or a clone of it lives.
    pub fn base(&self) -> Option<NonNull<u8>> {
        self.body().base()
    }

    /// Bytes in use in the leased generation, alignment and unused block tails included.
    pub fn used(&self) -> usize {
        self.body().used()
    }

    /// Reads what `handle` names. O(1): one comparison.
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
    /// let handle = coordinator.writer().unwrap().try_alloc_handle(42_u64).unwrap();
    /// assert_eq!(*coordinator.lease().unwrap().resolve(handle).unwrap(), 42);
    /// arena.reset(Retain::Capacity).unwrap();
    /// assert!(coordinator.lease().unwrap().resolve(handle).is_err());
    /// ```
    pub fn resolve<T: Sync + 'static>(&self, handle: Handle<T>) -> Result<&T, StaleHandle> {
        if handle.generation() != self.generation() {
            return Err(StaleHandle { made_in: handle.generation(), lease: self.generation() });
        }
        // SAFETY:
        // - The handle was made by a writer of this very generation (numbers are process-wide unique), so it points
        //   to a live, initialised `T` in the memory this lease holds (body invariants 1 and 3).
        // - Nobody has or will have a `&mut T` to it: `try_alloc_handle` returned none.
        // - `T: Sync`, so reading it from this thread is allowed, and the handle reached us by a happens-before edge,
        //   as every non-atomic value does.
        Ok(unsafe { handle.address().as_ref() })
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::new(self.body())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            body.release();
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
