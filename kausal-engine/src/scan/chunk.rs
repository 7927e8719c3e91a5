//! A chunk: the entries that a cursor has copied out of a view, and what they take.
//!
//! Keys and values lie behind each other in bytes that are written in place: to put an entry in is two copies and no more. The
//! chunk remembers the key that was decided last, as older versions of it come right behind.

use std::ops::Range;

use kausal_arena::Reservation;
use kausal_index::{EntryRef, Kind};

use super::fill::FillError;
use crate::error::Error;
use crate::same_key::is_same_key;

/// A chunk ends at this many bytes, or entries.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Memory of the first chunk: a short walk asks for no more.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Entries of the first chunk of a walk of which nothing is known.
const FIRST_ENTRIES: usize = 16;
const CHUNK_ENTRIES_MAX: usize = 1024;

/// One entry of a chunk: its key in the chunk's bytes, and its value behind that.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: u32,
    middle: u32,
    end: u32,
    kind: Kind,
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

/// The key whose newest version was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    None,
    /// It is that of the chunk's last item.
    Kept,
    /// It is gone, and lies apart.
    Apart,
}

/// Entries in the order in which they were met.
pub(super) struct Chunk {
    /// Those in use come first; all of them have been written, so that an entry can be put into its place.
    bytes: Vec<u8>,
    bytes_used: usize,
    items: Vec<Item>,
    /// How many of them there are to be.
    entries_max: usize,
    /// How many the first chunk of a walk has: as many as the walks before it wanted.
    first_entries: usize,
    /// Entries of the walk's chunks before this one.
    before: usize,
    decided: Decided,
    /// Kept from chunk to chunk, so that a warm cursor allocates nothing.
    decided_key: Vec<u8>,
    charge: Reservation,
}

impl Chunk {
    /// An empty one, whose memory will be charged as `charge` is.
    pub(super) fn new(charge: Reservation) -> Self {
        Self::expecting(FIRST_ENTRIES, charge)
    }

    /// The same for somebody whose first walk wants `entries` at first.
    pub(super) fn expecting(entries: usize, charge: Reservation) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_used: 0,
            items: Vec::new(),
            entries_max: entries,
            first_entries: entries,
            before: 0,
            decided: Decided::None,
            decided_key: Vec::new(),
            charge,
        }
    }

    /// The next chunk is the first of a walk. The one before was left at its `place`.
    pub(super) fn begin_walk(&mut self, place: usize) {
        let walked = self.before + (place + 1).min(self.items.len());
        self.first_entries = match walked {
            // Nothing was there to be walked: that says nothing of walks.
            0 => self.first_entries,
            // A walk that found its chunk too short is not to find that again; one that left much may have been an exception.
            _ if walked >= self.first_entries => walked.min(FIRST_ENTRIES),
            _ => (self.first_entries + walked) / 2,
        };
        (self.before, self.entries_max) = (0, self.first_entries);
    }

    /// The next chunk goes on where this one ends: it is longer.
    pub(super) fn go_on(&mut self) {
        self.before += self.items.len();
        self.entries_max = (2 * self.entries_max).min(CHUNK_ENTRIES_MAX);
    }

    /// The next chunk goes the other way, which nobody could know.
    pub(super) fn turn(&mut self) {
        (self.before, self.entries_max) = (0, FIRST_ENTRIES);
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes_used = 0;
        self.decided = Decided::None;
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.entries_max || self.bytes_used >= CHUNK_BYTES_MAX
    }

    #[inline]
    pub(super) fn key(&self, place: usize) -> Option<&[u8]> {
        self.items.get(place).map(|item| &self.bytes[item.key()])
    }

    /// What the entry says, and its value or what refers to it.
    #[inline]
    pub(super) fn value(&self, place: usize) -> Option<(Kind, &[u8])> {
        self.items.get(place).map(|item| (item.kind, &self.bytes[item.value()]))
    }

    /// Whether a newer version of `key` was met, which is right before it.
    #[inline]
    pub(super) fn is_decided(&self, key: &[u8]) -> bool {
        match self.decided {
            Decided::None => false,
            Decided::Kept => self.last_key().is_some_and(|last| is_same_key(last, key)),
            Decided::Apart => is_same_key(&self.decided_key, key),
        }
    }

    /// The key whose newest version was met last.
    pub(super) fn decided_key(&self) -> Option<&[u8]> {
        match self.decided {
            Decided::None => None,
            Decided::Kept => self.last_key(),
            Decided::Apart => Some(&self.decided_key),
        }
    }

    /// The key of the last entry.
    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.items.last().map(|item| &self.bytes[item.key()])
    }

    /// Passes the newest version of `key`, which is gone.
    #[inline]
    pub(super) fn pass(&mut self, key: &[u8]) {
        self.decided = Decided::Apart;
        if self.decided_key.len() == key.len() {
            copy_key(&mut self.decided_key, key);
        } else {
            self.decided_key.clear();
            self.decided_key.extend_from_slice(key);
        }
    }

    /// Copies an entry into the chunk. Answers `false` if memory is so short that the chunk has to end before it.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: EntryRef<'_>) -> Result<bool, FillError> {
        let start = self.bytes_used;
        let (middle, end) = (start + entry.key.len(), start + entry.payload_bytes());
        if end > self.bytes.len() && !self.make_room(end)? {
            return Ok(false);
        }
        let (key, value) = self.bytes[start..end].split_at_mut(entry.key.len());
        copy_key(key, entry.key);
        value.copy_from_slice(entry.value);
        self.bytes_used = end;
        // An entry beside its key is shorter than a memtable's region, of which offsets are as short.
        let (start, middle, end) = (start as u32, middle as u32, end as u32);
        self.items.push(Item { start, middle, end, kind: entry.kind });
        self.decided = Decided::Kept;
        Ok(true)
    }

    /// Room for `needed` bytes of a chunk, charged. Answers `false` if memory is so short that the chunk has to end here.
    #[cold]
    fn make_room(&mut self, needed: usize) -> Result<bool, FillError> {
        let items = (self.items.capacity() + FIRST_ENTRIES) * size_of::<Item>();
        let roomy = needed.max(2 * self.bytes.len()).max(CHUNK_BYTES_MIN);
        // Others may hold what a long chunk would need: a short one walks on all the same.
        let len = if self.charge.resize(roomy + items).is_ok() {
            roomy
        } else {
            match self.charge.resize(needed + items) {
                Ok(()) => needed,
                Err(_) if !self.items.is_empty() => return Ok(false),
                Err(error) => return Err(Error::from(error).into()),
            }
        };
        self.bytes.reserve_exact(len - self.bytes.len());
        self.bytes.resize(len, 0);
        Ok(true)
    }
}

/// Copies a key to where there is room for it; one of sixteen bytes without a call.
#[inline(always)]
fn copy_key(room: &mut [u8], key: &[u8]) {
    match (<&mut [u8; 16]>::try_from(&mut *room), <&[u8; 16]>::try_from(key)) {
        (Ok(room), Ok(key)) => *room = *key,
        _ => room.copy_from_slice(key),
    }
}

#[cfg(test)]
mod tests {
    use kausal_arena::Budget;
    use kausal_index::SeqNo;

    use super::*;

    fn chunk() -> Chunk {
        Chunk::new(Budget::root("cursors", 1 << 20).reserve(0).unwrap())
    }

    /// Fills the chunk from `first` on, and answers how many entries it took.
    fn fill(chunk: &mut Chunk, first: usize) -> usize {
        chunk.clear();
        while !chunk.is_full() {
            let key = ((first + chunk.len()) as u64).to_be_bytes();
            let seqno = SeqNo::new(1).unwrap();
            let entry = EntryRef { key: &key, seqno, kind: Kind::Put, value: b"value" };
            assert!(matches!(chunk.push(entry), Ok(true)));
        }
        chunk.len()
    }

    /// Walks over `entries` entries, and answers how many were copied for that, chunk by chunk.
    fn walk(chunk: &mut Chunk, left_at: &mut usize, entries: usize) -> Vec<usize> {
        chunk.begin_walk(*left_at);
        let (mut copied, mut before) = (vec![fill(chunk, 0)], 0);
        while before + chunk.len() < entries {
            before += chunk.len();
            chunk.go_on();
            copied.push(fill(chunk, before));
        }
        *left_at = entries - before - 1;
        copied
    }

    #[test]
    fn the_first_chunk_is_as_long_as_the_walks_before_it() {
        let (mut chunk, mut left_at) = (chunk(), 0);
        assert_eq!(walk(&mut chunk, &mut left_at, 11), [16]);
        let lengths: Vec<_> = (0..5).map(|_| walk(&mut chunk, &mut left_at, 11)).collect();
        assert_eq!(
            lengths,
            [[13], [12], [11], [11], [11]],
            "one that left some makes the next shorter by half"
        );
        assert_eq!(walk(&mut chunk, &mut left_at, 13), [11, 22]);
        assert_eq!(walk(&mut chunk, &mut left_at, 13), [13], "one that found too few makes the next as long");
        assert_eq!(walk(&mut chunk, &mut left_at, 100), [13, 26, 52, 104]);
        assert_eq!(walk(&mut chunk, &mut left_at, 1), [16]);
    }

    #[test]
    fn keys_and_values_lie_where_they_were_put() {
        let mut chunk = chunk();
        for first in [0, 1000] {
            let len = fill(&mut chunk, first);
            for place in 0..len {
                assert_eq!(chunk.key(place), Some(&((first + place) as u64).to_be_bytes()[..]));
                assert_eq!(chunk.value(place), Some((Kind::Put, &b"value"[..])));
            }
            assert_eq!((chunk.key(len), chunk.value(len)), (None, None));
        }
    }
}
