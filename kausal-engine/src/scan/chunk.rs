//! The memory of a cursor: a chunk of entries, and what walks need besides.
//!
//! 1. A chunk's bytes are written once, when there is room for them, and count as used one entry after the other. So an entry
//!    is copied in pieces of a fixed size where it is short, which is most of the time.
//! 2. A cursor that ends leaves its memory, charged as it is, to the next one: within half of the budget's floor, so
//!    that it is taken from nobody.
//! 3. With it goes how far walks have gone lately, which is how many entries the next one fetches first.

use std::ops::Range;

use kausal_arena::sync::Mutex;
use kausal_arena::{Budget, Reservation};
use kausal_index::{EntryRef, Kind};
use kausal_sstable::MergeMemory;

use crate::error::Error;

/// A chunk ends at this many bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 128 << 10;
/// Memory of the first chunk: a short walk asks for no more.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Entries that there is room for at least.
const ROOM_ENTRIES_MIN: usize = 16;

/// Entries of a first chunk while nobody knows how far walks go: a seek and ten steps, and one more.
const WALK_ENTRIES: usize = 12;
/// Bounds of what is learnt about it.
const WALK_ENTRIES_MIN: usize = 4;
const WALK_ENTRIES_MAX: usize = 128;

/// Memories of ended cursors that are kept at most: a look at all of them is short.
const IDLE_MAX: usize = 16;

/// One entry of a chunk: its key in the chunk's bytes, and its value behind that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    start: u32,
    middle: u32,
    end: u32,
    pub(super) kind: Kind,
}

impl Item {
    #[inline]
    fn key(self) -> Range<usize> {
        self.start as usize..self.middle as usize
    }

    #[inline]
    fn value(self) -> Range<usize> {
        self.middle as usize..self.end as usize
    }
}

/// Copies of entries, one after the other.
#[derive(Debug)]
pub(super) struct Chunk {
    /// All of it may be written to; the items' bytes come first.
    bytes: Vec<u8>,
    used: usize,
    items: Vec<Item>,
    charge: Reservation,
}

impl Chunk {
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.items.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub(super) fn item(&self, place: usize) -> Option<Item> {
        self.items.get(place).copied()
    }

    #[inline]
    pub(super) fn key(&self, item: Item) -> &[u8] {
        &self.bytes[item.key()]
    }

    #[inline]
    pub(super) fn value(&self, item: Item) -> &[u8] {
        &self.bytes[item.value()]
    }

    #[inline]
    pub(super) fn is_full(&self, entries_max: usize) -> bool {
        self.items.len() >= entries_max || self.used >= CHUNK_BYTES_MAX
    }

    /// Whether the last item's key is `key`.
    #[inline]
    pub(super) fn ends_with(&self, key: &[u8]) -> bool {
        self.items.last().is_some_and(|&item| is_same(self.key(item), key))
    }

    /// Copies an entry. Answers `false` if memory is so short that the chunk has to end before it.
    #[inline]
    pub(super) fn push(&mut self, entry: EntryRef<'_>) -> Result<bool, Error> {
        let start = self.used;
        let (middle, end) = (start + entry.key.len(), start + entry.payload_bytes());
        if (end > self.bytes.len() || self.items.len() == self.items.capacity()) && !self.make_room(end)? {
            return Ok(false);
        }
        let (key, value) = self.bytes[start..end].split_at_mut(entry.key.len());
        copy(key, entry.key);
        copy(value, entry.value);
        self.used = end;
        // An entry beside its key is shorter than a memtable's region, of which offsets are as short.
        let (start, middle, end) = (start as u32, middle as u32, end as u32);
        self.items.push(Item { start, middle, end, kind: entry.kind });
        Ok(true)
    }

    /// Room for `needed` bytes and another item, charged. Answers `false` if memory is so short that the chunk has to end here.
    #[cold]
    fn make_room(&mut self, needed: usize) -> Result<bool, Error> {
        let (bytes, items) = (self.bytes.len(), self.items.capacity());
        let least = needed.max(bytes);
        let roomy = if needed > bytes { needed.max(2 * bytes).max(CHUNK_BYTES_MIN) } else { bytes };
        let more = if self.items.len() == items { items.max(ROOM_ENTRIES_MIN) } else { 0 };
        let charge = |bytes: usize, items: usize| bytes + items * size_of::<Item>();
        // Others may hold what a long chunk would need: a short one walks on all the same.
        let (bytes, items) = if self.charge.resize(charge(roomy, items + more)).is_ok() {
            (roomy, items + more)
        } else {
            let more = more.min(ROOM_ENTRIES_MIN);
            match self.charge.resize(charge(least, items + more)) {
                Ok(()) => (least, items + more),
                Err(_) if !self.items.is_empty() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        };
        self.bytes.reserve_exact(bytes - self.bytes.len());
        self.bytes.resize(bytes, 0);
        self.items.reserve_exact(items - self.items.len());
        Ok(true)
    }
}

/// Copies `source`, which is as long as `target`. A short one in two pieces, which may overlap: a copy of a length not known
/// before costs more.
#[inline]
fn copy(target: &mut [u8], source: &[u8]) {
    match source.len() {
        8..16 => copy_ends::<8>(target, source),
        16..=32 => copy_ends::<16>(target, source),
        64..=128 => copy_ends::<64>(target, source),
        _ => target.copy_from_slice(source),
    }
}

/// Copies the first and the last `N` bytes.
#[inline]
fn copy_ends<const N: usize>(target: &mut [u8], source: &[u8]) {
    if let Some((target, source)) = target.first_chunk_mut::<N>().zip(source.first_chunk()) {
        *target = *source;
    }
    if let Some((target, source)) = target.last_chunk_mut::<N>().zip(source.last_chunk()) {
        *target = *source;
    }
}

/// Whether two keys are equal, without a call where they are short or differ at their ends.
#[inline]
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match (left.first_chunk::<8>().zip(right.first_chunk()), left.last_chunk::<8>().zip(right.last_chunk())) {
        (Some((front_left, front_right)), Some((back_left, back_right))) => {
            front_left == front_right && back_left == back_right && (left.len() <= 16 || left == right)
        }
        _ => left == right,
    }
}

/// What a cursor keeps from chunk to chunk, so that a warm one allocates nothing.
#[derive(Debug)]
pub(crate) struct CursorMemory {
    pub(super) chunk: Chunk,
    /// The key whose newest version was seen last and is gone.
    pub(super) decided: Vec<u8>,
    /// The key that the next chunk begins behind.
    pub(super) parked: Vec<u8>,
    pub(super) merge: MergeMemory,
    walk_entries: usize,
}

impl CursorMemory {
    fn new(budget: &Budget) -> Self {
        let charge = Reservation::empty(budget);
        let chunk = Chunk { bytes: Vec::new(), used: 0, items: Vec::new(), charge };
        let (decided, parked, merge) = (Vec::new(), Vec::new(), MergeMemory::default());
        Self { chunk, decided, parked, merge, walk_entries: WALK_ENTRIES }
    }

    /// Entries of the first chunk after a seek.
    pub(super) fn walk_entries(&self) -> usize {
        self.walk_entries
    }

    /// Learns that a walk went over `entries`: half of what is believed comes from the last one.
    pub(super) fn learn(&mut self, entries: usize) {
        if entries == 0 {
            return;
        }
        let entries = entries.clamp(WALK_ENTRIES_MIN, WALK_ENTRIES_MAX);
        // Rounded towards the last one, so that walks of one length are met by a chunk of just that.
        let rounding = usize::from(entries > self.walk_entries);
        self.walk_entries = (self.walk_entries + entries + rounding) / 2;
    }
}

/// The memory of cursors that have ended.
#[derive(Debug)]
pub(crate) struct CursorPool {
    /// Before the budget: what is kept is charged to it.
    idle: Mutex<Vec<CursorMemory>>,
    kept_max: usize,
    budget: Budget,
}

impl CursorPool {
    /// Nothing yet; all is charged to `budget`.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { idle: Mutex::new(Vec::new()), kept_max: budget.reserved() / 2, budget: budget.clone() }
    }

    /// The memory for a cursor.
    pub(super) fn take(&self) -> CursorMemory {
        self.idle.lock().pop().unwrap_or_else(|| CursorMemory::new(&self.budget))
    }

    /// Keeps the memory of a cursor that ends, if there is room.
    pub(super) fn give(&self, memory: &mut CursorMemory) {
        let memory = std::mem::replace(memory, CursorMemory::new(&self.budget));
        // What is beside the chunk is of the length of a key or two; a very long one is not worth keeping.
        if memory.decided.capacity() + memory.parked.capacity() > CHUNK_BYTES_MIN {
            return;
        }
        let mut idle = self.idle.lock();
        let kept: usize = idle.iter().map(|memory| memory.chunk.charge.bytes()).sum();
        if idle.len() < IDLE_MAX && kept + memory.chunk.charge.bytes() <= self.kept_max {
            idle.push(memory);
        }
    }
}

#[cfg(test)]
mod tests;
