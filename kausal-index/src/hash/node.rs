//! The log: one node per entry, written once; and the chain of a key's versions through it.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | sequence number and kind, packed |
//! | 8 | 4 | link to the next older version of the key, or nil |
//! | 12 | 4 | length of the value |
//! | 16 | 2 | length of the key |
//! | 18 | | key, then value |
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. An offset that the table or a link shows is that of a node that was written whole before (Release on
//!    publishing, Acquire on reading).
//! 2. Apart from its link, a node is not written after it was published.

use kausal_arena::sync::{AtomicU32, Ordering};
use kausal_arena::{AllocError, Writer};

use crate::entry::{EntryRef, PackedSeqNo, SeqNo};
use crate::hash::page::PIECE_BYTES;
use crate::hash::{NIL, PAGE_ENTRIES};
use crate::memory::Memory;

#[repr(C)]
struct Header {
    /// In halves, so that a node needs no more than an alignment of 4.
    packed: [u32; 2],
    older: AtomicU32,
    value_bytes: u32,
    key_bytes: u16,
}

/// Where the key begins: right behind its length, in what would be the header's padding.
const KEY_AT: usize = std::mem::offset_of!(Header, key_bytes) + size_of::<u16>();

pub(super) const NODE_ALIGN: usize = align_of::<Header>();

/// Smallest node: as large as a header, and so large that the nodes of one page's entries pass a milestone.
const NODE_BYTES_MIN: usize = {
    let share = PIECE_BYTES.div_ceil(PAGE_ENTRIES);
    (if share > size_of::<Header>() { share } else { size_of::<Header>() }).next_multiple_of(NODE_ALIGN)
};

/// Most bytes that a node takes beside its key and value, alignment included.
pub(super) const NODE_OVERHEAD_MAX: usize = {
    let rounded = KEY_AT + NODE_ALIGN - 1;
    (if rounded > NODE_BYTES_MIN { rounded } else { NODE_BYTES_MIN }) + NODE_ALIGN - 1
};

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(KEY_AT == 18 && NODE_ALIGN == 4 && NODE_BYTES_MIN == 32);

/// The nodes of one index.
pub(super) struct Nodes<'index>(pub(super) &'index Memory);

/// A node that is not published yet.
#[derive(Clone, Copy)]
pub(super) struct NewNode {
    pub(super) offset: u32,
    /// Bytes taken for it, but for `slack`.
    pub(super) bytes: usize,
    pub(super) slack: usize,
}

impl<'index> Nodes<'index> {
    /// Writes a node that nobody can see yet.
    #[inline]
    pub(super) fn allocate(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<NewNode, AllocError> {
        let max = u32::MAX as usize;
        let value_bytes = u32::try_from(entry.value.len())
            .map_err(|_| AllocError::TooLarge { bytes: entry.value.len(), max })?;
        let used = KEY_AT + entry.payload_bytes();
        let bytes = used.max(NODE_BYTES_MIN).next_multiple_of(NODE_ALIGN);
        let taken = self.0.take(pen, bytes, NODE_ALIGN)?;
        let packed = PackedSeqNo::new(entry.seqno, entry.kind).to_u64();
        let header = Header {
            packed: [packed as u32, (packed >> 32) as u32],
            older: AtomicU32::new(NIL),
            value_bytes,
            key_bytes: entry.key.len() as u16,
        };
        // SAFETY: `bytes` bytes were just taken with the header's alignment, and a header is no larger than they.
        unsafe { self.0.write(taken.offset, header) };
        let key_at = taken.offset + KEY_AT as u32;
        // SAFETY: key and value lie within `used` bytes. They come after the header: they cover its padding.
        unsafe { self.0.write_bytes(key_at, entry.key) };
        // SAFETY: as above.
        unsafe { self.0.write_bytes(key_at + entry.key.len() as u32, entry.value) };
        Ok(NewNode { offset: taken.offset, bytes, slack: taken.slack })
    }

    #[inline]
    fn header(&self, node: u32) -> &'index Header {
        // SAFETY: offsets of nodes come from the table, from links or from `allocate` (invariant 1), and a header's
        // only mutable part is atomic (invariant 2).
        unsafe { self.0.get(node) }
    }

    /// The key of a node.
    #[inline]
    pub(super) fn key(&self, node: u32) -> &'index [u8] {
        let len = self.header(node).key_bytes as usize;
        // SAFETY: the key was written behind the header before the node was published and never since (invariants 1, 2).
        unsafe { self.0.bytes(node + KEY_AT as u32, len) }
    }

    fn packed(&self, node: u32) -> u64 {
        let [low, high] = self.header(node).packed;
        u64::from(high) << 32 | u64::from(low)
    }

    /// The sequence number of a node.
    #[inline]
    pub(super) fn seqno(&self, node: u32) -> u64 {
        self.packed(node) >> 8
    }

    /// The entry of a node.
    #[inline]
    pub(super) fn entry(&self, node: u32) -> EntryRef<'index> {
        let key = self.key(node);
        let value_bytes = self.header(node).value_bytes as usize;
        let packed = PackedSeqNo::from_u64(self.packed(node)).expect("a node is written with a known kind");
        // SAFETY: the value was written behind the key before the node was published and never since.
        let value = unsafe { self.0.bytes(node + (KEY_AT + key.len()) as u32, value_bytes) };
        EntryRef { key, seqno: packed.seqno(), kind: packed.kind(), value }
    }

    /// The next older version of the same key, or nil.
    #[inline]
    pub(super) fn older(&self, node: u32) -> u32 {
        // Acquire: pairs with the Release in `link_older`.
        self.header(node).older.load(Ordering::Acquire)
    }

    /// Makes `older` the next older version of `node`. Only under the lock of the key's bucket.
    #[inline]
    pub(super) fn link_older(&self, node: u32, older: u32) {
        // Release: pairs with the Acquire in `older`; who follows the link sees the older node whole.
        self.header(node).older.store(older, Ordering::Release);
    }

    /// The newest version at or below `at` in the chain that begins with `node`, or nil.
    #[inline]
    pub(super) fn newest_at(&self, mut node: u32, at: SeqNo) -> u32 {
        while node != NIL && self.seqno(node) > at.get() {
            node = self.older(node);
        }
        node
    }
}
