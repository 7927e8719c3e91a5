//! The nodes of a tree: their layout, and what single stores may do to them.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | the word: right neighbour (32 bits), lock (1), rewriting (1), number of slots (16) |
//! | 1 | level: 0 is a leaf |
//! | 1, 6 × 8 | how many bytes all keys of the node begin with in common, and these bytes, big-endian |
//! | 8 each | per slot: the eight bytes of its key behind the common ones, big-endian, padded with zeros |
//! | 4 each | per slot: its entry |
//! | 4 each | inner nodes only, per slot: its child |
//!
//! Children are stored first, then entries, then prefixes, each with Release: who sees a prefix sees an entry and a child
//! that are as new or newer, and all that was stored before.
//!
//! The low keys of a node and of its right neighbour bound its keys, so what both begin with, all of them begin with.
//! When a split makes a node narrower, more bytes may be common: its prefixes are then written anew, under a bit of the
//! word that tells readers to compare whole keys meanwhile. Without that, keys with a common beginning (paths!) would
//! tie in all prefixes, and every comparison would be a cache miss.
//!
//! The invariants cited by number are those of the folder's first page.

use std::alloc::Layout;

use kausal_arena::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use kausal_arena::{AllocError, Writer};

use crate::tree::memory::{Memory, NIL};
use crate::tree::search::prefix_behind;

/// Slots of a node. 32 to 64 measured best; the model checkers get small nodes, so that splits come early.
#[cfg(not(any(loom, shuttle)))]
pub(super) const SLOTS: usize = 64;
#[cfg(any(loom, shuttle))]
pub(super) const SLOTS: usize = 4;

/// Words of common bytes: what is left of a node's first line.
const COMMON_WORDS: usize = 6;

/// Most bytes that a node leaves out of its prefixes.
pub(super) const COMMON_BYTES_MAX: usize = 8 * COMMON_WORDS;

/// Bytes that a node takes besides its own size, so that it can begin with a line whatever the pen's position is.
pub(super) const NODE_SLACK: usize = align_of::<Leaf>() - 1;

/// Lines of a node that a search reads: header, prefixes and entries.
const SEARCH_LINES: usize = size_of::<Leaf>().div_ceil(64);

/// Right neighbour, lock and number of slots, as they are stored in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    const LOCK: u64 = 1 << 31;
    const REWRITING: u64 = 1 << 30;
    /// Equal to no word of a node: has the lock, and more slots than there are.
    pub(super) const NEVER: Self = Self(Self::LOCK | 0xffff);

    pub(super) fn new(next: u32, len: usize) -> Self {
        Self((next as u64) << 32 | len as u64)
    }

    #[inline]
    pub(super) fn next(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline]
    pub(super) fn is_locked(self) -> bool {
        self.0 & Self::LOCK != 0
    }

    /// Whether prefixes and common bytes do not belong together at the moment.
    #[inline]
    pub(super) fn is_rewriting(self) -> bool {
        self.0 & Self::REWRITING != 0
    }

    /// Whether a search that began under this word and ended under `after` saw a node whose slots only shifted.
    #[inline]
    pub(super) fn has_held(self, after: Self) -> bool {
        (self.0 ^ after.0) & (0xffff_ffff << 32 | Self::REWRITING) == 0
    }

    pub(super) fn rewriting(self) -> Self {
        Self(self.0 | Self::REWRITING)
    }

    fn locked(self) -> Self {
        Self(self.0 | Self::LOCK)
    }

    pub(super) fn is_full(self) -> bool {
        self.len() == SLOTS
    }

    /// With one slot more.
    pub(super) fn longer(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What one slot holds.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) prefix: u64,
    pub(super) entry: u32,
    /// Nil in a leaf.
    pub(super) child: u32,
}

/// A leaf, and the beginning of every inner node.
#[repr(C, align(64))]
pub(super) struct Leaf {
    word: AtomicU64,
    common: [AtomicU64; COMMON_WORDS],
    common_bytes: AtomicU8,
    level: u8,
    prefixes: [AtomicU64; SLOTS],
    entries: [AtomicU32; SLOTS],
}

/// A node above the leaves.
#[repr(C)]
pub(super) struct Inner {
    node: Leaf,
    children: [AtomicU32; SLOTS],
}

/// A node of either kind, to be read by anyone and changed by who holds its lock.
#[derive(Clone, Copy)]
pub(super) struct Node<'m> {
    pub(super) offset: u32,
    leaf: &'m Leaf,
    /// Empty in a leaf.
    children: &'m [AtomicU32],
}

impl<'m> Node<'m> {
    #[inline]
    pub(super) fn level(self) -> u8 {
        self.leaf.level
    }

    /// Number of bytes that all keys of the node begin with and its prefixes leave out.
    #[inline]
    pub(super) fn common_bytes(self) -> usize {
        // Acquire: pairs with the Release in `set_common`, so that a reader who sees a new one finds the word changed.
        self.leaf.common_bytes.load(Ordering::Acquire) as usize
    }

    /// How a key that does not begin like all keys of the node stands to them; `Equal` if it begins like them.
    #[inline]
    pub(super) fn compare_common(self, key: &[u8], common_bytes: usize) -> std::cmp::Ordering {
        for (number, word) in self.leaf.common.iter().enumerate() {
            let skip = 8 * number;
            if skip >= common_bytes {
                break;
            }
            let mask = common_mask(common_bytes - skip);
            // Acquire: as for the number of bytes.
            let order = (prefix_behind(key, skip) & mask).cmp(&word.load(Ordering::Acquire));
            if order.is_ne() {
                return order;
            }
        }
        key.len().cmp(&common_bytes).min(std::cmp::Ordering::Equal)
    }

    /// Stores what all keys begin with. Only the holder of the lock may, under a word that says so, or who has not shown
    /// the node to anyone.
    pub(super) fn set_common(self, common: &[u8]) {
        debug_assert!(common.len() <= COMMON_BYTES_MAX, "who computes common bytes bounds them");
        for (number, word) in self.leaf.common.iter().enumerate() {
            let mask = common_mask(common.len().saturating_sub(8 * number));
            word.store(prefix_behind(common, 8 * number) & mask, Ordering::Release);
        }
        self.leaf.common_bytes.store(common.len() as u8, Ordering::Release);
    }

    #[inline]
    pub(super) fn word(self) -> Word {
        // Acquire: pairs with the Release of `set_word`; who sees a length or a neighbour sees the slots and the node.
        Word(self.leaf.word.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn prefix(self, slot: usize) -> u64 {
        // Acquire: pairs with the Release in `set`.
        // The remainder costs nothing, and spares a comparison: there is no such slot to ask for.
        self.leaf.prefixes[slot % SLOTS].load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn entry(self, slot: usize) -> u32 {
        // Acquire: pairs with the Release in `set`; who sees the entry sees its bytes.
        self.leaf.entries[slot].load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn child(self, slot: usize) -> u32 {
        // Acquire: pairs with the Release in `set`; who sees the child sees the node whole.
        self.children[slot].load(Ordering::Acquire)
    }

    pub(super) fn slot(self, slot: usize) -> Slot {
        let child = if self.children.is_empty() { NIL } else { self.child(slot) };
        Slot { prefix: self.prefix(slot), entry: self.entry(slot), child }
    }

    /// Takes the lock, if the word is still `word`. Then nothing has changed since `word` was read: a length only
    /// grows until a split, and every split has a new neighbour.
    #[inline]
    pub(super) fn try_lock(self, word: Word) -> bool {
        debug_assert!(!word.is_locked(), "a lock is taken from a word that was seen free");
        // Acquire: pairs with the Release of the word that the last holder left.
        let taken =
            self.leaf.word.compare_exchange(word.0, word.locked().0, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Stores a word and gives the lock back. Only the holder of the lock may.
    #[inline]
    pub(super) fn set_word_and_unlock(self, word: Word) {
        self.leaf.word.store(word.0, Ordering::Release);
    }

    /// Stores a word and keeps the lock. Only the holder of the lock may.
    #[inline]
    pub(super) fn set_word(self, word: Word) {
        self.leaf.word.store(word.locked().0, Ordering::Release);
    }

    /// Moves the slots `from..len - 1` one to the right, from the end, children first and prefixes last. Only the holder
    /// of the lock may.
    pub(super) fn shift(self, from: usize, len: usize) {
        if !self.children.is_empty() {
            shift(&self.children[from..len], AtomicU32::load, AtomicU32::store);
        }
        shift(&self.leaf.entries[from..len], AtomicU32::load, AtomicU32::store);
        shift(&self.leaf.prefixes[from..len], AtomicU64::load, AtomicU64::store);
    }

    /// Stores a slot, prefix last. Only the holder of the lock may, or who has not shown the node to anyone.
    #[inline]
    pub(super) fn set(self, slot: usize, value: Slot) {
        if !self.children.is_empty() {
            self.children[slot].store(value.child, Ordering::Release);
        }
        self.leaf.entries[slot].store(value.entry, Ordering::Release);
        self.leaf.prefixes[slot].store(value.prefix, Ordering::Release);
    }
}

/// Stores each but the last to its right, from the end.
#[inline]
fn shift<A, V>(cells: &[A], load: impl Fn(&A, Ordering) -> V, store: impl Fn(&A, V, Ordering)) {
    for pair in cells.windows(2).rev() {
        // Relaxed: the holder of the lock reads what holders stored. Release: as in `set`.
        store(&pair[1], load(&pair[0], Ordering::Relaxed), Ordering::Release);
    }
}

impl Memory {
    /// The node at an offset that was read from the tree.
    #[inline]
    pub(super) fn node(&self, offset: u32) -> Node<'_> {
        // SAFETY: nodes are written whole before anything leads to them, and change only in their atomics since
        // (invariants 1 and 2); their memory outlives this borrow (invariant 3).
        let leaf = unsafe { self.at(offset).cast::<Leaf>().as_ref() };
        if leaf.level == 0 {
            return Node { offset, leaf, children: &[] };
        }
        // SAFETY: a node with a level above 0 was written as an inner node; otherwise as above.
        let inner = unsafe { self.at(offset).cast::<Inner>().as_ref() };
        Node { offset, leaf, children: &inner.children }
    }

    /// Asks for what a search of the node reads.
    #[inline]
    pub(super) fn prefetch_node(&self, offset: u32) {
        self.prefetch(offset, SEARCH_LINES);
    }

    /// Asks for what a walk through the leaf reads; nothing happens if it is nil.
    pub(super) fn prefetch_leaf(&self, offset: u32) {
        self.prefetch(offset, 1);
        let entries = offset + std::mem::offset_of!(Leaf, entries) as u32;
        self.prefetch(entries, (SLOTS * size_of::<AtomicU32>()).div_ceil(64));
    }

    /// Writes an empty node that nothing leads to yet.
    pub(super) fn allocate_node(&self, pen: &Writer, level: u8) -> Result<Node<'_>, AllocError> {
        let bytes = node_bytes(level);
        let layout = Layout::from_size_align(bytes + NODE_SLACK, 1).expect("a node is smaller than memory");
        let (offset, start) = self.hand_out(pen, layout)?;
        let padding = start.as_ptr().addr().wrapping_neg() & NODE_SLACK;
        // SAFETY: the padding is at most the slack that was asked for besides the node.
        let start = unsafe { start.add(padding) };
        let leaf = Leaf::new(level);
        if level == 0 {
            // SAFETY: `start` is aligned for a node and has its bytes, which nobody else knows of yet.
            unsafe { start.cast::<Leaf>().write(leaf) };
        } else {
            let inner = Inner { node: leaf, children: std::array::from_fn(|_| AtomicU32::new(NIL)) };
            // SAFETY: as above.
            unsafe { start.cast::<Inner>().write(inner) };
        }
        Ok(self.node(offset + padding as u32))
    }
}

/// Bytes of a node on this level.
pub(super) const fn node_bytes(level: u8) -> usize {
    if level == 0 { size_of::<Leaf>() } else { size_of::<Inner>() }
}

/// The bits of the first `bytes` bytes of a word.
#[inline]
fn common_mask(bytes: usize) -> u64 {
    if bytes >= 8 { u64::MAX } else { !(u64::MAX >> (8 * bytes)) }
}

impl Leaf {
    fn new(level: u8) -> Self {
        Self {
            word: AtomicU64::new(Word::new(NIL, 0).0),
            common: std::array::from_fn(|_| AtomicU64::new(0)),
            common_bytes: AtomicU8::new(0),
            level,
            prefixes: std::array::from_fn(|_| AtomicU64::new(0)),
            entries: std::array::from_fn(|_| AtomicU32::new(NIL)),
        }
    }
}
