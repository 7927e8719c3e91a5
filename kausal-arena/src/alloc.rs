//! The typed ways to allocate through a [`Writer`], each with its fallible twin.
//!
//! All of them take memory from [`Writer::try_alloc_layout`] and write it whole before anybody sees it. None admits a type
//! with a destructor: nobody would run it.

use std::alloc::Layout;
use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};
use std::slice;

use crate::error::AllocError;
use crate::handle::Handle;
use crate::writer::{Writer, granted};

/// Fails to compile for a type with a destructor.
pub(crate) struct NoDrop<T>(T);

impl<T> NoDrop<T> {
    pub(crate) const CHECKED: () = assert!(!mem::needs_drop::<T>(), "a bump arena runs no destructors");
}

/// A layout for `len` elements, or the error that says it is too large.
pub(crate) fn array<T>(len: usize) -> Result<Layout, AllocError> {
    let too_large = || AllocError::TooLarge { bytes: usize::MAX, max: isize::MAX as usize };
    Layout::array::<T>(len).map_err(|_| too_large())
}

#[expect(clippy::mut_from_ref, reason = "each call returns memory that nobody else has")]
impl Writer {
    /// Moves `value` into the arena.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc<T>(&self, value: T) -> &mut T {
        granted(self.try_alloc(value))
    }

    /// Moves `value` into the arena.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the value is gone then.
    #[inline]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, AllocError> {
        let mut place = self.place_value(value)?;
        // SAFETY:
        // - `place` is aligned, inside the leased memory and just initialised.
        // - It is this writer's alone (invariant 1) and the result borrows the writer, which holds a lease.
        Ok(unsafe { place.as_mut() })
    }

    /// Memory for a `T`, to be written by the caller.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_uninit<T>(&self) -> &mut MaybeUninit<T> {
        granted(self.try_alloc_uninit())
    }

    /// Memory for a `T`, to be written by the caller.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_uninit<T>(&self) -> Result<&mut MaybeUninit<T>, AllocError> {
        let () = NoDrop::<T>::CHECKED;
        let mut place = self.try_alloc_layout(Layout::new::<T>())?.cast::<MaybeUninit<T>>();
        // SAFETY: aligned, in the leased memory, nobody else's; uninitialised memory is a valid `MaybeUninit`.
        Ok(unsafe { place.as_mut() })
    }

    /// Memory for `len` elements, to be written by the caller.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_uninit_slice<T>(&self, len: usize) -> &mut [MaybeUninit<T>] {
        granted(self.try_alloc_uninit_slice(len))
    }

    /// Memory for `len` elements, to be written by the caller.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_uninit_slice<T>(&self, len: usize) -> Result<&mut [MaybeUninit<T>], AllocError> {
        let () = NoDrop::<T>::CHECKED;
        let start = self.try_alloc_layout(array::<T>(len)?)?.cast::<MaybeUninit<T>>();
        // SAFETY: aligned and valid for `len` elements, nobody else's; uninitialised memory is a valid `MaybeUninit`.
        Ok(unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Copies `source` into the arena. One bump and one `memcpy`.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_slice_copy<T: Copy>(&self, source: &[T]) -> &mut [T] {
        granted(self.try_alloc_slice_copy(source))
    }

    /// Copies `source` into the arena. One bump and one `memcpy`.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_slice_copy<T: Copy>(&self, source: &[T]) -> Result<&mut [T], AllocError> {
        let mut place = self.place_slice(source)?;
        // SAFETY: the elements were just initialised, belong to nobody else, and the result borrows this writer.
        Ok(unsafe { place.as_mut() })
    }

    /// A slice of `len` elements, element `n` being `make(n)`.
    ///
    /// # Panics
    ///
    /// If the memory is refused, or `make` panics; the memory stays taken then.
    #[inline]
    pub fn alloc_slice_fill_with<T>(&self, len: usize, make: impl FnMut(usize) -> T) -> &mut [T] {
        granted(self.try_alloc_slice_fill_with(len, make))
    }

    /// A slice of `len` elements, element `n` being `make(n)`.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then, and `make` was not called.
    ///
    /// # Panics
    ///
    /// If `make` does; the memory stays taken then.
    #[inline]
    pub fn try_alloc_slice_fill_with<T>(
        &self,
        len: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> Result<&mut [T], AllocError> {
        let places = self.try_alloc_uninit_slice(len)?;
        for (number, place) in places.iter_mut().enumerate() {
            place.write(make(number));
        }
        // SAFETY: every element was written above.
        Ok(unsafe { places.assume_init_mut() })
    }

    /// Copies a string into the arena.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_str(&self, source: &str) -> &mut str {
        granted(self.try_alloc_str(source))
    }

    /// Copies a string into the arena.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_str(&self, source: &str) -> Result<&mut str, AllocError> {
        let bytes = self.try_alloc_slice_copy(source.as_bytes())?;
        // SAFETY: the bytes are a copy of a string.
        Ok(unsafe { std::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Moves `value` into the arena and returns a name for it, to be read through any lease on this generation.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_handle<T: 'static>(&self, value: T) -> Handle<T> {
        granted(self.try_alloc_handle(value))
    }

    /// Moves `value` into the arena and returns a name for it, to be read through any lease on this generation.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the value is gone then.
    #[inline]
    pub fn try_alloc_handle<T: 'static>(&self, value: T) -> Result<Handle<T>, AllocError> {
        Ok(Handle::new(self.place_value(value)?, self.lease().generation()))
    }

    /// Copies `source` into the arena and returns a name for the copy.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn alloc_handle_slice_copy<T: Copy + 'static>(&self, source: &[T]) -> Handle<[T]> {
        granted(self.try_alloc_handle_slice_copy(source))
    }

    /// Copies `source` into the arena and returns a name for the copy.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_alloc_handle_slice_copy<T: Copy + 'static>(
        &self,
        source: &[T],
    ) -> Result<Handle<[T]>, AllocError> {
        Ok(Handle::new(self.place_slice(source)?, self.lease().generation()))
    }

    /// Copies something that lives elsewhere, another arena say, into this one. A reference to the original need not
    /// outlive the copy; see [`Lease::dupe`](crate::Lease::dupe) for what a handle names.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn dupe<T: Copy>(&self, source: &T) -> &mut T {
        granted(self.try_dupe(source))
    }

    /// Copies something that lives elsewhere, another arena say, into this one.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    #[inline]
    pub fn try_dupe<T: Copy>(&self, source: &T) -> Result<&mut T, AllocError> {
        self.try_alloc(*source)
    }

    #[inline]
    fn place_value<T>(&self, value: T) -> Result<NonNull<T>, AllocError> {
        let () = NoDrop::<T>::CHECKED;
        let place = self.try_alloc_layout(Layout::new::<T>())?.cast::<T>();
        // SAFETY: `place` is aligned for `T` and valid for a write of it.
        unsafe { place.as_ptr().write(value) };
        Ok(place)
    }

    #[inline]
    fn place_slice<T: Copy>(&self, source: &[T]) -> Result<NonNull<[T]>, AllocError> {
        let target = self.try_alloc_layout(Layout::for_value(source))?.cast::<T>();
        // SAFETY: `target` is aligned and valid for `source.len()` elements, and disjoint from `source`, because
        // no byte is handed out twice (invariant 1).
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), source.len()) };
        Ok(NonNull::slice_from_raw_parts(target, source.len()))
    }
}
