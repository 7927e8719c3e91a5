//! The manager: the active memtable, the frozen ones behind it, and the way from one to the other.
//!
//! active → frozen → released: [`MemtableManager::rotate`] freezes the active memtable and puts an empty one in
//! its place; whoever flushed a frozen one calls [`MemtableManager::release`], and its region goes back to the
//! pool with its last reader.
//!
//! Memory is bounded by the pool: when no region is free, `rotate` refuses and changes nothing, and the writer
//! waits for the pool's return hook. There is backpressure, never growth.
//!
//! Not here: waiting, logging, flushing. The engine does these; the manager allocates nothing but in the regions
//! that its coordinator hands out.

use std::sync::Arc;

use kausal_arena::{AllocError, PermitsLive, RegionCoordinator, RegionUnavailable};
use kausal_index::BlockIndex;
use parking_lot::RwLock;

use crate::memtable::{FreezeRefused, Memtable};

/// Why there was no rotation. Nothing has changed, except that with `Permits` the active memtable mints no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateRefused {
    /// No region is free: wait until one comes back.
    #[error(transparent)]
    Region(#[from] RegionUnavailable),
    /// Batches are still being written: ask again when their permits have ended.
    #[error(transparent)]
    Permits(#[from] PermitsLive),
    /// A region is too small for an empty index, or for the order of a full one.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

/// The memtables of one moment, for readers.
#[derive(Debug)]
pub struct Tables<I, A = ()> {
    /// Takes the writes.
    pub active: Arc<Memtable<I, A>>,
    /// Wait for their flush, oldest first.
    pub frozen: Vec<Arc<Memtable<I, A>>>,
}

impl<I, A> Clone for Tables<I, A> {
    fn clone(&self) -> Self {
        Self { active: Arc::clone(&self.active), frozen: self.frozen.clone() }
    }
}

/// Owner of the memtables in the regions of somebody else's pool.
#[derive(Debug)]
pub struct MemtableManager<I, A = ()> {
    regions: RegionCoordinator,
    tables: RwLock<Tables<I, A>>,
}

impl<I: BlockIndex, A> MemtableManager<I, A> {
    /// A manager over the pool behind `regions`, with one empty active memtable.
    ///
    /// # Errors
    ///
    /// [`RotateRefused`] if the pool has no free region, or one too small for an empty index.
    pub fn new(regions: RegionCoordinator, attached: A) -> Result<Self, RotateRefused> {
        let active = Arc::new(Memtable::new(regions.take()?, attached)?);
        Ok(Self { regions, tables: RwLock::new(Tables { active, frozen: Vec::new() }) })
    }

    /// The memtable that takes writes.
    pub fn active(&self) -> Arc<Memtable<I, A>> {
        Arc::clone(&self.tables.read().active)
    }

    /// All memtables of this moment.
    pub fn tables(&self) -> Tables<I, A> {
        self.tables.read().clone()
    }

    /// The frozen memtable to be flushed next.
    pub fn oldest_frozen(&self) -> Option<Arc<Memtable<I, A>>> {
        self.tables.read().frozen.first().cloned()
    }

    /// Number of memtables that wait for their flush.
    pub fn frozen_count(&self) -> usize {
        self.tables.read().frozen.len()
    }

    /// Whether a rotation would find a region.
    pub fn can_rotate(&self) -> bool {
        self.regions.free_count() > 0
    }

    /// Freezes the active memtable, puts an empty one with `attached` in its place, and returns the frozen one.
    ///
    /// # Errors
    ///
    /// [`RotateRefused`].
    pub fn rotate(&self, attached: A) -> Result<Arc<Memtable<I, A>>, RotateRefused> {
        let mut tables = self.tables.write();
        let next = Memtable::new(self.regions.take()?, attached)?;
        tables.active.freeze().map_err(|refused| match refused {
            FreezeRefused::Permits(permits) => RotateRefused::Permits(permits),
            FreezeRefused::Alloc(error) => RotateRefused::Alloc(error),
        })?;
        let frozen = std::mem::replace(&mut tables.active, Arc::new(next));
        tables.frozen.push(Arc::clone(&frozen));
        Ok(frozen)
    }

    /// Lets go of a memtable whose entries are durable elsewhere. Its region returns to the pool in O(1) when the
    /// last reader lets go too.
    ///
    /// # Panics
    ///
    /// If `flushed` is not the oldest frozen memtable: history would have a hole.
    pub fn release(&self, flushed: &Arc<Memtable<I, A>>) {
        let mut tables = self.tables.write();
        let oldest = tables.frozen.first().expect("only a frozen memtable is released");
        assert!(Arc::ptr_eq(oldest, flushed), "memtables are released oldest first");
        flushed.mark_released();
        tables.frozen.remove(0);
    }
}
