//! Blocks by way of a cache: the block source of reads that come back.
//!
//! 1. A fetch looks the block up in the cache and pins it there; its contents are lent from the frame.
//! 2. What the cache does not have is read into a buffer of the source's own, checked and decompressed there, and copied
//!    into a frame. So the cache holds contents that were checked, and a block of 4 KiB takes one page: its trailer stays
//!    outside.
//!    Of a large block the buffer keeps no memory then: a walk over many tables would hold each of their blocks twice.
//! 3. What the cache refuses, because it is too large or because all is pinned, is lent from the buffer.
//!
//! 4. A walk says which block comes next. If the cache has it, it is pinned as well, and its first lines are asked for while
//!    the walk goes through the block before.
//!
//! At most two blocks are pinned at a time: the one fetched last, and the one that a walk wants next.

use std::fmt;
use std::ops::Deref;

use kausal_arena::{AllocError, Budget};

use crate::buffer::BlockBuffer;
use crate::cache::{BlockCache, BlockClass, BlockKey, InsertError, PinnedBlock};
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind};
use crate::prefetch;
use crate::source::BlockSource;

/// A block source that looks in a cache first, and fills it. `C` is a reference to the cache, or an `Arc` of it.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kausal_arena::Budget;
/// use kausal_index::{EntryRef, Kind, SeqNo};
/// use kausal_sstable::{
///     BlockCache, BlockCacheOptions, CachedBlocks, FileNumber, KeyspaceId, Table, TableId, TableOptions, TableWriter,
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
/// let mut blocks = CachedBlocks::new(&cache, &budget).unwrap();
/// for _ in 0..2 {
///     assert_eq!(table.get(b"apple", SeqNo::MAX, &mut blocks).unwrap().unwrap().value, b"red");
/// }
/// assert_eq!(cache.stats().total().hits, 1);
/// ```
pub struct CachedBlocks<C> {
    cache: C,
    /// The block fetched last, if the cache has it.
    pinned: Option<PinnedBlock>,
    /// The block that a walk wants next, if the cache has it.
    next: Option<(BlockKey, PinnedBlock)>,
    /// Reads what the cache does not have; lends what it refused.
    buffer: BlockBuffer,
}

impl<C: Deref<Target = BlockCache>> CachedBlocks<C> {
    /// A source that holds nothing yet; what it reads blocks with is charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget has no room for a small block.
    pub fn new(cache: C, budget: &Budget) -> Result<Self, AllocError> {
        Ok(Self { cache, pinned: None, next: None, buffer: BlockBuffer::new(budget)? })
    }

    /// The block fetched last, pinned for as long as the caller wants; `None` if the cache did not take it, or nothing was
    /// fetched. The source lends its contents no longer.
    pub fn take_pinned(&mut self) -> Option<PinnedBlock> {
        let pinned = self.pinned.take();
        if pinned.is_some() {
            self.buffer.forget();
        }
        pinned
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
        self.buffer.fetch(file, handle, kind, ahead)?;
        let contents = self.buffer.bytes();
        let filled = self.cache.insert(key, class(kind), contents.len(), |frame| {
            frame.copy_from_slice(contents);
            Ok::<_, std::convert::Infallible>(())
        });
        self.pinned = match filled {
            Ok(block) => {
                self.buffer.give_back_large();
                Some(block)
            }
            Err(InsertError::Refused(_)) => None,
            Err(InsertError::Fill(never)) => match never {},
        };
        Ok(())
    }
}

impl<C: Deref<Target = BlockCache> + Clone> BlockSource for CachedBlocks<C> {
    #[inline]
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        let key = BlockKey { file: file.number(), offset: handle.offset };
        self.pinned = match self.next.take() {
            Some((next, block)) if next == key => Some(block),
            _ => self.cache.get(&key),
        };
        if self.pinned.is_some() { Ok(()) } else { self.fill(&key, file, handle, kind, ahead) }
    }

    fn fetch_soon(&mut self, file: &TableFile, handle: BlockHandle) {
        // Where the cache does not have one block of a walk it will not have the next.
        if self.pinned.is_some() {
            let key = BlockKey { file: file.number(), offset: handle.offset };
            self.next = self.cache.get(&key).map(|block| (key, block));
            if let Some((_, block)) = &self.next {
                prefetch::both_ends(block);
            }
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.pinned {
            Some(block) => block,
            None => self.buffer.bytes(),
        }
    }

    fn forget(&mut self) {
        (self.pinned, self.next) = (None, None);
        self.buffer.forget();
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Ok(Self { cache: self.cache.clone(), pinned: None, next: None, buffer: self.buffer.sibling()? })
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

impl<C> fmt::Debug for CachedBlocks<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CachedBlocks").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}
