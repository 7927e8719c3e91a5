//! Handles: pointers that can be stored anywhere and are checked before they are followed.

use std::fmt;
use std::ptr::NonNull;

/// Names a `T` in one generation of one arena. `Copy`, without a lifetime, 16 bytes; 24 for a slice or a `str`.
///
/// Made only by [`Writer::alloc_handle`](crate::Writer::alloc_handle) and its kin, which return no reference, and
/// followed only by [`Lease::resolve`](crate::Lease::resolve), which compares generations first.
///
/// It holds an address and the generation's number, which names one generation of one arena of the process for ever: a
/// handle of another arena is as stale as one from before a reset.
///
/// A value that needs its destructor run has no handle:
/// ```compile_fail,E0080
/// # let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("words"));
/// arena.coordinator().writer().unwrap().alloc_handle(String::from("never dropped"));
/// ```
pub struct Handle<T: ?Sized + 'static> {
    address: NonNull<T>,
    generation: u64,
}

impl<T: ?Sized> Handle<T> {
    pub(crate) fn new(address: NonNull<T>, generation: u64) -> Self {
        Self { address, generation }
    }

    /// The generation it was made in.
    #[inline]
    pub fn generation(self) -> u64 {
        self.generation
    }

    #[inline]
    pub(crate) fn address(self) -> NonNull<T> {
        self.address
    }
}

impl<T: ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Handle<T> {}

impl<T: ?Sized> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation
            && std::ptr::addr_eq(self.address.as_ptr(), other.address.as_ptr())
    }
}

impl<T: ?Sized> Eq for Handle<T> {}

impl<T: ?Sized> fmt::Debug for Handle<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("generation", &self.generation).finish_non_exhaustive()
    }
}

// SAFETY: a handle is a name. It gives access to its `T` only through `Lease::resolve`, which asks for `T: Sync`.
unsafe impl<T: ?Sized> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> Sync for Handle<T> {}
