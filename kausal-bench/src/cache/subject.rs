//! What is asked of a cache, and ours.

use std::hint::black_box;

use kausal_arena::Budget;
use kausal_sstable::{BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber};

use super::trace::BLOCK_BYTES;

/// Blocks of a file of the traces.
const BLOCKS_PER_FILE: u32 = 16_384;

/// A cache of blocks by number.
pub trait Subject: Sync {
    /// A cache of `bytes` bytes.
    fn new(bytes: usize) -> Self;

    /// Number written at the front of the block, if it is there; its bytes are read from the cache's own copy.
    fn get(&self, block: u32) -> Option<u64>;

    /// Puts the block in, its number at its front.
    fn insert(&self, block: u32);

    /// Most bytes that were held at once, where the cache can say it; otherwise the heap is asked.
    fn held_max(&self) -> Option<usize> {
        None
    }
}

/// File and offset of a block.
pub fn place(block: u32) -> (u64, u64) {
    let (file, place) = (block / BLOCKS_PER_FILE, block % BLOCKS_PER_FILE);
    (u64::from(file) + 1, u64::from(place) * BLOCK_BYTES as u64)
}

/// What every block holds but for the number at its front: a file would be read here. The compiler does not know it.
pub fn contents() -> &'static [u8; BLOCK_BYTES] {
    static CONTENTS: [u8; BLOCK_BYTES] = [42; BLOCK_BYTES];
    black_box(&CONTENTS)
}

/// Writes the number at the front of a block.
pub fn write_number(block: u32, bytes: &mut [u8]) {
    bytes[..8].copy_from_slice(&u64::from(block).to_le_bytes());
}

/// The number at the front of a block.
#[inline]
pub fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(u64::MAX, |front| u64::from_le_bytes(*front))
}

/// The block cache of kausal-sstable, asked as a look-up asks it: peeking at the block.
pub struct Ours {
    budget: Budget,
    cache: BlockCache,
}

fn key(block: u32) -> BlockKey {
    let (file, offset) = place(block);
    BlockKey { file: FileNumber(file), offset }
}

impl Subject for Ours {
    fn new(bytes: usize) -> Self {
        let budget = Budget::root("block cache", bytes);
        let cache = BlockCache::new(&budget, BlockCacheOptions::default()).expect("room for the directory");
        Self { budget, cache }
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.cache.peek(|peek| peek.block(&key(block), BlockClass::Data).then(|| number(peek.bytes())))
    }

    fn insert(&self, block: u32) {
        let filled = self.cache.insert(&key(block), BlockClass::Data, BLOCK_BYTES, |bytes| {
            bytes.copy_from_slice(contents());
            write_number(block, bytes);
            Ok::<_, std::convert::Infallible>(())
        });
        drop(filled.expect("nothing is pinned"));
    }

    fn held_max(&self) -> Option<usize> {
        Some(self.budget.used_max())
    }
}

/// The same, with each block pinned: what somebody does who keeps it, as the others' counted blocks are kept.
pub struct OursPinned(Ours);

impl Subject for OursPinned {
    fn new(bytes: usize) -> Self {
        Self(Ours::new(bytes))
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.cache.get(&key(block)).map(|found| number(&found))
    }

    fn insert(&self, block: u32) {
        self.0.insert(block);
    }

    fn held_max(&self) -> Option<usize> {
        self.0.held_max()
    }
}

/// The same, filled as look-ups and walks of tables do: they ask whether a block is wanted before they copy it.
pub struct OursAsking(Ours);

impl Subject for OursAsking {
    fn new(bytes: usize) -> Self {
        Self(Ours::new(bytes))
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(block)
    }

    fn insert(&self, block: u32) {
        if self.0.cache.wants(&key(block), BlockClass::Data, BLOCK_BYTES) {
            self.0.insert(block);
        }
    }

    fn held_max(&self) -> Option<usize> {
        self.0.held_max()
    }
}
