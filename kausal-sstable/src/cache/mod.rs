//! The block cache: blocks of tables in page frames of a size that is never exceeded, found and pinned without a lock.
//!
//! 1. Memory comes in *slabs*, charged to the cache's node of the budget between floor and ceiling, and goes back in whole
//!    slabs when the budget asks ([`kausal_arena::Shrink`]). Their size follows the cache's, 64 KiB to 2 MiB, so that one
//!    pinned block keeps no more than a 32nd of a cache of 2 MiB or more. A slab is cut into *frames* of any number of pages
//!    of 4 KiB, each of which holds one block: data, index and filter blocks alike.
//! 2. A look-up hashes the key, compares the tags in one cache line of the *directory*, and pins the frame by one addition
//!    to its state word. That addition also counts the hit, for the statistics and for the policy. Unpinning is another
//!    addition. There is no lock, no list, no shared counter and no call of an allocator on this way.
//! 3. A miss takes a frame under the lock of its shard, fills it in place without the lock, and publishes it. Who goes is
//!    decided by S3-FIFO; what is pinned stays. Whoever read the block may ask first whether it is wanted. If everything is
//!    pinned, or the block is above 1/64 of the cache, the insert is refused, never delayed, and the caller uses memory of its
//!    own.
//!
//! | room | what lives there |
//! |---|---|
//! | `key`, `stats`, `error` | names of blocks, counts, refusals |
//! | `pinned` | a value in a pinned block |
//! | `core` | what all share, and the steps of an insert |
//! | `peek` | looking at a frame without a pin |
//! | `frames` | slabs, frames, and the protocol of the state word: the unsafe part |
//! | `directory`, `hint` | from hash to frame without a lock, and past that where the block was last |
//! | `shard`, `pages`, `ghost` | under a lock: the policy, free frames, what went not long ago |
//!
//! Invariants:
//! 1. The node never has more than its ceiling: headers, directory and queues are charged before there is a block, slabs
//!    before they are obtained. So what is resident never exceeds the configured size.
//! 2. A block that somebody pins is neither changed nor moved, whatever happens to the cache.
//!
//! Not here: reading and checking blocks. Who inserts fills the frame, and vouches for it. Nor waiting for another thread
//! that fills the same block: both read it, and the faster one's is kept.

mod core;
mod directory;
mod error;
mod frames;
mod ghost;
mod hint;
mod key;
mod pages;
mod peek;
mod pinned;
mod shard;
mod stats;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::fmt;
use std::sync::Arc;

use kausal_arena::{AllocError, Budget, Shrink};

pub use self::error::{InsertError, Refusal};
pub use self::frames::PinnedBlock;
pub use self::hint::FrameHint;
pub use self::key::{BlockClass, BlockKey};
pub use self::peek::Peek;
pub use self::pinned::Pinned;
pub use self::stats::{CacheStats, ClassStats};

use self::core::Core;
use crate::ids::FileNumber;

/// How a cache is made. Its size is its node's ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCacheOptions {
    /// Parts that can be inserted into at the same time, rounded down to a power of two, at most 64. By default one for
    /// every 8 MiB: a part that is too small for its share of hot blocks would lose some.
    pub shards: Option<usize>,
}

/// A cache of blocks. `Send + Sync`; share it in an `Arc`, or by reference.
///
/// # Examples
///
/// ```
/// use kausal_arena::Budget;
/// use kausal_sstable::{BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber};
///
/// let database = Budget::root("database", 64 << 20);
/// let cache = BlockCache::new(&database.child("block cache", 1 << 20, 8 << 20).unwrap(), BlockCacheOptions::default())?;
/// let key = BlockKey { file: FileNumber(7), offset: 4096 };
/// assert!(cache.get(&key).is_none());
///
/// // A miss: the frame is filled in place, by a read of the file as a rule.
/// let block = cache.insert(&key, BlockClass::Data, 4000, |bytes| {
///     bytes.fill(42);
///     Ok::<_, std::io::Error>(())
/// });
/// assert_eq!(block.unwrap()[3999], 42);
/// assert_eq!(cache.get(&key).unwrap().len(), 4000);
/// println!("{}", database.report());
/// # Ok::<_, kausal_arena::AllocError>(())
/// ```
pub struct BlockCache {
    core: Arc<Core>,
}

impl BlockCache {
    /// An empty cache, of at most the ceiling of `budget`: a node of its own, in which nothing is charged yet. About 3 % of
    /// it is charged now, for the directory; slabs follow as blocks come. Below it appear a node for each class of blocks,
    /// exact to 64 KiB a shard, one for what no block takes, and one for the directory. Registers itself for
    /// [`Budget::please_shrink`].
    ///
    /// A cache below 256 KiB has room for little or nothing; it works, and refuses.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget has no room for the directory.
    pub fn new(budget: &Budget, options: BlockCacheOptions) -> Result<Self, AllocError> {
        let core = Core::new(budget, options.shards)?;
        let weak: std::sync::Weak<Core> = Arc::downgrade(&core);
        budget.add_shrinker(weak);
        Ok(Self { core })
    }

    /// The block, if it is there, pinned until the result is dropped.
    ///
    /// No lock, no allocation. One atomic addition to a word that belongs to the frame, and another when the result drops.
    #[inline]
    pub fn get(&self, key: &BlockKey) -> Option<PinnedBlock> {
        self.core.get(key)
    }

    /// [`get`](Self::get) for somebody who keeps where the block, of `len` bytes as far as he knows, was last.
    #[inline]
    pub fn get_hinted(&self, key: &BlockKey, len: usize, place: &FrameHint) -> Option<PinnedBlock> {
        self.core.get_hinted(key, len, place)
    }

    /// Asks for the lines that a look at a block of `len` bytes will need where it was last, and a search in it, if one group
    /// takes `stride` bytes; 0 if none is wanted. Answers whether that place is known.
    #[inline]
    pub(crate) fn approach_hinted(&self, len: usize, place: &FrameHint, stride: usize) -> bool {
        self.core.ask_hinted(place, len, stride).is_some()
    }

    /// Asks for a line that a look at the block will need: the one where it is noted where the block is (`step` 0), then that
    /// of the block's header (`step` 1), and at last the block's end (`step` 2). Each is said by the one before; the end is asked
    /// for with the header already, where a block of `len` bytes would have it.
    #[inline]
    pub(crate) fn approach(&self, key: &BlockKey, len: usize, step: u32) {
        match step {
            0 => self.core.ask_for_place(key),
            1 => self.core.ask_for_header(key, len),
            _ => self.core.ask_for_block(key),
        }
    }

    /// Lets `work` look at blocks, one at a time, that nobody has to pin: what [`get`](Self::get) costs without its two
    /// atomic additions. Nothing that two readers share is written by a read-modify-write.
    ///
    /// A block is looked at until the next one, or until `work` returns. Until then its frame is not taken for another block,
    /// so do not wait in `work` while looking at one. More than 128 threads, and a look inside of another, see nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kausal_arena::Budget;
    /// # use kausal_sstable::{BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber};
    /// # let cache = BlockCache::new(&Budget::root("block cache", 4 << 20), BlockCacheOptions::default()).unwrap();
    /// let key = BlockKey { file: FileNumber(1), offset: 0 };
    /// let block = cache.insert(&key, BlockClass::Data, 4, |bytes| Ok::<_, std::io::Error>(bytes.copy_from_slice(b"pear")));
    /// drop(block.unwrap());
    /// let first = cache.peek(|peek| peek.block(&key, BlockClass::Data).then(|| peek.bytes()[0]));
    /// assert_eq!(first, Some(b'p'));
    /// ```
    #[inline]
    pub fn peek<R>(&self, work: impl FnOnce(&mut Peek<'_>) -> R) -> R {
        Peek::with(&self.core, work)
    }

    /// Whether a block of `len` bytes that the cache did not have is worth an [`insert`](Self::insert): yes while there is room, and
    /// if it was asked about not long ago. Else it is remembered for the next time, and whoever read it keeps it to himself.
    /// Most blocks of data are not read again soon, and an insert is a copy, and somebody else's place. Indexes and filters are
    /// always wanted. O(1), under the lock of a shard.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kausal_arena::Budget;
    /// # use kausal_sstable::{BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber};
    /// # let cache = BlockCache::new(&Budget::root("block cache", 4 << 20), BlockCacheOptions::default()).unwrap();
    /// let key = |block: u64| BlockKey { file: FileNumber(1), offset: block * 4096 };
    /// let fill = |bytes: &mut [u8]| Ok::<_, std::convert::Infallible>(bytes.fill(1));
    /// assert!(cache.wants(&key(0), BlockClass::Data, 4096), "there is room");
    /// for block in 0..2000 {
    ///     cache.insert(&key(block), BlockClass::Data, 4096, fill).unwrap();
    /// }
    /// assert!(!cache.wants(&key(9999), BlockClass::Data, 4096), "somebody would have to leave for a stranger");
    /// assert!(cache.wants(&key(9999), BlockClass::Data, 4096), "no longer a stranger");
    /// ```
    pub fn wants(&self, key: &BlockKey, class: BlockClass, len: usize) -> bool {
        self.core.wants(key, class, len)
    }

    /// Takes a frame for the block, lets `fill` write its `len` bytes in place, and returns it, pinned and from now on to be
    /// found. If another thread was faster with the same block, its copy is returned and this one dropped.
    ///
    /// `fill` runs without a lock, and gets zeros or bytes of older blocks. If it panics, the frame is free again.
    ///
    /// # Errors
    ///
    /// [`InsertError::Refused`] if the block is larger than [`block_bytes_max`](Self::block_bytes_max), or everything that
    /// could make room is pinned; at once, and without calling `fill`. [`InsertError::Fill`] with what `fill` returned.
    pub fn insert<E>(
        &self,
        key: &BlockKey,
        class: BlockClass,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<PinnedBlock, InsertError<E>> {
        let mut taken = self.core.take(key, class, len).map_err(InsertError::Refused)?;
        fill(taken.bytes_mut(len)).map_err(InsertError::Fill)?;
        Ok(taken.publish(key, class, len))
    }

    /// Largest block that is cached: a 64th of the cache, but at least a page of 4 KiB and at most half a slab.
    pub fn block_bytes_max(&self) -> usize {
        self.core.block_bytes_max()
    }

    /// Forgets the blocks of a file that is gone, and returns how many there were. What is pinned stays readable to those
    /// who pin it, and its frame is free some time after. O(pages of the cache), one shard after the other.
    pub fn remove_file(&self, file: FileNumber) -> usize {
        self.core.remove_file(file)
    }

    /// Gives whole slabs back until `bytes` are free, the coldest first, though not below the node's floor and none in which
    /// a block is pinned. Returns the bytes. What [`Budget::please_shrink`] calls.
    pub fn shrink(&self, bytes: usize) -> usize {
        self.core.shrink(bytes)
    }

    /// What the cache did and holds. Exact while nobody uses it. O(pages of the cache), one shard's lock after the other.
    pub fn stats(&self) -> CacheStats {
        self.core.stats()
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BlockCache")
            .field("block_bytes_max", &self.block_bytes_max())
            .finish_non_exhaustive()
    }
}

/// Everything that is handed between threads may be.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<BlockCache>();
    shared::<PinnedBlock>();
    shared::<Pinned>();
};
