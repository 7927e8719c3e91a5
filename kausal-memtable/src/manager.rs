//! The manager: the active memtable, the frozen ones behind it, and the way from one to the other.
//!
//! active → sealed → frozen → released:
//!
//! 1. [`MemtableManager::rotate`] makes an empty memtable in a free region, seals the active one and puts the empty one in
//!    its place. It waits for nobody: batches that have their permits finish in the sealed one, new ones go to the next.
//! 2. Who flushes freezes the sealed one, which succeeds once its last permit has ended, and writes out what its keyspaces
//!    show.
//! 3. [`MemtableManager::release`] lets go of it, and its region goes back to the pool with its last reader.
//!
//! Memory is bounded by the pool: when no region is free, `rotate` refuses and changes nothing, and the writer
//! waits for the pool's return hook. There is backpressure, never growth.
//!
//! Invariant: the memtables that readers see are one moment's, and what a reader has taken stays as it was.
//!
//! What a reader may conclude from a memtable's place is the owner's to keep: if an entry in a newer memtable shall be newer
//! than all in an older one, then a batch takes its permit and its sequence numbers under the same lock as a rotation.
//!
//! Not here: waiting, logging, flushing. The engine does these. Beside what lies in regions, a rotation allocates a memtable of
//! fixed size, and a list of the others if a reader holds that of a moment before.

use kausal_arena::sync::{Arc, Mutex};
use kausal_arena::{AllocError, RegionCoordinator, RegionUnavailable};
use kausal_index::BlockIndex;

use crate::keyspaces::Spares;
use crate::memtable::Memtable;

/// Why there was no rotation. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateRefused {
    /// No region is free: wait until one comes back.
    #[error(transparent)]
    Region(#[from] RegionUnavailable),
    /// A region is too small for an empty index.
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

impl<I, A> Tables<I, A> {
    /// All of them, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Memtable<I, A>>> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev())
    }
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
    keyspaces_max: usize,
    spares: Spares<I>,
    tables: Mutex<Arc<Tables<I, A>>>,
}

impl<I: BlockIndex, A> MemtableManager<I, A> {
    /// A manager over the pool behind `regions`, with one empty active memtable, for the default keyspace alone.
    ///
    /// # Errors
    ///
    /// [`RotateRefused`] if the pool has no free region, or one too small for an empty index.
    pub fn new(regions: RegionCoordinator, attached: A) -> Result<Self, RotateRefused> {
        Self::with_keyspaces(regions, 1, attached)
    }

    /// A manager whose memtables hold up to `keyspaces_max` keyspaces each, the default one included. Which ones may differ
    /// from memtable to memtable; how many there are over all is not limited.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// If `keyspaces_max` is 0.
    pub fn with_keyspaces(
        regions: RegionCoordinator,
        keyspaces_max: usize,
        attached: A,
    ) -> Result<Self, RotateRefused> {
        // One memtable is full while another one is new.
        let spares = Spares::new(2);
        let active = Memtable::with_spares(regions.take()?, keyspaces_max, attached, &spares)?;
        let active = Arc::new(active);
        let frozen = Vec::with_capacity(regions.total_count());
        let tables = Mutex::new(Arc::new(Tables { active, frozen }));
        Ok(Self { regions, keyspaces_max, spares, tables })
    }

    /// The memtable that takes writes. If it turns out to be sealed, there has been a rotation: ask again.
    pub fn active(&self) -> Arc<Memtable<I, A>> {
        Arc::clone(&self.tables.lock().active)
    }

    /// All memtables of this moment.
    pub fn tables(&self) -> Arc<Tables<I, A>> {
        Arc::clone(&self.tables.lock())
    }

    /// The memtable to be flushed next. It may have to be frozen first.
    pub fn oldest_frozen(&self) -> Option<Arc<Memtable<I, A>>> {
        self.tables.lock().frozen.first().cloned()
    }

    /// Number of memtables that wait for their flush.
    pub fn frozen_count(&self) -> usize {
        self.tables.lock().frozen.len()
    }

    /// Whether a rotation would find a region.
    pub fn can_rotate(&self) -> bool {
        self.regions.free_count() > 0
    }

    /// Seals the active memtable, puts an empty one with `attached` in its place, and returns the sealed one, which is
    /// frozen by who flushes it. Readers and writers wait for an exchange of pointers, however many entries there are and
    /// however many batches are being written.
    ///
    /// # Errors
    ///
    /// [`RotateRefused`].
    pub fn rotate(&self, attached: A) -> Result<Arc<Memtable<I, A>>, RotateRefused> {
        let region = self.regions.take()?;
        let next = Memtable::with_spares(region, self.keyspaces_max, attached, &self.spares)?;
        let next = Arc::new(next);
        Ok(self.change(|tables| {
            let sealed = std::mem::replace(&mut tables.active, next);
            // Under the lock: who is refused for the seal finds the next memtable.
            sealed.seal();
            tables.frozen.push(Arc::clone(&sealed));
            sealed
        }))
    }

    /// Lets go of a memtable whose entries are durable elsewhere. Its region returns to the pool in O(1) when the
    /// last reader lets go too.
    ///
    /// # Panics
    ///
    /// If `flushed` is not the oldest frozen memtable: history would have a hole.
    pub fn release(&self, flushed: &Arc<Memtable<I, A>>) {
        let released = self.change(|tables| {
            let oldest = tables.frozen.first().expect("only a frozen memtable is released");
            assert!(Arc::ptr_eq(oldest, flushed), "memtables are released oldest first");
            flushed.mark_released();
            tables.frozen.remove(0)
        });
        // Outside the lock: it may be the last hold on the region.
        drop(released);
    }

    /// Changes the memtables there are. Who holds those of a moment before keeps them: only if somebody does, a copy is made.
    fn change<R>(&self, change: impl FnOnce(&mut Tables<I, A>) -> R) -> R {
        let mut tables = self.tables.lock();
        if Arc::get_mut(&mut tables).is_none() {
            let mut frozen = Vec::with_capacity(self.regions.total_count());
            frozen.extend(tables.frozen.iter().cloned());
            *tables = Arc::new(Tables { active: Arc::clone(&tables.active), frozen });
        }
        change(Arc::get_mut(&mut tables).expect("held here alone, or just made"))
    }
}
