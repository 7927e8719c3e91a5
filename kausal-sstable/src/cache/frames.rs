//! Frames: the memory of blocks, and the one word each that says who may look at it.
//!
//! A frame is a run of pages in a slab. Its header lies elsewhere, in an array that lives as long as the cache, so that a
//! reader with an old number in hand touches a header that is still one. The state word of a header is
//!
//! | bits | field |
//! |---|---|
//! | 0–27 | pins: how many look at the frame, plus those about to find out that they may not |
//! | 28 | live: the frame holds the block that the header names |
//! | 29 | orphan: the cache is gone, and the frame keeps its memory alive |
//! | 32–63 | hits, counted by the same addition that pins; wraps around |
//!
//! 1. A reader pins first (one `fetch_add`) and looks afterwards: live, and the key it wants? If not, it takes the pin back.
//! 2. An evictor clears `live` only where no pin is left, by compare-and-swap. Whoever pins later sees that.
//!    Whoever peeks at it without a pin is found by his hazard, see `peek`: then it is made live again.
//! 3. The frame's new user fills it, writes the header, and sets `live` by an addition, which keeps the pins of readers
//!    that came too late and have not left yet.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. While `live` is set and pins are left, or a hazard names the frame that was seen live after that, neither header nor
//!    bytes are written, and the slab stays. (Except for the credit of those who peek, in the header.)
//! 2. A frame that is not live belongs to one shard, and what was taken from its shard to one [`Filling`].
//! 3. Headers live as long as the cache's core, and the core as long as the cache or an orphan.
//! 4. All pages of a frame have been written, at least with zeros, before anybody has a reference into them.
//!
//! Not here: which frame goes. The shard decides that, under its lock.

#![expect(unsafe_code, reason = "bytes of frames as references, counted by their state words")]

use std::alloc::Layout;
use std::fmt;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use kausal_arena::sync::{AtomicU64, Ordering, fence};
use kausal_arena::{AllocError, Arena, Budget, Lease};

use super::core::Core;
use super::key::BlockKey;
use super::peek::Hazards;
use crate::ids::FileNumber;
use crate::prefetch;

/// The smallest frame, and what all of them are multiples of. A model's is smaller: it has to be made a hundred thousand
/// times.
pub(super) const PAGE_BYTES: usize = if cfg!(any(loom, shuttle)) { 128 } else { 4 << 10 };

/// Pages of the smallest slab and of the largest: powers of two. The largest has the size of a huge page, so that a look into it
/// finds the translation of its address at hand.
pub(super) const SLAB_PAGES_MIN: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };
pub(super) const SLAB_PAGES_MAX: usize = if cfg!(any(loom, shuttle)) { 2 } else { 512 };

/// Pages of the largest frame: at most half of a slab, which has lost a page.
pub(super) const FRAME_PAGES_MAX: usize = if cfg!(any(loom, shuttle)) { 1 } else { 128 };

/// Pages of the smallest slab whose chunk is mapped, in units that are larger than a page.
const MAPPED_PAGES_MIN: usize = if cfg!(any(loom, shuttle)) { 2 } else { 256 };

/// What is obtained for a slab of `pages` pages. A page goes to the header of the arena's chunk: one more, so that frames of
/// powers of two fill the rest; but one of its own where the chunk is mapped.
pub(super) const fn slab_bytes(pages: usize) -> usize {
    if pages < MAPPED_PAGES_MIN { (pages + 1) * PAGE_BYTES } else { pages * PAGE_BYTES }
}

/// One header a page, two to a line. On lines of their own the pins of two hot neighbours would not disturb each other, but
/// there would be a hundredth fewer blocks, and half as many headers near at hand.
pub(super) const HEADER_BYTES: usize = 32;

const PIN: u64 = 1;
const PINS: u64 = (1 << 28) - 1;
/// So many pins only come of leaking them; a count that wrapped would let a pinned frame go.
const PINS_ALARM: u64 = 1 << 27;
const LIVE: u64 = 1 << 28;
const ORPHAN: u64 = 1 << 29;
const HIT: u64 = 1 << 32;

// Acquire: pairs with the Release in `publish`; who sees the frame live sees its header and bytes.
#[cfg(not(kausal_planted = "cache_pin_relaxed"))]
const PINNING: Ordering = Ordering::Acquire;
#[cfg(kausal_planted = "cache_pin_relaxed")]
const PINNING: Ordering = Ordering::Relaxed;

// Release: pairs with the Acquire in `try_evict`; what was read under the pin was read before the frame's next user writes.
#[cfg(not(kausal_planted = "cache_unpin_relaxed"))]
const UNPINNING: Ordering = Ordering::Release;
#[cfg(kausal_planted = "cache_unpin_relaxed")]
const UNPINNING: Ordering = Ordering::Relaxed;

/// High bits of a [`Header`]'s `offset`, for the credit of those who peek. No file is longer than the rest can say.
const CREDIT_BITS: u32 = 8;
const OFFSET_BITS: u32 = u64::BITS - CREDIT_BITS;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;
/// Credit that is not added to: no policy wants to know of more, and a hot header is not written.
const CREDIT_MAX: u64 = 3;

/// Low bits of a [`Header`]'s `extent`, for the length.
const LEN_BITS: u32 = 20;
const _: () = assert!(PAGE_BYTES * FRAME_PAGES_MAX < 1 << LEN_BITS);

/// What is known of a frame by everybody.
#[repr(align(32))]
pub(super) struct Header {
    state: AtomicU64,
    file: AtomicU64,
    /// And credit above it: see [`CREDIT_BITS`].
    offset: AtomicU64,
    /// Where the bytes begin, in pages, and how many there are: see [`LEN_BITS`]. Of an exposed address.
    extent: AtomicU64,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// What became of an attempt to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    Done,
    Pinned,
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            file: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            extent: AtomicU64::new(0),
        }
    }

    /// The key in the header. Means something to the shard's owner and to whoever has pinned the frame.
    #[inline]
    pub(super) fn key(&self) -> BlockKey {
        // Relaxed: written before `live` was set, and read after it was seen (invariant 1).
        let (file, offset) = (self.file.load(Ordering::Relaxed), self.offset.load(Ordering::Relaxed));
        BlockKey { file: FileNumber(file), offset: offset & OFFSET }
    }

    /// Hits so far, those of readers who are about to take theirs back included. Wraps around.
    pub(super) fn hits(&self) -> u32 {
        (self.state.load(Ordering::Relaxed) >> 32) as u32
    }

    /// The frame's block, if it is `key` and live, with credit to the frame. The caller's hazard names the frame, and was
    /// fenced.
    #[inline]
    pub(super) fn see(&self, key: &BlockKey) -> Option<Seen> {
        // Acquire: as `PINNING`.
        if self.state.load(Ordering::Acquire) & LIVE == 0 || self.key() != *key {
            return None;
        }
        let offset = self.offset.load(Ordering::Relaxed);
        if offset >> OFFSET_BITS < CREDIT_MAX {
            // Relaxed, and no read-modify-write: two readers at once may give one credit between them. The offset stays.
            self.offset.store(offset + (1 << OFFSET_BITS), Ordering::Relaxed);
        }
        self.extent()
    }

    /// Pins the frame that the caller's hazard names, and that was seen live since. Not if an evictor is looking at the hazards
    /// in this moment: it may have passed the caller's by when that is gone.
    #[inline]
    fn pin_seen(&self) -> bool {
        let before = self.state.fetch_add(PIN, PINNING);
        if before & (LIVE | PINS_ALARM) == LIVE {
            return true;
        }
        alarm(before);
        // Relaxed: nothing was read under this pin.
        self.state.fetch_sub(PIN, Ordering::Relaxed);
        false
    }

    /// Where the bytes of a block that is kept live by a pin or a hazard are.
    #[inline]
    fn extent(&self) -> Option<Seen> {
        // Relaxed: the caller's Acquire saw the frame live, and it stays as it is (invariant 1).
        let extent = self.extent.load(Ordering::Relaxed);
        let start = ptr::with_exposed_provenance_mut((extent >> LEN_BITS) as usize * PAGE_BYTES);
        Some(Seen { bytes: NonNull::new(start)?, len: (extent & ((1 << LEN_BITS) - 1)) as usize })
    }

    /// Asks for the end of the frame's block, where a look-up begins. If the frame is another block's by now the hint is wasted.
    #[inline]
    pub(super) fn ask_for_end(&self) {
        // Relaxed, and of a frame that nothing keeps: the address is asked for, never read.
        let extent = self.extent.load(Ordering::Relaxed);
        let start = ptr::with_exposed_provenance::<u8>((extent >> LEN_BITS) as usize * PAGE_BYTES);
        prefetch::before(start.wrapping_add((extent & ((1 << LEN_BITS) - 1)) as usize));
    }

    /// Credit of those who peeked since this was asked last. Under the shard's lock; one that comes at this moment may be
    /// counted again, or not at all.
    pub(super) fn take_credit(&self) -> u32 {
        let offset = self.offset.load(Ordering::Relaxed);
        let credit = offset >> OFFSET_BITS;
        if credit > 0 {
            self.offset.store(offset & OFFSET, Ordering::Relaxed);
        }
        credit as u32
    }

    /// Whether somebody peeked since [`take_credit`](Self::take_credit).
    pub(super) fn has_credit(&self) -> bool {
        self.offset.load(Ordering::Relaxed) >> OFFSET_BITS > 0
    }

    /// Whether anybody pins the frame now.
    pub(super) fn is_pinned(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & LIVE != 0 && state & PINS != 0
    }

    /// Pins the frame, counting a hit, if it holds the block `key`.
    #[inline]
    fn pin(&self, key: &BlockKey) -> bool {
        let before = self.state.fetch_add(HIT | PIN, PINNING);
        if before & (LIVE | PINS_ALARM) == LIVE && self.key() == *key {
            return true;
        }
        self.pin_in_vain(before);
        false
    }

    #[cold]
    fn pin_in_vain(&self, before: u64) {
        alarm(before);
        // Relaxed: nothing was read that a later user of the frame might write but the key, which is atomic.
        self.state.fetch_sub(HIT | PIN, Ordering::Relaxed);
    }

    /// Makes the frame nobody's if nobody pins it or peeks at it: `frame` is its number. The shard's owner calls this.
    pub(super) fn try_evict(&self, frame: u32, hazards: &Hazards) -> Eviction {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & PINS != 0 {
                return Eviction::Pinned;
            }
            // Acquire: pairs with the Release of every unpinning, see `UNPINNING`.
            match self.state.compare_exchange_weak(state, state & !LIVE, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if hazards.name(frame) {
            // Release: as in `publish`. Nothing was changed; who came meanwhile has missed it, and reads it anew.
            self.state.fetch_or(LIVE, Ordering::Release);
            return Eviction::Pinned;
        }
        Eviction::Done
    }

    /// The cache is going: whoever pins this frame keeps `core` alive from now on. Returns whether somebody does.
    pub(super) fn orphan(&self, core: &Arc<Core>) -> bool {
        let keep = Arc::into_raw(Arc::clone(core));
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LIVE != 0 && state & PINS != 0 {
            // Release: pairs with the Acquire fence of the last to unpin, who takes over the count taken here.
            match self.state.compare_exchange_weak(
                state,
                state | ORPHAN,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        // SAFETY: the count taken above is given back, once: nobody was told of it.
        drop(unsafe { Arc::from_raw(keep) });
        false
    }
}

/// Ends the process if `state` has more pins than any program holds: a wrapped count would let a pinned frame go.
#[inline]
fn alarm(state: u64) {
    if state & PINS_ALARM != 0 {
        std::process::abort();
    }
}

/// Contiguous pages that are obtained and given back together.
pub(super) struct Slab {
    first: NonNull<u8>,
    pages: usize,
    /// Before the arena: the fields drop in order, and an arena with a lease lives on.
    _lease: Lease,
    _arena: Arena,
}

// SAFETY: the address is that of memory leased by the next field, tied to no thread; who may touch which page is what the
// invariants of this file say.
unsafe impl Send for Slab {}

impl Slab {
    /// A slab of `bytes` bytes; a page of them is lost to alignment, or two. Panics if the system places it above 2⁵⁶ bytes,
    /// where no user's memory lies. `counted` is where the arena counts it, which
    /// is not where it is charged: the caller's reservations move between the classes of blocks.
    pub(super) fn obtain(counted: &Budget, bytes: usize) -> Result<Self, AllocError> {
        let arena = Arena::fixed(counted, bytes)?;
        let capacity = arena.stats().capacity;
        let pen = arena.coordinator().writer().expect("the arena was just made");
        let layout =
            Layout::from_size_align(capacity, 1).expect("an arena is smaller than the address space");
        let start = pen.try_alloc_layout(layout)?;
        let padding = start.as_ptr().align_offset(PAGE_BYTES).min(capacity);
        // SAFETY: within what was just allocated, or just past it.
        let first = unsafe { start.add(padding) };
        let pages = (capacity - padding) / PAGE_BYTES;
        // A header names a page by its number, beside the length of the block.
        let last = first.as_ptr().addr() + bytes;
        assert!(last / PAGE_BYTES < 1 << (u64::BITS - LEN_BITS), "an address of more than 56 bits");
        let lease = pen.lease().clone();
        Ok(Self { first, pages, _lease: lease, _arena: arena })
    }

    /// Whole pages in it.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Number of its first page, counted from address 0. Of an exposed address.
    pub(super) fn first_page(&self) -> u64 {
        (self.first.as_ptr().expose_provenance() / PAGE_BYTES) as u64
    }

    /// Where page `page` begins.
    pub(super) fn page(&self, page: usize) -> NonNull<u8> {
        assert!(page < self.pages, "page {page} of a slab of {}", self.pages);
        // SAFETY: within the slab.
        unsafe { self.first.add(page * PAGE_BYTES) }
    }
}

/// A frame that is being filled: taken from its shard, nobody's yet.
pub(super) struct Filling {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a frame in the making belongs to whoever has this (invariant 2), whatever thread that is.
unsafe impl Send for Filling {}

impl Filling {
    /// The `bytes` bytes from `start`; zeroed first unless all of them `were_written` before.
    ///
    /// # Safety
    ///
    /// These are whole pages of one slab, were taken from their shard for this, and are given back, and their slab with
    /// them, only when the result has been published or dropped.
    pub(super) unsafe fn new(start: NonNull<u8>, bytes: usize, were_written: bool) -> Self {
        if !were_written {
            // SAFETY: within the slab and nobody else's (this function's contract).
            unsafe { start.write_bytes(0, bytes) };
        }
        Self { start, bytes }
    }

    /// The first `len` bytes.
    pub(super) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.bytes, "{len} bytes in a frame of {}", self.bytes);
        // SAFETY:
        // - initialised (invariant 4) and within the frame.
        // - nobody else reads or writes them: the frame is ours (invariant 2), and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), len) }
    }

    /// Lets the frame be found as the block `key` of `len` bytes: live, with one pin, which is the result's. `header` is the
    /// frame's, and this comes under the lock of its shard.
    pub(super) fn publish(
        self,
        core: &Arc<Core>,
        header: &Header,
        key: &BlockKey,
        len: usize,
    ) -> PinnedBlock {
        assert!(len <= self.bytes, "{len} bytes in a frame of {}", self.bytes);
        let pages = self.start.as_ptr().expose_provenance() / PAGE_BYTES;
        // Relaxed, all three: the frame is not live, so nobody believes them yet.
        header.file.store(key.file.0, Ordering::Relaxed);
        header.offset.store(key.offset & OFFSET, Ordering::Relaxed);
        header.extent.store((pages as u64) << LEN_BITS | len as u64, Ordering::Relaxed);
        // Release: pairs with the Acquire of `PINNING`. An addition, because pins in vain may be on their way out.
        header.state.fetch_add(LIVE | PIN, Ordering::Release);
        PinnedBlock { header: NonNull::from(header), core: address(core), bytes: self.start, len }
    }
}

/// Bytes of a block that somebody keeps where they are.
pub(super) struct Seen {
    bytes: NonNull<u8>,
    len: usize,
}

impl Seen {
    /// The block's contents.
    ///
    /// # Safety
    ///
    /// A hazard has named the frame since before it was seen live, and does so while the result lives.
    #[inline]
    pub(super) unsafe fn contents<'a>(&self) -> &'a [u8] {
        // SAFETY:
        // - the block's bytes lie within the frame and are initialised (invariant 4).
        // - nobody writes them and the slab stays while the hazard names the frame (invariant 1).
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

/// A block that stays where it is for as long as this lives. `Clone`, `Send`, `Sync`, `'static`; 32 bytes.
///
/// Making, cloning and dropping one costs one atomic addition each, on the frame's own word and nowhere else: it holds no
/// count on the cache. If the cache is dropped first, the frame keeps the cache's memory until its last pin is gone.
pub struct PinnedBlock {
    header: NonNull<Header>,
    core: NonNull<Core>,
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: it reads bytes that nobody writes (invariant 1) and counts through atomics.
unsafe impl Send for PinnedBlock {}
// SAFETY: as above.
unsafe impl Sync for PinnedBlock {}

impl PinnedBlock {
    /// The frame of `header`, pinned, if it holds the block `key`.
    #[inline]
    pub(super) fn pin(core: &Arc<Core>, header: &Header, key: &BlockKey) -> Option<Self> {
        if !header.pin(key) {
            return None;
        }
        let Seen { bytes, len } = header.extent()?;
        Some(Self { header: NonNull::from(header), core: address(core), bytes, len })
    }

    /// The block at which a hazard looks, pinned for longer than that.
    #[inline]
    pub(super) fn pin_seen(core: &Arc<Core>, header: &Header, seen: &Seen) -> Option<Self> {
        let Seen { bytes, len } = *seen;
        header.pin_seen().then(|| Self { header: NonNull::from(header), core: address(core), bytes, len })
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: a pinned frame's header is there (invariant 3).
        unsafe { self.header.as_ref() }
    }
}

/// The address that an `Arc` counts by.
#[inline]
fn address(core: &Arc<Core>) -> NonNull<Core> {
    NonNull::new(Arc::as_ptr(core).cast_mut()).expect("an `Arc` points somewhere")
}

impl Deref for PinnedBlock {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY:
        // - the block's bytes lie within the frame and are initialised (invariant 4).
        // - nobody writes them and the slab stays while this pin is there (invariant 1).
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for PinnedBlock {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for PinnedBlock {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: this pin keeps the frame, as the clone's will; who passes the clone on orders the two.
        alarm(self.header().state.fetch_add(PIN, Ordering::Relaxed));
        Self { ..*self }
    }
}

impl Drop for PinnedBlock {
    #[inline]
    fn drop(&mut self) {
        let before = self.header().state.fetch_sub(PIN, UNPINNING);
        if before & (ORPHAN | PINS) == ORPHAN | PIN {
            self.let_core_go();
        }
    }
}

impl PinnedBlock {
    #[cold]
    fn let_core_go(&self) {
        // Acquire: pairs with the Release of every other unpinning of this frame, and with that of `orphan`.
        fence(Ordering::Acquire);
        // SAFETY: `orphan` left one count for the last pin of this frame, and this was it: without the cache nobody pins
        // a frame that has no pins. The pointer is that of the `Arc`, see `address`.
        unsafe { Arc::decrement_strong_count(self.core.as_ptr()) };
    }
}

impl fmt::Debug for PinnedBlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PinnedBlock").field("bytes", &self.len).finish_non_exhaustive()
    }
}
