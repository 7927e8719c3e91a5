//! Where a block was found last: kept beside the place where its handle is, by whoever looks for it again.
//!
//! The directory is a cache line that nothing else needs, and a look-up waits for it before it can ask for the frame's header.
//! A hint comes with the line of the index that names the block. It may be wrong: the header says what the frame holds, as it
//! does for who comes by way of the directory.
//!
//! After the swizzled pointers of LeanStore (Leis, Haubenschild, Kemper, Neumann; ICDE 2018), which have to be right and are
//! changed back before a page goes.

use std::fmt;

use kausal_arena::sync::{AtomicU32, Ordering};

/// Where a block was found last, in whatever cache that was. 4 bytes.
pub struct FrameHint {
    /// The frame's number and one; 0 is nowhere.
    frame: AtomicU32,
}

impl FrameHint {
    /// Of a block that was not found yet.
    pub fn new() -> Self {
        Self { frame: AtomicU32::new(0) }
    }

    #[inline]
    pub(super) fn frame(&self) -> Option<u32> {
        // Relaxed: the frame's header decides, whatever this says.
        self.frame.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes where the block was found. A line that many threads read is written only if it is wrong.
    #[inline]
    pub(super) fn note(&self, frame: u32) {
        if self.frame() != Some(frame) {
            // Relaxed: as above.
            self.frame.store(frame + 1, Ordering::Relaxed);
        }
    }
}

impl Default for FrameHint {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FrameHint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("FrameHint").field(&self.frame()).finish()
    }
}
