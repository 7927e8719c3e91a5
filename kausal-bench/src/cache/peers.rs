//! The field's caches. Each holds `Arc<[u8]>`, weighed by its bytes: what they take beside that is theirs for free.

use std::sync::Arc;

use super::subject::{Subject, fill, number, place};
use super::trace::BLOCK_BYTES;

type Key = (u64, u64);
type Value = Arc<[u8]>;

fn value(block: u32) -> Value {
    let mut value: Value = std::iter::repeat_n(0, BLOCK_BYTES).collect();
    fill(block, Arc::get_mut(&mut value).expect("it is new"));
    value
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Key, Value> for Weight {
    fn weight(&self, _: &Key, value: &Value) -> u64 {
        value.len() as u64
    }
}

/// `quick_cache::sync::Cache`: CLOCK-Pro, sharded, a reader's lock for each hit.
pub struct Quick(quick_cache::sync::Cache<Key, Value, Weight>);

impl Subject for Quick {
    fn new(bytes: usize) -> Self {
        Self(quick_cache::sync::Cache::with_weighter(bytes / BLOCK_BYTES, bytes as u64, Weight))
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(&place(block)).map(|found| number(&found))
    }

    fn insert(&self, block: u32) {
        self.0.insert(place(block), value(block));
    }

    fn held_max(&self) -> usize {
        self.0.weight() as usize
    }
}

/// `moka::sync::Cache`: W-TinyLFU.
pub struct Moka(moka::sync::Cache<Key, Value>);

impl Subject for Moka {
    fn new(bytes: usize) -> Self {
        let cache = moka::sync::Cache::builder();
        Self(cache.max_capacity(bytes as u64).weigher(|_, value: &Value| value.len() as u32).build())
    }

    #[inline]
    fn get(&self, block: u32) -> Option<u64> {
        self.0.get(&place(block)).map(|found| number(&found))
    }

    fn insert(&self, block: u32) {
        self.0.insert(place(block), value(block));
    }

    fn held_max(&self) -> usize {
        self.0.weighted_size() as usize
    }
}
