//! Blocks for a look-up of a key or a few: from a cache, without a pin where it can be, with a buffer only where it must.
//!
//! 1. What the cache has is peeked at. That takes no lock, no memory and no read-modify-write.
//! 2. What cannot be peeked at is pinned; what the cache does not have is read into a buffer from a pool, checked there and
//!    copied into a frame, which is pinned. What the cache does not want, or refuses, is lent from the buffer.
//! 3. While the file is read, nothing is peeked at: a frame is not kept from others for that long.
//!
//! Not here: walks. They stay with a block for longer, and want the one after it ([`CachedBlocks`](crate::CachedBlocks)).

use std::fmt;

use kausal_arena::sync::Mutex;
use kausal_arena::{AllocError, Budget};

use crate::buffer::BlockBuffer;
use crate::cache::{BlockCache, BlockKey, FrameHint, InsertError, Peek, PinnedBlock};
use crate::cached::class;
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind};
use crate::source::BlockSource;

/// Buffers kept for the next who needs one; more are given back to the budget.
const IDLE_MAX: usize = 16;

/// Idle buffers have one in so many bytes of what the budget may have: the rest is for those who read.
const IDLE_SHARE: usize = 16;

/// Block buffers that look-ups, and walks without a cache, take and give back, so that a warm one allocates nothing.
#[derive(Debug)]
pub struct BufferPool {
    budget: Budget,
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
}

#[derive(Debug)]
struct Idle {
    #[expect(clippy::vec_box, reason = "sources are moved about, and hold one now and then")]
    buffers: Vec<Box<BlockBuffer>>,
    /// Charged for them.
    bytes: usize,
}

impl BufferPool {
    /// An empty pool, whose buffers are charged to `budget`. Idle ones keep up to a sixteenth of what that may have.
    pub fn new(budget: &Budget) -> Self {
        Self::keeping(budget.ceiling() / IDLE_SHARE, budget)
    }

    /// An empty pool whose idle buffers keep up to `idle_bytes_max`, and each of them up to half of that.
    pub fn keeping(idle_bytes_max: usize, budget: &Budget) -> Self {
        let idle = Idle { buffers: Vec::with_capacity(IDLE_MAX), bytes: 0 };
        Self { budget: budget.clone(), idle: Mutex::new(idle), idle_bytes_max }
    }

    pub(crate) fn take(&self) -> Result<Box<BlockBuffer>, AllocError> {
        let mut idle = self.idle.lock();
        if let Some(buffer) = idle.buffers.pop() {
            idle.bytes -= buffer.charged_bytes();
            return Ok(buffer);
        }
        drop(idle);
        BlockBuffer::new(&self.budget).map(Box::new)
    }

    pub(crate) fn give(&self, mut buffer: Box<BlockBuffer>) {
        buffer.forget();
        let bytes = buffer.charged_bytes();
        let mut idle = self.idle.lock();
        let is_small =
            buffer.capacity() <= self.idle_bytes_max / 2 && idle.bytes + bytes <= self.idle_bytes_max;
        if idle.buffers.len() < IDLE_MAX && is_small {
            idle.bytes += bytes;
            idle.buffers.push(buffer);
        }
    }
}

/// Where the contents of the block fetched last are.
enum Held {
    Nothing,
    Peeked(BlockKey),
    Pinned(BlockKey, PinnedBlock),
    Buffered(BlockKey),
}

impl Held {
    fn key(&self) -> Option<&BlockKey> {
        match self {
            Self::Nothing => None,
            Self::Peeked(key) | Self::Pinned(key, _) | Self::Buffered(key) => Some(key),
        }
    }
}

/// The block source of a look-up.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kausal_arena::Budget;
/// use kausal_index::{EntryRef, Kind, SeqNo};
/// use kausal_sstable::{
///     BlockCache, BlockCacheOptions, BufferPool, FileNumber, KeyspaceId, LookupBlocks, Table, TableId, TableOptions,
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
/// let (table, buffers) = (Table::open(Arc::new(file), FileNumber(1), None, &budget).unwrap(), BufferPool::new(&budget));
/// for _ in 0..2 {
///     cache.peek(|peek| {
///         let mut blocks = LookupBlocks::new(&cache, peek, &buffers);
///         assert_eq!(table.get(b"apple", SeqNo::MAX, &mut blocks).unwrap().unwrap().value, b"red");
///     });
/// }
/// assert_eq!(cache.stats().total().hits, 1);
/// ```
pub struct LookupBlocks<'a, 'p> {
    cache: &'a BlockCache,
    /// None for a sibling: a thread looks at one frame at a time.
    peek: Option<&'a mut Peek<'p>>,
    buffers: &'a BufferPool,
    held: Held,
    buffer: Option<Box<BlockBuffer>>,
}

impl<'a, 'p> LookupBlocks<'a, 'p> {
    /// A source that holds nothing yet. `peek` is a look into `cache`.
    pub fn new(cache: &'a BlockCache, peek: &'a mut Peek<'p>, buffers: &'a BufferPool) -> Self {
        Self { cache, peek: Some(peek), buffers, held: Held::Nothing, buffer: None }
    }

    /// The block fetched last, pinned for as long as the caller wants; `None` if the cache did not take it, or nothing was
    /// fetched. What a [mapped](crate::Table::map) table lends is not fetched.
    pub fn pin(&self) -> Option<PinnedBlock> {
        match &self.held {
            Held::Peeked(key) => {
                let peeked = self.peek.as_ref().and_then(|peek| peek.pin());
                peeked.or_else(|| self.cache.get(key))
            }
            Held::Pinned(_, block) => Some(block.clone()),
            Held::Nothing | Held::Buffered(_) => None,
        }
    }

    /// What cannot be peeked at.
    #[cold]
    fn pin_or_read(
        &mut self,
        key: &BlockKey,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        if let Some(block) = self.cache.get(key) {
            self.held = Held::Pinned(*key, block);
            return Ok(());
        }
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(self.buffers.take().map_err(|error| file.no_memory(error))?),
        };
        buffer.fetch(file, handle, kind, ahead)?;
        let contents = buffer.bytes();
        if !self.cache.wants(key, class(kind), contents.len()) {
            self.held = Held::Buffered(*key);
            return Ok(());
        }
        let filled = self.cache.insert(key, class(kind), contents.len(), |frame| {
            frame.copy_from_slice(contents);
            Ok::<_, std::convert::Infallible>(())
        });
        self.held = match filled {
            Ok(block) => Held::Pinned(*key, block),
            Err(InsertError::Refused(_)) => Held::Buffered(*key),
            Err(InsertError::Fill(never)) => match never {},
        };
        Ok(())
    }
}

impl BlockSource for LookupBlocks<'_, '_> {
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
        if self.held.key() == Some(&key) {
            return Ok(());
        }
        self.held = Held::Nothing;
        let len = handle.len as usize;
        let seen = self.peek.as_mut().is_some_and(|peek| match (kind, place) {
            // A compressed block is longer than what is stored of it: then its end is asked for in vain.
            (BlockKind::Data, Some(place)) => peek.block_hinted(&key, class(kind), len, place),
            (BlockKind::Data, None) => peek.block_from_end(&key, class(kind), len),
            _ => peek.block(&key, class(kind)),
        });
        if seen {
            self.held = Held::Peeked(key);
            return Ok(());
        }
        self.pin_or_read(&key, file, handle, kind, ahead)
    }

    #[inline]
    fn approach(&self, file: &TableFile, handle: BlockHandle, step: u32) {
        let key = BlockKey { file: file.number(), offset: handle.offset };
        self.cache.approach(&key, handle.len as usize, step);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match (&self.held, &self.peek, &self.buffer) {
            (Held::Peeked(_), Some(peek), _) => peek.bytes(),
            (Held::Pinned(_, block), ..) => block,
            (Held::Buffered(_), _, Some(buffer)) => buffer.bytes(),
            _ => &[],
        }
    }

    fn forget(&mut self) {
        self.held = Held::Nothing;
        if let Some(peek) = &mut self.peek {
            peek.forget();
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.forget();
        }
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Ok(Self { cache: self.cache, peek: None, buffers: self.buffers, held: Held::Nothing, buffer: None })
    }
}

impl Drop for LookupBlocks<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.buffers.give(buffer);
        }
    }
}

impl fmt::Debug for LookupBlocks<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LookupBlocks").field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}
