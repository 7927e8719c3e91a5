//! The memory an adaptive radix tree lives in: links, the slots that hold them, and the region's base.
//!
//! A link is a `u32`: the offset of something aligned to 8 bytes from the base of the region, with what it is in the
//! three free bits. So a step down the tree knows the layout of the next node before it has touched it.
//!
//! | low three bits | what the link names |
//! |---|---|
//! | 0 | a leaf: one version of one key; offset 0 is nil |
//! | 1 … 6 | an inner node, by its [`Kind`](super::node::Kind) |
//!
//! The invariants cited by number are those of the folder's first page.

use std::alloc::Layout;
use std::ptr::NonNull;

use kausal_arena::sync::{AtomicU32, Ordering};
use kausal_arena::{AllocError, Lease, Writer, prefetch_line};

/// Alignment of everything a link names: three bits of an offset are free for the kind.
pub(super) const UNIT: usize = 8;

/// A cache line of the supported processors; only prefetching cares.
const LINE_BYTES: usize = 64;

const KIND_BITS: u32 = 0b111;

/// The name of a leaf or of an inner node, or nil.
///
/// Made only by [`Memory::link`] for what was just allocated, and by slots for what was stored in them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    pub(super) const NIL: Self = Self(0);

    #[inline]
    pub(super) fn is_nil(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.0 & KIND_BITS == 0 && self.0 != 0
    }

    /// Whether it names an inner node.
    #[inline]
    pub(super) fn is_node(self) -> bool {
        self.kind_bits() != 0
    }

    /// 0 for a leaf and for nil.
    #[inline]
    pub(super) fn kind_bits(self) -> u32 {
        self.0 & KIND_BITS
    }

    fn offset(self) -> usize {
        (self.0 & !KIND_BITS) as usize
    }
}

/// A place that holds a link; readers may load it at any time.
#[repr(transparent)]
pub(super) struct Slot(AtomicU32);

impl Slot {
    pub(super) fn new(link: Link) -> Self {
        Self(AtomicU32::new(link.0))
    }

    #[inline]
    pub(super) fn load(&self) -> Link {
        // Acquire: pairs with the Release in `store`; who follows the link sees what it names whole (invariant 1).
        Link(self.0.load(Ordering::Acquire))
    }

    pub(super) fn store(&self, link: Link) {
        // Release: pairs with the Acquire in `load`.
        #[cfg(not(kausal_planted = "art_relaxed_link"))]
        self.0.store(link.0, Ordering::Release);
        #[cfg(kausal_planted = "art_relaxed_link")]
        self.0.store(link.0, Ordering::Relaxed);
    }
}

/// Memory handed out by a pen and known to nobody else yet.
pub(super) struct Fresh {
    pub(super) start: NonNull<u8>,
    offset: u32,
    /// Bytes the pen lost before it to alignment.
    pub(super) padding: usize,
}

/// The leased region: its base, and the lease that keeps it.
pub(super) struct Memory {
    base: NonNull<u8>,
    _lease: Lease,
}

// SAFETY: what lies in the region is immutable or an atomic once others can reach it (invariant 2), and the base stays
// valid wherever this struct is (invariant 3).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(lease: Lease) -> Result<Self, AllocError> {
        let base = lease.base().ok_or(AllocError::NoOffsets)?;
        Ok(Self { base, _lease: lease })
    }

    /// `bytes` uninitialised bytes, aligned to [`UNIT`]; `bytes` must be a multiple of it, so that a pen used by this
    /// index alone never loses any to alignment.
    pub(super) fn allocate(&self, pen: &Writer, bytes: usize) -> Result<Fresh, AllocError> {
        debug_assert!(bytes.is_multiple_of(UNIT), "sizes are whole units");
        let too_large = AllocError::TooLarge { bytes, max: u32::MAX as usize };
        let layout = Layout::from_size_align(bytes, UNIT).map_err(|_| too_large)?;
        let left = pen.block_bytes_left();
        let (offset, start) = pen.try_alloc_offset(layout)?;
        let belongs = self.base.addr().get() + offset as usize == start.addr().get();
        assert!(belongs, "a pen writes in the generation that the index was created in");
        // A pen that took a new block begins at its start, which is aligned.
        let taken = left.wrapping_sub(pen.block_bytes_left());
        let padding = taken.wrapping_sub(bytes);
        Ok(Fresh { start, offset, padding: if padding < UNIT { padding } else { 0 } })
    }

    /// The name of what the caller has written to `fresh`: a leaf, or a node of the kind `kind_bits`.
    ///
    /// # Safety
    ///
    /// `fresh` has been initialised as what the kind says.
    pub(super) unsafe fn link(&self, fresh: &Fresh, kind_bits: u32) -> Link {
        debug_assert!(kind_bits <= KIND_BITS && fresh.offset & KIND_BITS == 0, "the bits are free");
        Link(fresh.offset | kind_bits)
    }

    /// Where what `link` names begins. Nobody may read nil.
    #[inline]
    pub(super) fn start(&self, link: Link) -> NonNull<u8> {
        // SAFETY: a link's offset lies within the region (invariants 1 and 3).
        unsafe { self.base.add(link.offset()) }
    }

    /// Brings the first two lines of what `link` names towards the processor: of a leaf header, key and some of the value,
    /// of most nodes all. Reads nothing.
    #[inline]
    pub(super) fn prefetch_start(&self, link: Link) {
        self.prefetch(link, 0);
        self.prefetch(link, LINE_BYTES);
    }

    /// The same, and the line behind, of a leaf that is going to be read whole.
    #[inline]
    pub(super) fn prefetch_entry(&self, leaf: Link) {
        self.prefetch_start(leaf);
        self.prefetch(leaf, 2 * LINE_BYTES);
    }

    #[inline]
    fn prefetch(&self, link: Link, bytes: usize) {
        prefetch_line(self.base.as_ptr().wrapping_add(link.offset() + bytes));
    }
}
