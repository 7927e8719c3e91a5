//! The nodes of a skip list: their layout, and the only unsafe code of the index.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | sequence number and kind, packed |
//! | 8 | 8 | first eight bytes of the key, big-endian, padded with zeros |
//! | 16 | 4 | length of the key |
//! | 20 | 4 | length of the value |
//! | 24 | 4 | height of the tower |
//! | 28 | 4 | link on level 0 |
//! | 32 | 4 × (height − 1) | links on the levels above |
//! | | | key, then value |
//!
//! The invariants cited by number are those of the folder's first page.

use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use kausal_arena::{AllocError, Lease, Writer};

use crate::entry::{EntryRef, PackedSeqNo, SeqNo};
use crate::skip_list::{HEIGHT_MAX, Target};

/// The offset that names no node.
pub(super) const NIL: u32 = 0;

pub(super) const HEADER_BYTES: usize = size_of::<Header>();

#[repr(C)]
struct Header {
    packed: u64,
    prefix: u64,
    key_bytes: u32,
    value_bytes: u32,
    height: u32,
    next: AtomicU32,
}

const _: () = assert!(HEADER_BYTES == 32 && align_of::<Header>() == 8);

/// First eight bytes of `key` as a number that compares like them.
pub(super) fn prefix_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

/// Bytes taken behind a node of `bytes`, so that the next one is aligned.
pub(super) fn padding_of(bytes: usize) -> usize {
    bytes.next_multiple_of(align_of::<Header>()) - bytes
}

/// The nodes of one index: its region's base, and the lease that keeps it.
pub(super) struct Nodes {
    base: NonNull<u8>,
    _lease: Lease,
}

// SAFETY: nodes are shared memory whose mutable parts are atomics (invariant 2), reached through a base that stays
// valid wherever this struct is (invariant 3).
unsafe impl Send for Nodes {}
// SAFETY: as above.
unsafe impl Sync for Nodes {}

impl Nodes {
    pub(super) fn new(lease: Lease) -> Result<Self, AllocError> {
        let base = lease.base().ok_or(AllocError::NoOffsets)?;
        Ok(Self { base, _lease: lease })
    }

    /// Writes the head: a tower of full height without an entry. Returns its offset and its size.
    pub(super) fn allocate_head(&self, pen: &Writer) -> Result<(u32, usize), AllocError> {
        let nothing = PackedSeqNo::new(SeqNo::ZERO, crate::entry::Kind::Delete);
        self.allocate(pen, nothing, 0, HEIGHT_MAX, b"", b"")
    }

    /// Writes a node that is linked nowhere yet. Returns its offset and its size without [`padding_of`] it.
    pub(super) fn allocate(
        &self,
        pen: &Writer,
        packed: PackedSeqNo,
        prefix: u64,
        height: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(u32, usize), AllocError> {
        let tower_bytes = 4 * (height - 1);
        let max = u32::MAX as usize;
        let value_bytes =
            u32::try_from(value.len()).map_err(|_| AllocError::TooLarge { bytes: value.len(), max })?;
        let bytes = HEADER_BYTES + tower_bytes + key.len() + value.len();
        // A node ends where the next may begin, so that what alignment costs is known here, to the byte.
        let layout = Layout::from_size_align(bytes, align_of::<Header>())
            .map_err(|_| AllocError::TooLarge { bytes, max })?
            .pad_to_align();
        let (offset, start) = pen.try_alloc_offset(layout)?;
        let header = Header {
            packed: packed.to_u64(),
            prefix,
            key_bytes: key.len() as u32,
            value_bytes,
            height: height as u32,
            next: AtomicU32::new(NIL),
        };
        // SAFETY: `start` is aligned for a header and has `bytes` bytes, which nobody else knows of yet.
        unsafe { start.cast::<Header>().write(header) };
        // SAFETY: the tower lies within `bytes`.
        let tower = unsafe { start.add(HEADER_BYTES) };
        // SAFETY: as above; zeros are nil links.
        unsafe { tower.write_bytes(0, tower_bytes) };
        // SAFETY: the key lies within `bytes`, behind the tower.
        let key_start = unsafe { tower.add(tower_bytes) };
        // SAFETY: source and target are disjoint: the target was handed out for this node alone.
        unsafe { ptr::copy_nonoverlapping(key.as_ptr(), key_start.as_ptr(), key.len()) };
        // SAFETY: the value lies within `bytes`, behind the key.
        let value_start = unsafe { key_start.add(key.len()) };
        // SAFETY: as for the key.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), value_start.as_ptr(), value.len()) };
        Ok((offset, bytes))
    }

    fn at(&self, node: u32) -> NonNull<u8> {
        // SAFETY: the offset of a node lies within the region (invariants 1 and 3).
        unsafe { self.base.add(node as usize) }
    }

    fn header(&self, node: u32) -> &Header {
        // SAFETY: a node begins with its header, written before the node was linked (invariant 1) and changed since
        // only in its atomic link (invariant 2). Whoever calls this reached the node by a link or allocated it.
        unsafe { self.at(node).cast::<Header>().as_ref() }
    }

    fn link_at(&self, node: u32, level: usize) -> &AtomicU32 {
        if level == 0 {
            return &self.header(node).next;
        }
        debug_assert!(level < self.header(node).height as usize, "a node has links up to its height");
        // SAFETY: links above level 0 follow the header; a node linked on a level is that tall.
        let link = unsafe { self.at(node).add(HEADER_BYTES + 4 * (level - 1)) };
        // SAFETY: it is aligned to 4, initialised, and only ever accessed as an atomic once linked.
        unsafe { link.cast::<AtomicU32>().as_ref() }
    }

    /// The node after `node` on `level`, or nil.
    pub(super) fn next(&self, node: u32, level: usize) -> u32 {
        // Acquire: pairs with the Release in `link`; who follows the link sees the node whole (invariant 1).
        self.link_at(node, level).load(Ordering::Acquire)
    }

    /// Puts `node` between `before` and `after` on `level`, unless something else has come between.
    pub(super) fn link(&self, before: u32, level: usize, after: u32, node: u32) -> bool {
        // Relaxed: published by the Release below.
        self.link_at(node, level).store(after, Ordering::Relaxed);
        // Release: pairs with the Acquire in `next`.
        let linked =
            self.link_at(before, level).compare_exchange(after, node, Ordering::Release, Ordering::Relaxed);
        linked.is_ok()
    }

    fn key(&self, node: u32) -> &[u8] {
        let header = self.header(node);
        let behind_tower = HEADER_BYTES + 4 * (header.height as usize - 1);
        // SAFETY: the key follows the tower.
        let start = unsafe { self.at(node).add(behind_tower) };
        // SAFETY: `key_bytes` bytes were written there before the node was linked and never since (invariants 1, 2).
        unsafe { slice::from_raw_parts(start.as_ptr(), header.key_bytes as usize) }
    }

    /// The entry of a node.
    pub(super) fn entry(&self, node: u32) -> EntryRef<'_> {
        let header = self.header(node);
        let key = self.key(node);
        let packed = PackedSeqNo::from_u64(header.packed).expect("a node is written with a known kind");
        let behind_key = HEADER_BYTES + 4 * (header.height as usize - 1) + key.len();
        // SAFETY: the value follows the key.
        let start = unsafe { self.at(node).add(behind_key) };
        // SAFETY: `value_bytes` bytes were written there before the node was linked and never since (invariants 1, 2).
        let value = unsafe { slice::from_raw_parts(start.as_ptr(), header.value_bytes as usize) };
        EntryRef { key, seqno: packed.seqno(), kind: packed.kind(), value }
    }

    /// Whether `node` stands before `target`: key ascending, sequence number descending.
    pub(super) fn is_before(&self, node: u32, target: Target<'_>) -> bool {
        let header = self.header(node);
        if header.prefix != target.prefix {
            return header.prefix < target.prefix;
        }
        if cfg!(kausal_planted = "index") {
            // A defect for the fuzzer to find: what has the same prefix is taken for the same key.
            return header.packed >> 8 > target.seqno.get();
        }
        match self.key(node).cmp(target.key) {
            std::cmp::Ordering::Equal => header.packed >> 8 > target.seqno.get(),
            order => order.is_lt(),
        }
    }

    /// Whether `node` stands exactly at `target`.
    pub(super) fn is_at(&self, node: u32, target: Target<'_>) -> bool {
        let header = self.header(node);
        header.prefix == target.prefix
            && header.packed >> 8 == target.seqno.get()
            && self.key(node) == target.key
    }
}
