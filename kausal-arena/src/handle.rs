//! Handles: pointers that can be stored anywhere and are checked before they are followed.

use std::fmt;
use std::ptr::NonNull;

/// Names a `T` in one generation of one arena. `Copy`, without a lifetime, 16 bytes.
///
/// Made only by [`Writer::try_alloc_handle`](crate::Writer::try_alloc_handle), which returns no reference, and
/// followed only by [`Lease::resolve`](crate::Lease::resolve), which compares generations first.
pub struct Handle<T: 'static> {
    address: NonNull<T>,
    generation: u64,
}

impl<T> Handle<T> {
    pub(crate) fn new(address: NonNull<T>, generation: u64) -> Self {
        Self { address, generation }
    }

    /// The generation it was made in.
    pub fn generation(self) -> u64 {
        self.generation
    }

    pub(crate) fn address(self) -> NonNull<T> {
        self.address
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.generation == other.generation
    }
}

impl<T> Eq for Handle<T> {}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("generation", &self.generation).finish_non_exhaustive()
    }
}

// SAFETY: a handle is a name. It gives access to its `T` only through `Lease::resolve`, which asks for `T: Sync`.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}
