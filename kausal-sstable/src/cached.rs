//! Blocks by way of a cache: the block source of reads that come back.
//!
//! 1. A fetch looks the block up in the cache and pins it there; its contents are lent from the frame.
//! 2. What the cache does not have is read into a buffer of the source's own, checked and decompressed there, and copied
//!    into a frame. So the cache holds contents that were checked, and a block of 4 KiB takes one page: its trailer stays
//!    outside.
//!    Of a large block the buffer keeps no memory then: a walk over many tables would hold each of their blocks twice.
//! 3. What the cache does not want, because nobody asked for it before, or refuses, because it is too large or because all is
//!    pinned, is lent from the buffer.
//!
//! 4. A walk says which block comes next. If the cache has it, it is pinned as well, and its first lines are asked for while
//!    the walk goes through the block before.
//! 5. Reading ahead begins with the second block in a row that the cache does not have: a walk that misses one here and there
//!    would read what it has.
//! 6. The buffer is taken from a pool when something has to be read, and goes back with the source. A walk of what is in the
//!    cache charges nothing.
//!
//! At most two blocks are pinned at a time: the one fetched last, and the one that a walk wants next.

use std::fmt;
use std::ops::Deref;

use kausal_arena::AllocError;

use crate::buffer::BlockBuffer;
use crate::cache::{BlockCache, BlockClass, BlockKey, FrameHint, InsertError, PinnedBlock};
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind};
use crate::lookup::BufferPool;
use crate::prefetch;
use crate::source::BlockSource;

/// A block source that looks in a cache first, and fills it. `C` is a reference to the cache, `B` to a pool of buffers, or an
/// `Arc` of it.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kausal_arena::Budget;
/// use kausal_index::{EntryRef, Kind, SeqNo};
/// use kausal_sstable::{
///     BlockCache, BlockCacheOptions, BufferPool, CachedBlocks, FileNumber, KeyspaceId, Table, TableId, TableOptions,
///     TableWriter,
/// };
///
/// let budget = Budget::root("tables", 8 << 20);
/// let mut writer =
///     TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, TableOptions::default(), &budget).unwrap();
/// let seqno = SeqNo::new(1).unwrap();
/// writer.add(EntryRef { key: b"apple", seqno, kind: Kind::Put, value: b"red" }).unwrap();
/// let (file, _) = writer.finish().unwrap();
///
/// let cache = BlockCache::new(&budget.child("block cache", 0, 4 << 20).unwrap(), BlockCacheOptions::default()).unwrap();
/// let table = Table::open(Arc::new(file), FileNumber(1), None, &budget).unwrap();
/// let buffers = BufferPool::new(&budget);
/// let mut blocks = CachedBlocks::new(&cache, &buffers);
/// for _ in 0..2 {
///     assert_eq!(table.get(b"apple", SeqNo::MAX, &mut blocks).unwrap().unwrap().value, b"red");
/// }
/// assert_eq!(cache.stats().total().hits, 1);
/// ```
pub struct CachedBlocks<C, B>
where
    C: Deref<Target = BlockCache>,
    B: Deref<Target = BufferPool>,
{
    cache: C,
    buffers: B,
    /// The block fetched last, if the cache has it.
    pinned: Option<PinnedBlock>,
    /// The block that a walk wants next, if the cache has it.
    next: Option<(BlockKey, PinnedBlock)>,
    /// Reads what the cache does not have; lends what it refused.
    buffer: Option<Box<BlockBuffer>>,
    /// Whether the cache did not have the block fetched last.
    has_missed: bool,
}

impl<C: Deref<Target = BlockCache>, B: Deref<Target = BufferPool>> CachedBlocks<C, B> {
    /// A source that holds nothing yet.
    #[inline]
    pub fn new(cache: C, buffers: B) -> Self {
        Self { cache, buffers, pinned: None, next: None, buffer: None, has_missed: false }
    }

    /// The block fetched last, pinned for as long as the caller wants; `None` if the cache did not take it, or nothing was
    /// fetched. The source lends its contents no longer. What a [mapped](crate::Table::map) table lends is not fetched.
    pub fn take_pinned(&mut self) -> Option<PinnedBlock> {
        let pinned = self.pinned.take();
        if let Some(buffer) = self.buffer.as_mut().filter(|_| pinned.is_some()) {
            buffer.forget();
        }
        pinned
    }

    #[inline]
    fn find(&self, key: &BlockKey, handle: BlockHandle, place: Option<&FrameHint>) -> Option<PinnedBlock> {
        match place {
            // A compressed block is longer than what is stored of it: then its end is asked for in vain.
            Some(place) => self.cache.get_hinted(key, handle.len as usize, place),
            None => self.cache.get(key),
        }
    }

    #[cold]
    fn fill(
        &mut self,
        key: &BlockKey,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        let ahead = if self.has_missed { ahead } else { 0 };
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(self.buffers.take().map_err(|error| file.no_memory(error))?),
        };
        buffer.fetch(file, handle, kind, ahead)?;
        self.has_missed = true;
        let contents = buffer.bytes();
        // A walk over many tables shall not hold large blocks in buffers as well.
        if !buffer.is_large() && !self.cache.wants(key, class(kind), contents.len()) {
            self.pinned = None;
            return Ok(());
        }
        let filled = self.cache.insert(key, class(kind), contents.len(), |frame| {
            frame.copy_from_slice(contents);
            Ok::<_, std::convert::Infallible>(())
        });
        self.pinned = match filled {
            Ok(block) => {
                buffer.give_back_large();
                Some(block)
            }
            Err(InsertError::Refused(_)) => None,
            Err(InsertError::Fill(never)) => match never {},
        };
        Ok(())
    }
}

impl<C, B> BlockSource for CachedBlocks<C, B>
where
    C: Deref<Target = BlockCache> + Clone,
    B: Deref<Target = BufferPool> + Clone,
{
    #[inline]
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        self.fetch_hinted(file, handle, kind, ahead, None)
    }

    #[inline]
    fn fetch_hinted(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
        place: Option<&FrameHint>,
    ) -> Result<(), TableError> {
        let key = BlockKey { file: file.number(), offset: handle.offset };
        self.pinned = match self.next.take() {
            Some((next, block)) if next == key => Some(block),
            _ => self.find(&key, handle, place),
        };
        if self.pinned.is_some() {
            self.has_missed = false;
            return Ok(());
        }
        self.fill(&key, file, handle, kind, ahead)
    }

    fn fetch_soon(&mut self, file: &TableFile, handle: BlockHandle, place: Option<&FrameHint>) {
        // Where the cache does not have one block of a walk it will not have the next.
        if self.pinned.is_some() && !self.has_missed {
            let key = BlockKey { file: file.number(), offset: handle.offset };
            self.next = self.find(&key, handle, place).map(|block| (key, block));
            if let Some((_, block)) = &self.next {
                prefetch::both_ends(block);
            }
        }
    }

    #[inline]
    fn soon(&self) -> &[u8] {
        self.next.as_ref().map_or(&[], |(_, block)| block)
    }

    #[inline]
    fn approach_hinted(&self, handle: BlockHandle, place: &FrameHint, stride: usize) -> bool {
        self.cache.approach_hinted(handle.len as usize, place, stride)
    }

    #[inline]
    fn approach(&self, file: &TableFile, handle: BlockHandle, step: u32) {
        let key = BlockKey { file: file.number(), offset: handle.offset };
        self.cache.approach(&key, handle.len as usize, step);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match (&self.pinned, &self.buffer) {
            (Some(block), _) => block,
            (None, Some(buffer)) => buffer.bytes(),
            (None, None) => &[],
        }
    }

    fn forget(&mut self) {
        (self.pinned, self.next, self.has_missed) = (None, None, false);
        if let Some(buffer) = &mut self.buffer {
            buffer.forget();
        }
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Ok(Self::new(self.cache.clone(), self.buffers.clone()))
    }
}

impl<C: Deref<Target = BlockCache>, B: Deref<Target = BufferPool>> Drop for CachedBlocks<C, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.buffers.give(buffer);
        }
    }
}

/// Where the cache counts a block of this kind.
pub(crate) fn class(kind: BlockKind) -> BlockClass {
    match kind {
        BlockKind::Filter => BlockClass::Filter,
        BlockKind::Index | BlockKind::Root => BlockClass::Index,
        _ => BlockClass::Data,
    }
}

impl<C: Deref<Target = BlockCache>, B: Deref<Target = BufferPool>> fmt::Debug for CachedBlocks<C, B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CachedBlocks").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}
