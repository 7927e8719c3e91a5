//! Growing vectors and strings in an arena.
//!
//! 1. An [`ArenaVec`] takes its memory from a [`Writer`]. While it is what the writer allocated last, it grows in place.
//! 2. Otherwise growing moves it to twice the room, and what it leaves behind is counted as dead.
//! 3. [`ArenaVec::into_slice`] gives back the room behind the last element, if nothing was allocated since.
//!
//! Not here: vectors that free. Feature `allocator-api2` lets other collections live in an arena.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::alloc::{NoDrop, array};
use crate::error::AllocError;
use crate::writer::{Writer, granted};

/// Elements that a vector has room for at its first push.
const CAPACITY_MIN: usize = 4;

/// A growing vector whose elements lie in an arena. Elements have no destructor.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, ArenaVec, Budget};
///
/// let arena = Arena::growing(&Budget::unlimited("squares"));
/// let scope = arena.scope();
/// let mut squares = ArenaVec::new(&scope);
/// for number in 0..100_u64 {
///     squares.push(number * number);
/// }
/// let squares: &[u64] = squares.into_slice();
/// assert_eq!(squares[99], 9801);
/// ```
pub struct ArenaVec<'writer, T> {
    start: NonNull<T>,
    len: usize,
    capacity: usize,
    writer: &'writer Writer,
}

impl<'writer, T> ArenaVec<'writer, T> {
    /// An empty vector; takes no memory yet.
    pub fn new(writer: &'writer Writer) -> Self {
        let () = NoDrop::<T>::CHECKED;
        let capacity = if size_of::<T>() == 0 { usize::MAX } else { 0 };
        Self { start: NonNull::dangling(), len: 0, capacity, writer }
    }

    /// An empty vector with room for `capacity` elements.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing is taken then.
    pub fn try_with_capacity(writer: &'writer Writer, capacity: usize) -> Result<Self, AllocError> {
        let mut vec = Self::new(writer);
        vec.try_reserve(capacity)?;
        Ok(vec)
    }

    /// Elements it has room for without growing.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds an element at the end. O(1) amortised.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    #[inline]
    pub fn push(&mut self, value: T) {
        granted(self.try_push(value));
    }

    /// Adds an element at the end. O(1) amortised.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the vector is as before.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        if self.len == self.capacity {
            self.try_reserve(1)?;
        }
        // SAFETY: there is room for another element, in memory that is this vector's.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: aligned and valid for a write, as above.
        unsafe { place.write(value) };
        self.len += 1;
        Ok(())
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was the last of the elements.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: initialised, and no longer counted: it is read once.
        Some(unsafe { place.read() })
    }

    /// Forgets the elements from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for `more` elements. Grows at least twofold.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the vector is as before.
    pub fn try_reserve(&mut self, more: usize) -> Result<(), AllocError> {
        let max = isize::MAX as usize;
        let need = self.len.checked_add(more).ok_or(AllocError::TooLarge { bytes: usize::MAX, max })?;
        if need <= self.capacity {
            return Ok(());
        }
        let wish = need.max(self.capacity.saturating_mul(2)).max(CAPACITY_MIN);
        self.grow_to(wish).or_else(|error| if wish > need { self.grow_to(need) } else { Err(error) })
    }

    /// The elements, for as long as the writer is borrowed. Gives back the room behind them if nothing was allocated since.
    pub fn into_slice(self) -> &'writer mut [T] {
        if size_of::<T>() > 0 {
            let (old, new) = (self.capacity * size_of::<T>(), self.len * size_of::<T>());
            // SAFETY: the memory came from this writer, and what lies behind the elements is nobody's but ours.
            unsafe { self.writer.resize_last(self.start.cast(), old, new) };
        }
        // SAFETY: `len` initialised elements that are ours alone; the writer, which pins them, is borrowed as long.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    fn grow_to(&mut self, capacity: usize) -> Result<(), AllocError> {
        let layout = array::<T>(capacity)?;
        let old_bytes = self.capacity * size_of::<T>();
        // SAFETY: the memory came from this writer; growing gives nothing up.
        if unsafe { self.writer.resize_last(self.start.cast(), old_bytes, layout.size()) } {
            self.capacity = capacity;
            return Ok(());
        }
        let target = self.writer.try_alloc_layout(layout)?.cast::<T>();
        // SAFETY: both are valid for `len` elements, and new memory is disjoint from old.
        unsafe { self.start.copy_to_nonoverlapping(target, self.len) };
        self.writer.note_dead(old_bytes);
        (self.start, self.capacity) = (target, capacity);
        Ok(())
    }
}

impl<T: Copy> ArenaVec<'_, T> {
    /// Copies `source` to the end. One `memcpy`.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    pub fn extend_from_slice(&mut self, source: &[T]) {
        granted(self.try_extend_from_slice(source));
    }

    /// Copies `source` to the end. One `memcpy`.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the vector is as before.
    pub fn try_extend_from_slice(&mut self, source: &[T]) -> Result<(), AllocError> {
        self.try_reserve(source.len())?;
        // SAFETY: there is room for `source.len()` more elements.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: valid for these elements, and ours alone, so disjoint from `source`.
        unsafe { place.as_ptr().copy_from_nonoverlapping(source.as_ptr(), source.len()) };
        self.len += source.len();
        Ok(())
    }
}

impl<T> Deref for ArenaVec<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements, borrowed with the vector.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for ArenaVec<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` initialised elements, borrowed exclusively with the vector.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Extend<T> for ArenaVec<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, source: I) {
        source.into_iter().for_each(|value| self.push(value));
    }
}

impl<T: fmt::Debug> fmt::Debug for ArenaVec<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

/// A growing string whose bytes lie in an arena. `write!` works on it.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Arena, ArenaString, Budget};
/// use std::fmt::Write;
///
/// let arena = Arena::growing(&Budget::unlimited("messages"));
/// let scope = arena.scope();
/// let mut message = ArenaString::new(&scope);
/// write!(message, "{} bottles", 99).unwrap();
/// assert_eq!(message.into_str(), "99 bottles");
/// ```
pub struct ArenaString<'writer> {
    bytes: ArenaVec<'writer, u8>,
}

impl<'writer> ArenaString<'writer> {
    /// An empty string; takes no memory yet.
    pub fn new(writer: &'writer Writer) -> Self {
        Self { bytes: ArenaVec::new(writer) }
    }

    /// Adds `text` at the end.
    ///
    /// # Panics
    ///
    /// If the memory is refused.
    pub fn push_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Adds `text` at the end.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the string is as before.
    pub fn try_push_str(&mut self, text: &str) -> Result<(), AllocError> {
        self.bytes.try_extend_from_slice(text.as_bytes())
    }

    /// The string, for as long as the writer is borrowed.
    pub fn into_str(self) -> &'writer mut str {
        // SAFETY: only whole strings were ever added.
        unsafe { std::str::from_utf8_unchecked_mut(self.bytes.into_slice()) }
    }
}

impl Deref for ArenaString<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: only whole strings were ever added.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
    }
}

impl fmt::Write for ArenaString<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_push_str(text).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for ArenaString<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

impl fmt::Display for ArenaString<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self)
    }
}
