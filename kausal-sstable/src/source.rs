//! Where the bytes of blocks come from: the seam between a table and whoever keeps blocks in memory.
//!
//! A table never holds data blocks. It asks a source to fetch one and then borrows its contents. The source may be a
//! buffer that reads the file each time ([`BlockBuffer`](crate::BlockBuffer)), or hold a frame of a cache.

use kausal_arena::AllocError;

use crate::cache::FrameHint;
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind};

/// Holds one block's contents at a time, checked and decompressed.
///
/// An implementation reads by [`TableFile::stored_bytes`], [`TableFile::read`], [`TableFile::check`], and where the
/// block is compressed [`TableFile::decompress`]; only what went through these may be lent.
pub trait BlockSource: Sized {
    /// Whether tables that are [mapped](crate::Table::map) lend data blocks past the source. Not those of who goes through much
    /// once, in long reads, and would have the pages of all of it in the process.
    const WANTS_MAPPED: bool = true;

    /// Makes the contents of the block at `handle` those that [`bytes`](Self::bytes) lends. A walk that will go on says
    /// how many bytes behind the block it is about to want, else `ahead` is 0.
    ///
    /// # Errors
    ///
    /// [`TableError`]; `bytes` lends nothing then.
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError>;

    /// [`fetch`](Self::fetch) for a table that keeps `place`, where a cache had the block last. A source without a cache has no use
    /// for that.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    #[inline]
    fn fetch_hinted(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
        place: Option<&FrameHint>,
    ) -> Result<(), TableError> {
        let _ = place;
        self.fetch(file, handle, kind, ahead)
    }

    /// Says that a walk wants the block at `handle` when it is through with the one fetched last, so that its bytes may be
    /// on their way; `place` is as for [`fetch_hinted`](Self::fetch_hinted). A source that has nothing to gain by that does nothing.
    fn fetch_soon(&mut self, file: &TableFile, handle: BlockHandle, place: Option<&FrameHint>) {
        let _ = (file, handle, place);
    }

    /// The contents of the block that [`fetch_soon`](Self::fetch_soon) named, if they are in memory already; empty if not. A walk
    /// asks for their lines while it goes through the block before.
    #[inline]
    fn soon(&self) -> &[u8] {
        &[]
    }

    /// Says that the block at `handle` is about to be fetched, so that what says where it is may be on its way: at first what
    /// the source looks at first (`step` 0), then what that says (`step` 1), and at last the block's end (`step` 2).
    #[inline]
    fn approach(&self, file: &TableFile, handle: BlockHandle, step: u32) {
        let _ = (file, handle, step);
    }

    /// Says that the block at `handle` is about to be fetched, where a cache had it last, and searched if `stride` is not 0: one
    /// group of its entries takes about as many bytes. Answers whether the place is known, and all that is needed asked for; else
    /// there is [`approach`](Self::approach).
    #[inline]
    fn approach_hinted(&self, handle: BlockHandle, place: &FrameHint, stride: usize) -> bool {
        let _ = (handle, place, stride);
        false
    }

    /// The contents of the block fetched last; empty if there is none.
    fn bytes(&self) -> &[u8];

    /// Forgets what was fetched, because the next block is another table's.
    fn forget(&mut self);

    /// Another source that fetches from the same place, for a walk that needs two blocks at once.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory for it.
    fn sibling(&self) -> Result<Self, AllocError>;
}
