//! The field's caches. Each holds `Arc<[u8]>`.
//!
//! At *equal bytes* means that everything counts, as it does in ours: beside its block an entry takes a head of the `Arc`,
//! a key, links, a share of a table and of the ghosts, and what the heap adds. How much that is, is measured ([`beside`])
//! and weighed with the block. The same caches by the weight of their blocks only hold more than they were given, and are
//! there for comparison ([`Flattered`]).

use std::sync::{Arc, LazyLock};

use super::subject::{Subject, contents, number, place, write_number};
use super::trace::BLOCK_BYTES;
use crate::heap;

type Key = (u64, u64);
type Value = Arc<[u8]>;

/// Bytes of the caches from which [`beside`] is measured.
const SAMPLE_BYTES: usize = 16 << 20;

/// One allocation, one copy.
fn value(block: u32) -> Value {
    let mut value: Value = Arc::from(contents().as_slice());
    write_number(block, Arc::get_mut(&mut value).expect("made above, and nobody else has it"));
    value
}

/// Bytes that a full cache holds for an entry beside its block. 0 where the heap cannot be asked.
fn beside<S: Subject>(new: fn() -> S, len: fn(&S) -> u64) -> u64 {
    let before = heap::bytes_in_use();
    let cache = new();
    (0..3 * (SAMPLE_BYTES / BLOCK_BYTES) as u32).for_each(|block| cache.insert(block));
    let entries = len(&cache).max(1);
    let held = heap::bytes_in_use().zip(before).map_or(0, |(now, before)| now.saturating_sub(before) as u64);
    (held / entries).saturating_sub(BLOCK_BYTES as u64)
}

/// Weighs a block, and what an entry takes beside it.
#[derive(Clone)]
struct Weight {
    beside: u64,
}

impl quick_cache::Weighter<Key, Value> for Weight {
    fn weight(&self, _: &Key, value: &Value) -> u64 {
        value.len() as u64 + self.beside
    }
}

/// `quick_cache::sync::Cache`: CLOCK-Pro, sharded, a reader's lock for each hit.
pub struct Quick(quick_cache::sync::Cache<Key, Value, Weight>);

impl Quick {
    fn with(bytes: usize, beside: u64) -> Self {
        let entries = bytes / (BLOCK_BYTES + beside as usize);
        Self(quick_cache::sync::Cache::with_weighter(entries, bytes as u64, Weight { beside }))
    }
}

static BESIDE_QUICK: LazyLock<u64> =
    LazyLock::new(|| beside(|| Quick::with(SAMPLE_BYTES, 0), |cache| cache.0.len() as u64));

impl Subject for Quick {
    fn new(bytes: usize) -> Self {
        Self::with(bytes, *BESIDE_QUICK)
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(&place(block)).map(|found| number(&found))
    }

    fn insert(&self, block: u32) {
        self.0.insert(place(block), value(block));
    }
}

/// `moka::sync::Cache`: W-TinyLFU.
pub struct Moka(moka::sync::Cache<Key, Value>);

impl Moka {
    fn with(bytes: usize, beside: u64) -> Self {
        let weigh = move |_: &Key, value: &Value| value.len() as u32 + beside as u32;
        Self(moka::sync::Cache::builder().max_capacity(bytes as u64).weigher(weigh).build())
    }
}

static BESIDE_MOKA: LazyLock<u64> = LazyLock::new(|| {
    let settled = |cache: &Moka| {
        cache.0.run_pending_tasks();
        cache.0.entry_count()
    };
    beside(|| Moka::with(SAMPLE_BYTES, 0), settled)
});

impl Subject for Moka {
    fn new(bytes: usize) -> Self {
        Self::with(bytes, *BESIDE_MOKA)
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(&place(block)).map(|found| number(&found))
    }

    fn insert(&self, block: u32) {
        self.0.insert(place(block), value(block));
    }
}

/// A cache that weighs blocks only, and so holds more than it was given.
pub struct Flattered<S>(S);

/// What can be made to weigh blocks only.
pub trait Flatter: Subject + Sized {
    /// A cache of `bytes` bytes of blocks.
    fn of_blocks(bytes: usize) -> Self;
}

impl Flatter for Quick {
    fn of_blocks(bytes: usize) -> Self {
        Self::with(bytes, 0)
    }
}

impl Flatter for Moka {
    fn of_blocks(bytes: usize) -> Self {
        Self::with(bytes, 0)
    }
}

impl<S: Flatter> Subject for Flattered<S> {
    fn new(bytes: usize) -> Self {
        Self(S::of_blocks(bytes))
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(block)
    }

    fn insert(&self, block: u32) {
        self.0.insert(block);
    }
}
