//! `BTreeIndex`: the standard library's B-tree behind a lock.
//!
//! The oracle that other indexes are tested against, and the model of a new implementation: it keeps every law in
//! the simplest way. It owns its entries on the global allocator, so it is no choice for a memtable.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{Entry, EntryRef, KEY_BYTES_MAX, SeqNo};

/// Key ascending, sequence number descending.
type Position = (Vec<u8>, Reverse<SeqNo>);

/// The oracle: an ordered map from positions to entries that are never moved.
#[derive(Debug)]
pub struct BTreeIndex {
    /// Append-only, so that references to entries outlive the lock below.
    entries: boxcar::Vec<Entry>,
    order: RwLock<BTreeMap<Position, usize>>,
    _lease: Lease,
}

impl BTreeIndex {
    /// The first entry in `range`, from its front or from its back.
    fn find(&self, range: (Bound<Position>, Bound<Position>), from_back: bool) -> Option<&Entry> {
        // A panic elsewhere cannot leave the map half changed: an insert is its last step.
        let order = self.order.read().unwrap_or_else(PoisonError::into_inner);
        let mut range = order.range(range);
        let (_, place) = if from_back { range.next_back() } else { range.next() }?;
        self.entries.get(*place)
    }
}

fn position(key: &[u8], seqno: SeqNo) -> Position {
    (key.to_vec(), Reverse(seqno))
}

impl BlockIndex for BTreeIndex {
    const IN_ARENA: bool = false;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, _pen: &Writer) -> Result<Self, AllocError> {
        Ok(Self { entries: boxcar::Vec::new(), order: RwLock::default(), _lease: lease })
    }

    fn bytes_max(_entries: usize, _payload: usize) -> usize {
        0
    }

    fn insert(&self, _pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(InsertError::KeyTooLong { len: entry.key.len() });
        }
        let mut order = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let position = position(entry.key, entry.seqno);
        if order.contains_key(&position) {
            return Err(InsertError::Duplicate(entry.seqno));
        }
        let place = self.entries.push(entry.to_owned());
        order.insert(position, place);
        Ok(())
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let entry = self.find((Bound::Included(position(key, at)), Bound::Unbounded), false)?;
        (entry.key == key).then(|| entry.as_ref())
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        std::iter::successors(self.get(key, at), |entry| {
            self.get(entry.key, SeqNo::new(entry.seqno.get().checked_sub(1)?)?)
        })
    }

    fn freeze(&self, _pen: &Writer) -> Result<(), AllocError> {
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(BTreeCursor { index: self, entry: None })
    }

    fn len(&self) -> usize {
        self.entries.count()
    }

    fn bytes(&self) -> IndexBytes {
        IndexBytes::default()
    }
}

struct BTreeCursor<'index> {
    index: &'index BTreeIndex,
    entry: Option<&'index Entry>,
}

impl BTreeCursor<'_> {
    fn stand_at(&mut self, lower: Bound<Position>, upper: Bound<Position>, from_back: bool) -> bool {
        self.entry = self.index.find((lower, upper), from_back);
        self.entry.is_some()
    }
}

impl Cursor for BTreeCursor<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        Ok(self.stand_at(Bound::Unbounded, Bound::Unbounded, false))
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        Ok(self.stand_at(Bound::Unbounded, Bound::Unbounded, true))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        Ok(self.stand_at(Bound::Included(position(key, at)), Bound::Unbounded, false))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        Ok(self.stand_at(Bound::Unbounded, Bound::Included(position(key, at)), true))
    }

    fn next(&mut self) -> Result<bool, Infallible> {
        let Some(entry) = self.entry else { return Ok(false) };
        let here = Bound::Excluded(position(&entry.key, entry.seqno));
        Ok(self.stand_at(here, Bound::Unbounded, false))
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        let Some(entry) = self.entry else { return Ok(false) };
        let here = Bound::Excluded(position(&entry.key, entry.seqno));
        Ok(self.stand_at(Bound::Unbounded, here, true))
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.entry.map(Entry::as_ref)
    }
}
