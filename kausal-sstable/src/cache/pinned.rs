//! A value in a pinned block: what a look-up hands out without copying it.

use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;

use super::frames::PinnedBlock;

/// A part of a block that stays where it is for as long as this lives. `Clone`, `Send`, `Sync`, `'static`; 40 bytes.
///
/// It pins the whole block: keep it for a call, and for longer than that take what [`into_bytes`](Self::into_bytes) gives.
///
/// # Examples
///
/// ```
/// # use kausal_arena::Budget;
/// # use kausal_sstable::{BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber, Pinned};
/// # let cache = BlockCache::new(&Budget::root("block cache", 4 << 20), BlockCacheOptions::default()).unwrap();
/// # let key = BlockKey { file: FileNumber(1), offset: 0 };
/// let block = cache.insert(&key, BlockClass::Data, 10, |bytes| {
///     bytes.copy_from_slice(b"key: value");
///     Ok::<_, std::io::Error>(())
/// });
/// let value = Pinned::new(block.unwrap(), 5..10).unwrap();
/// assert_eq!(&*value, b"value");
/// assert_eq!(value.into_bytes(), "value");
/// ```
#[derive(Clone)]
pub struct Pinned {
    block: PinnedBlock,
    start: u32,
    len: u32,
}

impl Pinned {
    /// The bytes of `block` in `range`, or nothing if they are not all in it.
    #[inline]
    pub fn new(block: PinnedBlock, range: Range<usize>) -> Option<Self> {
        block.get(range.clone())?;
        // A block is at most a slab, so both fit.
        Some(Self { start: range.start as u32, len: range.len() as u32, block })
    }

    /// The block that the value lies in.
    pub fn block(&self) -> &PinnedBlock {
        &self.block
    }

    /// The value on its own. One call of the global allocator: for a copy of the value, after which nothing is pinned; or, if
    /// the value is at least half of its block, for the few words that share the block, which stays pinned until the last
    /// clone is gone. So what is held is never more than twice what is shown.
    pub fn into_bytes(self) -> Bytes {
        if self.len() * 2 >= self.block.len() {
            Bytes::from_owner(self)
        } else {
            Bytes::copy_from_slice(&self)
        }
    }
}

impl Deref for Pinned {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.block[self.start as usize..][..self.len as usize]
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pinned").field("start", &self.start).field("len", &self.len).finish_non_exhaustive()
    }
}
