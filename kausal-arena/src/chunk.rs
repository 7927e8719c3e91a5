//! Chunks: the contiguous pieces of raw memory below every arena, and the only place that obtains them.
//!
//! 1. A chunk begins with a header of 16 bytes: a link, so that lists of chunks need no memory of their own, and its
//!    size. Large chunks are anonymous mappings, advised to use huge pages (a first touch of 64 MiB costs 10 ms in
//!    place of 30); small ones come from the global allocator.
//! 2. A [`ChunkList`] chains chunks. Joining two lists is O(1), whatever is in them: so is giving an arena's chunks back.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. From `base` on, `bytes` bytes are valid for reads and writes for as long as the chunk lives, wherever the
//!    `Chunk` itself moves. The header lies at their start and is written only through its `Chunk` or `ChunkList`.
//! 2. A chunk is in at most one list, and every chunk reached from a list's head belongs to that list.
//!
//! Not here: who uses which byte, and whose budget is charged. A chunk does not even know whether a byte was written.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use crate::error::AllocError;
use crate::guard;

/// From this size on a chunk is mapped: below it the page table work costs more than it saves.
const MAPPED_BYTES_MIN: usize = 1 << 20;

/// Mapped chunks are multiples of this, the largest page of the supported systems, so the kernel rounds nothing up.
const MAPPED_UNIT: usize = 64 << 10;

/// A huge page of the usual size. Where there is room, a mapping of this size or more begins at a multiple of it: what does not fill
/// one is served in small pages.
#[cfg(target_os = "linux")]
const HUGE_BYTES: usize = 2 << 20;

/// Alignment of every chunk: a cache line pair, as the adjacent-line prefetcher sees memory.
pub(crate) const CHUNK_ALIGN: usize = 128;

/// Bytes at the start of a chunk that are not its user's.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// Where an arena that grows begins in a chunk: on the first cache line that the header does not share. Directly behind the
/// header every object of 64 bytes would lie on two lines, and filling it cost a fifth more.
pub(crate) const PAYLOAD_OFFSET: usize = 64;

const _: () = assert!(HEADER_BYTES == 16 && size_of::<Chunk>() == 8);

#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    next: Option<NonNull<Header>>,
    bytes: usize,
}

/// One owned chunk.
pub(crate) struct Chunk {
    header: NonNull<Header>,
}

// SAFETY: a chunk is plain memory reached through its address; it is tied to no thread, and a shared `Chunk` only reads
// its size, which never changes. Whoever reads or writes the rest answers for races.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Size of the chunk that [`obtain`](Self::obtain) makes for `bytes`: what is to be charged before.
    pub(crate) fn size_for(bytes: usize) -> Result<usize, AllocError> {
        let unit = if bytes >= MAPPED_BYTES_MIN { MAPPED_UNIT } else { CHUNK_ALIGN };
        let max = isize::MAX as usize & !(unit - 1);
        if bytes > max {
            return Err(AllocError::TooLarge { bytes, max });
        }
        Ok(bytes.max(CHUNK_ALIGN).next_multiple_of(unit))
    }

    /// A chunk of `bytes` bytes, header included; a size that [`size_for`](Self::size_for) returned.
    pub(crate) fn obtain(bytes: usize) -> Result<Self, AllocError> {
        debug_assert_eq!(Self::size_for(bytes), Ok(bytes));
        let base = if bytes >= MAPPED_BYTES_MIN { map(bytes) } else { allocate(bytes) };
        let header = base.ok_or(AllocError::OutOfMemory { bytes })?.cast::<Header>();
        // SAFETY: the memory is new, aligned to 128, and larger than a header.
        unsafe { header.write(Header { next: None, bytes }) };
        let chunk = Self { header };
        // SAFETY: new memory behind the header, within the chunk.
        unsafe { guard::forbid(chunk.at(HEADER_BYTES), bytes - HEADER_BYTES) };
        // SAFETY: the canary's place lies at the end of the chunk and is nobody's.
        unsafe { guard::set_canary(chunk.at(chunk.end())) };
        Ok(chunk)
    }

    /// Where the chunk begins.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.header.cast()
    }

    /// Address of the byte at `offset`, at most [`bytes`](Self::bytes).
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.bytes());
        // SAFETY: within the chunk or just past it (invariant 1).
        unsafe { self.base().add(offset) }
    }

    /// All bytes of the chunk: what is charged for it.
    pub(crate) fn bytes(&self) -> usize {
        // SAFETY: the header is initialised and its size never changes (invariant 1).
        unsafe { (*self.header.as_ptr()).bytes }
    }

    /// Offset of the first byte that is no longer its user's: the chunk's size, less the canary of debug builds.
    pub(crate) fn end(&self) -> usize {
        self.bytes() - guard::CANARY_BYTES
    }

    /// Checks the canary and makes the bytes from `offset` to `end` recognisable as dead, in debug builds and under the
    /// sanitizer; otherwise does nothing.
    ///
    /// # Safety
    ///
    /// Nobody reads or writes these bytes, now or later, without having been handed them anew.
    pub(crate) unsafe fn mark_dead(&self, offset: usize, end: usize) {
        if cfg!(any(debug_assertions, kausal_asan)) {
            // SAFETY: the canary was set when the chunk was obtained.
            guard::expect_whole(unsafe { guard::is_canary_whole(self.at(self.end())) });
            // SAFETY: within the chunk and nobody's (this function's contract).
            unsafe { guard::mark_dead(self.at(offset), end - offset) };
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = self.bytes();
        // SAFETY: the canary was set when the chunk was obtained.
        let is_whole = unsafe { guard::is_canary_whole(self.at(self.end())) };
        // SAFETY: the whole chunk; it goes back to where it came from.
        unsafe { guard::permit(self.base(), bytes) };
        if bytes >= MAPPED_BYTES_MIN {
            // SAFETY: mapped by `map` with this size, unmapped once, and nothing borrows from an owned chunk.
            unsafe { unmap(self.base(), bytes) };
        } else if let Ok(layout) = layout(bytes) {
            // SAFETY: came from `allocate` with this very layout and is freed once.
            unsafe { alloc::dealloc(self.base().as_ptr(), layout) };
        }
        // Last: the memory goes back in any case, as its charge does.
        guard::expect_whole(is_whole);
    }
}

fn layout(bytes: usize) -> Result<Layout, alloc::LayoutError> {
    Layout::from_size_align(bytes, CHUNK_ALIGN)
}

fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    let layout = layout(bytes).ok()?;
    // SAFETY: a chunk is at least CHUNK_ALIGN bytes, so the layout is not empty.
    NonNull::new(unsafe { alloc::alloc(layout) })
}

#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let base = if bytes < HUGE_BYTES { map_anywhere(bytes)? } else { map_aligned(bytes)? };
    // Advice only: a kernel without huge pages serves small ones.
    // SAFETY: advises the whole of the mapping just made; the advice changes no contents.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
    Some(base)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    map_anywhere(bytes)
}

#[cfg(unix)]
fn map_anywhere(bytes: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }.ok()?;
    NonNull::new(base.cast())
}

/// A mapping that begins at a multiple of [`HUGE_BYTES`], if there is room for one.
#[cfg(target_os = "linux")]
fn map_aligned(bytes: usize) -> Option<NonNull<u8>> {
    // Newer kernels choose such an address by themselves, if the size is a multiple as well.
    let base = map_anywhere(bytes)?;
    if base.as_ptr().addr().is_multiple_of(HUGE_BYTES) {
        return Some(base);
    }
    // SAFETY: mapped above with this size, and nobody was told.
    unsafe { unmap(base, bytes) };
    let Some(base) = bytes.checked_add(HUGE_BYTES).and_then(map_anywhere) else {
        // No room for more than is wanted.
        return map_anywhere(bytes);
    };
    let before = base.as_ptr().addr().next_multiple_of(HUGE_BYTES) - base.as_ptr().addr();
    // SAFETY: less than `HUGE_BYTES` before the end of what is wanted, so within the wider mapping.
    let aligned = unsafe { base.add(before) };
    // SAFETY: just past what is wanted, at most at the end of the wider mapping.
    let behind = unsafe { aligned.add(bytes) };
    for (end, surplus) in [(base, before), (behind, HUGE_BYTES - before)] {
        if surplus > 0 {
            // SAFETY: whole pages at an end of the mapping made above, which nobody was told of.
            unsafe { unmap(end, surplus) };
        }
    }
    Some(aligned)
}

#[cfg(not(unix))]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    allocate(bytes)
}

/// # Safety
///
/// `base` and `bytes` are whole pages of what came from [`map_anywhere`], and nobody uses them any more.
#[cfg(unix)]
unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: as this function's contract says. The kernel refuses only what is no mapping.
    let unmapped = unsafe { rustix::mm::munmap(base.as_ptr().cast(), bytes) };
    debug_assert!(unmapped.is_ok());
}

/// # Safety
///
/// `base` came from [`map`] with `bytes`, and nobody uses it any more.
#[cfg(not(unix))]
unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
    if let Ok(layout) = layout(bytes) {
        // SAFETY: as this function's contract says.
        unsafe { alloc::dealloc(base.as_ptr(), layout) };
    }
}

/// Chunks chained by their headers, the one put in last first. 32 bytes, no memory of its own.
#[derive(Default)]
pub(crate) struct ChunkList {
    head: Option<NonNull<Header>>,
    tail: Option<NonNull<Header>>,
    count: usize,
    bytes: usize,
}

// SAFETY: a list owns its chunks (invariant 2), which are `Send` and `Sync`; a shared list only reads headers.
unsafe impl Send for ChunkList {}
// SAFETY: as above.
unsafe impl Sync for ChunkList {}

impl ChunkList {
    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The chunk put in last.
    pub(crate) fn first(&self) -> Option<&Chunk> {
        // SAFETY: `Chunk` is a `NonNull<Header>` and nothing else, and the head belongs to this list (invariant 2), so
        // it may be lent as one for as long as the list is borrowed.
        self.head.as_ref().map(|head| unsafe { &*std::ptr::from_ref(head).cast::<Chunk>() })
    }

    /// Puts `chunk` first.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes();
        self.count += 1;
        let header = chunk.header;
        std::mem::forget(chunk);
        // SAFETY: the chunk was owned by the caller and is in no list (invariant 2).
        unsafe { (*header.as_ptr()).next = self.head };
        self.head = Some(header);
        self.tail = self.tail.or(self.head);
    }

    /// Takes the first chunk out.
    pub(crate) fn pop(&mut self) -> Option<Chunk> {
        let header = self.head?;
        // SAFETY: the head is a chunk of this list (invariant 2).
        self.head = unsafe { (*header.as_ptr()).next };
        if self.head.is_none() {
            self.tail = None;
        }
        let chunk = Chunk { header };
        self.bytes -= chunk.bytes();
        self.count -= 1;
        Some(chunk)
    }

    /// Takes the first chunk out that has at least `bytes` bytes. O(chunks before it).
    pub(crate) fn pop_fitting(&mut self, bytes: usize) -> Option<Chunk> {
        if self.first()?.bytes() >= bytes {
            return self.pop();
        }
        let mut before = self.head?;
        loop {
            // SAFETY: `before` is a chunk of this list (invariant 2).
            let header = unsafe { (*before.as_ptr()).next }?;
            // SAFETY: so is what it links to.
            let Header { next, bytes: found } = unsafe { header.read() };
            if found < bytes {
                before = header;
                continue;
            }
            // SAFETY: `before` is a chunk of this list, which is borrowed exclusively.
            unsafe { (*before.as_ptr()).next = next };
            if next.is_none() {
                self.tail = Some(before);
            }
            self.bytes -= found;
            self.count -= 1;
            return Some(Chunk { header });
        }
    }

    /// Puts all chunks of `other` behind those of this list. O(1).
    pub(crate) fn append(&mut self, mut other: Self) {
        match self.tail {
            // SAFETY: the tail is a chunk of this list, which is borrowed exclusively.
            Some(tail) => unsafe { (*tail.as_ptr()).next = other.head },
            None => self.head = other.head,
        }
        self.tail = other.tail.or(self.tail);
        self.count += other.count;
        self.bytes += other.bytes;
        other.head = None;
    }

    /// Calls `visit` with each chunk.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Chunk)) {
        let mut place = self.head;
        while let Some(header) = place {
            // The chunk stays the list's: it is only lent.
            let chunk = std::mem::ManuallyDrop::new(Chunk { header });
            visit(&chunk);
            // SAFETY: a chunk of this list (invariant 2), which is borrowed.
            place = unsafe { (*header.as_ptr()).next };
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for ChunkList {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
