//! The keyspaces of a memtable beside the default one: made when a batch first needs them, found without a lock.
//!
//! 1. A place for each possible keyspace is made with the memtable; an index itself is a value on its own, and only its
//!    nodes and entries lie in the region.
//! 2. Who needs a keyspace that is not there makes it, on a permit of its own, under a lock, and enters it in the
//!    directory: open addressing, one word per entry.
//! 3. Who looks for one reads the directory. Nothing is ever removed.
//! 4. The places of a memtable that has gone are left to the next one, empty. They are 80 KB of aligned memory for 63
//!    keyspaces: made anew for each memtable, they leave holes in the allocator's heap that never close.
//!
//! Invariants:
//! 1. A word of the directory names a place that has been filled before.
//! 2. The directory is never more than half full, so every search ends.

use std::sync::{Arc, OnceLock};

use kausal_arena::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use kausal_arena::{PermitRefused, Region};
use kausal_index::{BlockIndex, KeyspaceId};

use crate::keyspace::Keyspace;
use crate::memtable::BatchRefused;

/// A place for each possible keyspace.
type Places<I> = Box<[OnceLock<Keyspace<I>>]>;

/// Places that memtables have left behind, for the next ones. Cloning gives another handle.
#[derive(Debug)]
pub(crate) struct Spares<I> {
    places: Arc<Mutex<Vec<Places<I>>>>,
    /// So many are kept.
    max: usize,
}

impl<I> Clone for Spares<I> {
    fn clone(&self) -> Self {
        Self { places: Arc::clone(&self.places), max: self.max }
    }
}

impl<I> Spares<I> {
    /// Keeps the places of `max` memtables.
    pub(crate) fn new(max: usize) -> Self {
        Self { places: Arc::new(Mutex::new(Vec::with_capacity(max))), max }
    }

    fn take(&self, len: usize) -> Places<I> {
        let spare = self.places.lock().pop().filter(|places| places.len() == len);
        spare.unwrap_or_else(|| (0..len).map(|_| OnceLock::new()).collect())
    }

    fn give(&self, mut places: Places<I>) {
        places.iter_mut().for_each(|place| drop(place.take()));
        let mut spares = self.places.lock();
        if spares.len() < self.max {
            spares.push(places);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Keyspaces<I> {
    /// `id << 32 | place + 1`; 0 is nothing.
    directory: Box<[AtomicU64]>,
    // Its state needs no model: the directory publishes a place, and the cell would do so again.
    places: Places<I>,
    count: AtomicUsize,
    making: Mutex<()>,
    spares: Spares<I>,
}

impl<I> Drop for Keyspaces<I> {
    fn drop(&mut self) {
        self.spares.give(std::mem::take(&mut self.places));
    }
}

impl<I: BlockIndex> Keyspaces<I> {
    /// Room for `max` keyspaces; without any, no memory.
    pub(crate) fn new(max: usize, spares: &Spares<I>) -> Self {
        let words = if max == 0 { 0 } else { (2 * max).next_power_of_two() };
        Self {
            directory: (0..words).map(|_| AtomicU64::new(0)).collect(),
            places: spares.take(max),
            count: AtomicUsize::new(0),
            making: Mutex::new(()),
            spares: spares.clone(),
        }
    }

    pub(crate) fn max(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn find(&self, id: KeyspaceId) -> Option<&Keyspace<I>> {
        // Acquire: pairs with the Release in `enter`; who sees the word sees the keyspace.
        let order = if cfg!(kausal_planted = "memtable_keyspace_relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Acquire
        };
        let words = self.search(id).map(|place| self.directory[place].load(order));
        let word = words.take_while(|&word| word != 0).find(|word| (word >> 32) as u32 == id.0)?;
        self.places[word as u32 as usize - 1].get()
    }

    /// Places of the directory in the order in which `id` tries them.
    fn search(&self, id: KeyspaceId) -> impl Iterator<Item = usize> + use<I> {
        let words = self.directory.len();
        // Fibonacci hashing (Knuth, volume 3, 6.4): ids that come one after the other are spread.
        let first = (id.0.wrapping_mul(0x9E37_79B9) >> 7) as usize;
        (0..words).map(move |step| (first + step) & (words - 1))
    }

    /// The keyspace `id`, made if it is not there.
    pub(crate) fn find_or_make(&self, id: KeyspaceId, region: &Region) -> Result<&Keyspace<I>, BatchRefused> {
        if let Some(keyspace) = self.find(id) {
            return Ok(keyspace);
        }
        let _turn = self.making.lock();
        if let Some(keyspace) = self.find(id) {
            return Ok(keyspace);
        }
        let place = self.count.load(Ordering::Relaxed);
        let cell = self.places.get(place).ok_or(BatchRefused::KeyspacesFull { max: 1 + self.max() })?;
        let permit = region.permit(I::bytes_max(0, 0))?;
        let made = Keyspace::create(id, region.lease(), permit.pen());
        let made = made.map_err(|_| PermitRefused::Full { need: permit.bytes(), have: 0 })?;
        let keyspace = cell.get_or_init(|| made);
        self.enter(id, place);
        // Release: pairs with the Acquire in `iter`.
        self.count.store(place + 1, Ordering::Release);
        Ok(keyspace)
    }

    fn enter(&self, id: KeyspaceId, place: usize) {
        let is_free = |word: &usize| self.directory[*word].load(Ordering::Relaxed) == 0;
        let word = self.search(id).find(is_free).expect("the directory is at most half full (invariant 2)");
        // Release: pairs with the Acquire in `find`.
        let order = if cfg!(kausal_planted = "memtable_keyspace_relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        self.directory[word].store(u64::from(id.0) << 32 | (place as u64 + 1), order);
    }

    /// All there are, in the order in which they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Keyspace<I>> {
        // Acquire: pairs with the Release in `find_or_make`.
        let count = self.count.load(Ordering::Acquire);
        self.places[..count].iter().filter_map(OnceLock::get)
    }
}
