//! The nodes of a skip list: their layout, and the only unsafe code of the index.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | sequence number and kind, packed |
//! | 8 | 4 | length of the value |
//! | 12 | 2 | length of the key |
//! | 14 | 2 | height of the tower |
//! | 16 | 8 × height | links, level 0 first |
//! | | | key, then value |
//!
//! A link is the next node's offset, and in the upper half its *code*: the first four bytes of its key, big-endian,
//! padded with zeros. Codes compare like the keys, but for equal ones.
//!
//! The invariants cited by number are those of the folder's first page.

use std::cmp::Ordering as Comparison;

use kausal_arena::sync::{AtomicU64, Ordering};
use kausal_arena::{AllocError, Lease, Writer};

use crate::entry::{EntryRef, Kind, PackedSeqNo, SeqNo};
use crate::memory::Memory;
use crate::skip_list::{HEIGHT_MAX, NIL};

#[repr(C)]
struct Header {
    packed: u64,
    value_bytes: u32,
    key_bytes: u16,
    height: u16,
}

type Link = AtomicU64;

const NODE_ALIGN: usize = align_of::<Link>();
const LINKS_AT: usize = size_of::<Header>().next_multiple_of(NODE_ALIGN);
const LINK_BYTES: usize = size_of::<Link>();

/// Most bytes that a node takes beside its key and value: header, the tallest tower, alignment before and behind.
pub(super) const NODE_OVERHEAD_MAX: usize = LINKS_AT + HEIGHT_MAX * LINK_BYTES + 2 * (NODE_ALIGN - 1);

const _: () = assert!(NODE_ALIGN >= align_of::<Header>());
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(LINKS_AT == 16 && LINK_BYTES == 8);

/// First four bytes of `key` as a number that compares like them.
fn code_of(key: &[u8]) -> u32 {
    match key.first_chunk::<4>() {
        Some(first) => u32::from_be_bytes(*first),
        None => {
            let mut padded = [0; 4];
            padded[..key.len()].copy_from_slice(key);
            u32::from_be_bytes(padded)
        }
    }
}

/// The node that a link leads to, or nil.
#[inline]
pub(super) fn node_of(link: u64) -> u32 {
    link as u32
}

/// A position looked for: the key, its code computed once, the sequence number.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    key: &'a [u8],
    pub(super) code: u32,
    pub(super) seqno: SeqNo,
}

impl<'a> Target<'a> {
    pub(super) fn new(key: &'a [u8], seqno: SeqNo) -> Self {
        Self { key, code: code_of(key), seqno }
    }

    /// The link to a node at this position.
    pub(super) fn link_to(self, node: u32) -> u64 {
        u64::from(self.code) << 32 | u64::from(node)
    }
}

/// A node that is linked nowhere yet.
pub(super) struct NewNode {
    pub(super) offset: u32,
    /// Bytes of the node itself.
    pub(super) bytes: usize,
    /// Bytes taken beside them.
    pub(super) slack: usize,
}

/// The nodes of one index.
pub(super) struct Nodes(Memory);

impl Nodes {
    pub(super) fn new(lease: Lease) -> Result<Self, AllocError> {
        Ok(Self(Memory::new(lease)?))
    }

    /// Writes the head: a tower of full height without an entry.
    pub(super) fn allocate_head(&self, pen: &Writer) -> Result<NewNode, AllocError> {
        let nothing = EntryRef { key: b"", seqno: SeqNo::ZERO, kind: Kind::Delete, value: b"" };
        self.allocate(pen, nothing, HEIGHT_MAX)
    }

    /// Writes a node that is linked nowhere yet.
    pub(super) fn allocate(
        &self,
        pen: &Writer,
        entry: EntryRef<'_>,
        height: usize,
    ) -> Result<NewNode, AllocError> {
        let max = u32::MAX as usize;
        let value_bytes = u32::try_from(entry.value.len())
            .map_err(|_| AllocError::TooLarge { bytes: entry.value.len(), max })?;
        let key_at = LINKS_AT + height * LINK_BYTES;
        let bytes = key_at + entry.payload_bytes();
        let taken = self.0.take(pen, bytes, NODE_ALIGN)?;
        let header = Header {
            packed: PackedSeqNo::new(entry.seqno, entry.kind).to_u64(),
            value_bytes,
            key_bytes: entry.key.len() as u16,
            height: height as u16,
        };
        // SAFETY: `bytes` bytes were just taken with the alignment of a link, which is no less than a header's.
        unsafe { self.0.write(taken.offset, header) };
        for level in 0..height {
            let at = taken.offset + (LINKS_AT + level * LINK_BYTES) as u32;
            // SAFETY: the tower lies within `bytes`, aligned for links.
            unsafe { self.0.write(at, Link::new(0)) };
        }
        let key_at = taken.offset + key_at as u32;
        // SAFETY: the key lies within `bytes`, behind the tower.
        unsafe { self.0.write_bytes(key_at, entry.key) };
        // SAFETY: the value lies within `bytes`, behind the key.
        unsafe { self.0.write_bytes(key_at + entry.key.len() as u32, entry.value) };
        Ok(NewNode { offset: taken.offset, bytes, slack: taken.slack })
    }

    #[inline]
    fn header(&self, node: u32) -> &Header {
        // SAFETY: a node begins with its header, written before the node was linked (invariant 1) and never since
        // (invariant 2). Whoever calls this reached the node by a link or allocated it.
        unsafe { self.0.get(node) }
    }

    #[inline]
    fn link_at(&self, node: u32, level: usize) -> &Link {
        debug_assert!(level < self.header(node).height as usize, "a node has links up to its height");
        // SAFETY: links follow the header, written before the node was linked (invariant 1); a node met on a level is
        // taller than it. They are only ever accessed as atomics.
        unsafe { self.0.get(node + (LINKS_AT + level * LINK_BYTES) as u32) }
    }

    /// The link from `node` on `level`; 0 at the end.
    #[inline]
    pub(super) fn next(&self, node: u32, level: usize) -> u64 {
        // Acquire: pairs with the Release in `link`; who follows the link sees the node whole (invariant 1).
        self.link_at(node, level).load(Ordering::Acquire)
    }

    /// Puts the node of `link` between `before` and `after` on `level`, unless something else has come between.
    pub(super) fn link(&self, before: u32, level: usize, after: u64, link: u64) -> bool {
        // Relaxed: published by the Release below.
        self.link_at(node_of(link), level).store(after, Ordering::Relaxed);
        #[cfg(not(kausal_planted = "skip_list_link_relaxed"))]
        let success = Ordering::Release;
        #[cfg(kausal_planted = "skip_list_link_relaxed")]
        let success = Ordering::Relaxed;
        // Release: pairs with the Acquire in `next`.
        self.link_at(before, level).compare_exchange(after, link, success, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn key_at(&self, node: u32) -> u32 {
        node + (LINKS_AT + self.header(node).height as usize * LINK_BYTES) as u32
    }

    /// The key of a node.
    #[inline]
    pub(super) fn key(&self, node: u32) -> &[u8] {
        // SAFETY: `key_bytes` bytes were written there before the node was linked and never since (invariants 1, 2).
        unsafe { self.0.bytes(self.key_at(node), self.header(node).key_bytes as usize) }
    }

    /// The entry of a node.
    #[inline]
    pub(super) fn entry(&self, node: u32) -> EntryRef<'_> {
        let header = self.header(node);
        let key = self.key(node);
        let packed = PackedSeqNo::from_u64(header.packed).expect("a node is written with a known kind");
        let value_at = self.key_at(node) + key.len() as u32;
        // SAFETY: `value_bytes` bytes were written there before the node was linked and never since (invariants 1, 2).
        let value = unsafe { self.0.bytes(value_at, header.value_bytes as usize) };
        EntryRef { key, seqno: packed.seqno(), kind: packed.kind(), value }
    }

    /// Where `node` stands relative to `target`: key ascending, sequence number descending.
    fn compare(&self, node: u32, target: Target<'_>) -> Comparison {
        let seqno = self.header(node).packed >> 8;
        self.key(node).cmp(target.key).then_with(|| target.seqno.get().cmp(&seqno))
    }

    /// Whether `node` stands before `target`.
    pub(super) fn is_before(&self, node: u32, target: Target<'_>) -> bool {
        self.compare(node, target).is_lt()
    }

    /// Whether `link` leads nowhere, or to a node at or after `target`. Touches the node only if the codes are equal.
    #[inline]
    pub(super) fn is_end_or_not_before(&self, link: u64, target: Target<'_>) -> bool {
        if node_of(link) == NIL {
            return true;
        }
        match ((link >> 32) as u32).cmp(&target.code) {
            Comparison::Less => false,
            Comparison::Greater => true,
            Comparison::Equal => self.compare(node_of(link), target).is_ge(),
        }
    }

    /// Whether `link` leads to a node exactly at `target`.
    #[inline]
    pub(super) fn is_at(&self, link: u64, target: Target<'_>) -> bool {
        node_of(link) != NIL
            && (link >> 32) as u32 == target.code
            && self.compare(node_of(link), target).is_eq()
    }

    /// Asks for a node that will be read soon.
    #[inline]
    pub(super) fn prefetch(&self, node: u32) {
        self.0.prefetch(node);
        self.0.prefetch(node.wrapping_add(64));
    }
}
