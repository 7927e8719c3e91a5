//! `PlainTree`: an index written for docs/write-your-own-index.md, in safe Rust and without a lock.
//!
//! 1. It is a binary search tree over positions (key ascending, sequence number descending).
//! 2. An insert walks down to an empty place and sets it. If another thread was faster, it walks on from there.
//! 3. Nothing moves and nothing is removed, so a reader may keep a reference as long as it borrows the index.
//!
//! Not here: balance. Ascending keys make a list of it. And not in the arena: its nodes lie on the heap, but for
//! each it takes as many bytes from the pen, so that a memtable over it is full when its budget says so.

use std::alloc::Layout;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kausal_arena::{AllocError, Lease, Writer};
use kausal_index::{
    BlockIndex, Cursor, Entry, EntryRef, IndexBytes, InsertError, KEY_BYTES_MAX, SeqNo, Unordered,
};

/// Where a node hangs, or will.
type Place = OnceLock<Box<Node>>;

struct Node {
    entry: Entry,
    left: Place,
    right: Place,
}

/// A binary search tree that only grows.
pub(crate) struct PlainTree {
    root: Place,
    len: AtomicUsize,
    /// Bytes taken from the pens: for entries that are in the tree, and for those that came too late.
    live: AtomicUsize,
    dead: AtomicUsize,
    _lease: Lease,
}

impl PlainTree {
    /// The entry next to (`key`, `at`): the first one for which `is_beyond` its order to that position, coming from
    /// the right (`from_right`) or from the left.
    fn nearest(
        &self,
        key: &[u8],
        at: SeqNo,
        from_right: bool,
        is_beyond: fn(Ordering) -> bool,
    ) -> Option<EntryRef<'_>> {
        let (mut place, mut nearest) = (&self.root, None);
        while let Some(node) = place.get() {
            let is_candidate = is_beyond(node.entry.as_ref().cmp_position(key, at));
            if is_candidate {
                nearest = Some(node.entry.as_ref());
            }
            place = if is_candidate == from_right { &node.left } else { &node.right };
        }
        nearest
    }

    /// The entry at one end.
    fn outermost(&self, left: bool) -> Option<EntryRef<'_>> {
        let (mut place, mut outermost) = (&self.root, None);
        while let Some(node) = place.get() {
            outermost = Some(node.entry.as_ref());
            place = if left { &node.left } else { &node.right };
        }
        outermost
    }
}

impl BlockIndex for PlainTree {
    const IN_ARENA: bool = false;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, _pen: &Writer) -> Result<Self, AllocError> {
        let (len, live, dead) = Default::default();
        Ok(Self { root: Place::new(), len, live, dead, _lease: lease })
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        entries.saturating_mul(size_of::<Node>()).saturating_add(payload)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(InsertError::KeyTooLong { len: entry.key.len() });
        }
        let bytes = Self::bytes_max(1, entry.payload_bytes());
        let too_large = |_| AllocError::TooLarge { bytes, max: isize::MAX as usize };
        pen.try_alloc_layout(Layout::array::<u8>(bytes).map_err(too_large)?)?;
        let mut node = Box::new(Node { entry: entry.to_owned(), left: Place::new(), right: Place::new() });
        let mut place = &self.root;
        loop {
            match place.set(node) {
                Ok(()) => break,
                Err(refused) => node = refused,
            }
            let taken = place.get().expect("who is refused a place finds it taken");
            place = match entry.cmp_position(&taken.entry.key, taken.entry.seqno) {
                Ordering::Less => &taken.left,
                Ordering::Greater => &taken.right,
                Ordering::Equal => {
                    self.dead.fetch_add(bytes, Relaxed);
                    return Err(InsertError::Duplicate(entry.seqno));
                }
            };
        }
        self.len.fetch_add(1, Relaxed);
        self.live.fetch_add(bytes, Relaxed);
        Ok(())
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.nearest(key, at, true, Ordering::is_ge).filter(|entry| entry.key == key)
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let older = |entry: &EntryRef<'_>| SeqNo::new(entry.seqno.get() - 1);
        iter::successors(self.get(key, at), move |entry| self.get(entry.key, older(entry)?))
    }

    fn freeze(&self, _pen: &Writer) -> Result<(), AllocError> {
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(PlainCursor { tree: self, entry: None })
    }

    fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    fn bytes(&self) -> IndexBytes {
        IndexBytes { live: self.live.load(Relaxed), dead: self.dead.load(Relaxed), slack: 0 }
    }
}

struct PlainCursor<'tree> {
    tree: &'tree PlainTree,
    entry: Option<EntryRef<'tree>>,
}

impl<'tree> PlainCursor<'tree> {
    fn stand_on(&mut self, entry: Option<EntryRef<'tree>>) -> Result<bool, Infallible> {
        self.entry = entry;
        Ok(entry.is_some())
    }
}

impl Cursor for PlainCursor<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.stand_on(self.tree.outermost(true))
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.stand_on(self.tree.outermost(false))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand_on(self.tree.nearest(key, at, true, Ordering::is_ge))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand_on(self.tree.nearest(key, at, false, Ordering::is_le))
    }

    fn next(&mut self) -> Result<bool, Infallible> {
        let Some(EntryRef { key, seqno, .. }) = self.entry else { return Ok(false) };
        self.stand_on(self.tree.nearest(key, seqno, true, Ordering::is_gt))
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        let Some(EntryRef { key, seqno, .. }) = self.entry else { return Ok(false) };
        self.stand_on(self.tree.nearest(key, seqno, false, Ordering::is_lt))
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.entry
    }
}

impl Drop for PlainTree {
    /// Node by node: left to itself, a deep tree would be dropped by as deep a recursion.
    fn drop(&mut self) {
        let mut places = vec![std::mem::take(&mut self.root)];
        while let Some(place) = places.pop() {
            places.extend(place.into_inner().map(|node| [node.left, node.right]).into_iter().flatten());
        }
    }
}
