//! Leaves: one version of one key each, with its whole key, so that an entry is lent without a copy.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | sequence number and kind, packed; bit 7 says whether there is a jump |
//! | 8 | 4 | link to the next older version of the key, or nil |
//! | 12 | 4 | length of the value |
//! | 16 | 2 | length of the key |
//! | 20 | 8 | only with a jump: link to some older version, number of versions below this one |
//! | 18 or 28 | | key, then value |
//!
//! Only a leaf that was written for a key with an older version has a jump: a key that is written once pays nothing.
//!
//! The invariants cited by number are those of the folder's first page.

use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::slice;

use kausal_arena::{AllocError, Writer};

use super::memory::{Fresh, Link, Memory, Slot, UNIT};
use crate::entry::{EntryRef, PackedSeqNo};

#[repr(C)]
struct Header {
    packed: u64,
    older: Slot,
    value_bytes: u32,
    key_bytes: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Jump {
    pub(super) to: Link,
    pub(super) depth: u32,
}

const HAS_JUMP: u64 = 1 << 7;
const KEY_AT: usize = offset_of!(Header, key_bytes) + size_of::<u16>();
const JUMP_AT: usize = KEY_AT.next_multiple_of(align_of::<Jump>());
const KEY_AT_BEHIND_JUMP: usize = JUMP_AT + size_of::<Jump>();

/// The most that a leaf takes beside key and value, its rounding up included.
pub(super) const LEAF_OVERHEAD_BYTES_MAX: usize = KEY_AT_BEHIND_JUMP + UNIT - 1;

const _: () = assert!(align_of::<Header>() <= UNIT && size_of::<Header>() <= KEY_AT.next_multiple_of(UNIT));
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(KEY_AT == 18 && KEY_AT_BEHIND_JUMP == 28);

/// A leaf that nobody can reach yet.
pub(super) struct NewLeaf {
    fresh: Fresh,
    has_jump: bool,
    /// Bytes of its parts, and bytes it took from the pen beyond them.
    pub(super) bytes: usize,
    pub(super) slack: usize,
}

/// A leaf to read.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'m> {
    start: NonNull<u8>,
    memory: PhantomData<&'m Memory>,
}

impl Memory {
    /// Copies `entry` into the region, with room for a jump if `has_jump`.
    pub(super) fn new_leaf(
        &self,
        pen: &Writer,
        entry: EntryRef<'_>,
        has_jump: bool,
    ) -> Result<NewLeaf, AllocError> {
        let key_at = if has_jump { KEY_AT_BEHIND_JUMP } else { KEY_AT };
        let bytes = key_at + entry.key.len() + entry.value.len();
        let too_large = AllocError::TooLarge { bytes, max: u32::MAX as usize };
        let value_bytes = u32::try_from(entry.value.len()).map_err(|_| too_large)?;
        let taken = bytes.next_multiple_of(UNIT);
        let fresh = self.allocate(pen, taken)?;
        let packed = PackedSeqNo::new(entry.seqno, entry.kind).to_u64() | if has_jump { HAS_JUMP } else { 0 };
        let key_bytes = entry.key.len() as u16;
        let header = Header { packed, older: Slot::new(Link::NIL), value_bytes, key_bytes };
        // SAFETY: `start` is aligned for a header, and a whole header fits: `taken` is at least KEY_AT in whole units.
        unsafe { fresh.start.cast::<Header>().write(header) };
        if has_jump {
            self.write_jump(&fresh, Jump { to: Link::NIL, depth: 0 });
        }
        // SAFETY: the key lies within `taken`, behind header and jump.
        let key_start = unsafe { fresh.start.add(key_at) };
        // SAFETY: source and target are disjoint: the target was handed out for this leaf alone.
        unsafe { ptr::copy_nonoverlapping(entry.key.as_ptr(), key_start.as_ptr(), entry.key.len()) };
        // SAFETY: the value lies within `taken`, behind the key.
        let value_start = unsafe { key_start.add(entry.key.len()) };
        // SAFETY: as for the key.
        unsafe { ptr::copy_nonoverlapping(entry.value.as_ptr(), value_start.as_ptr(), entry.value.len()) };
        let slack = taken - bytes + fresh.padding;
        Ok(NewLeaf { fresh, has_jump, bytes, slack })
    }

    fn write_jump(&self, fresh: &Fresh, jump: Jump) {
        // SAFETY: called for leaves with room for a jump only, which lies at JUMP_AT.
        let place = unsafe { fresh.start.add(JUMP_AT) };
        // SAFETY: it is aligned, since JUMP_AT is, and nobody else can reach the leaf.
        unsafe { place.cast::<Jump>().write(jump) };
    }

    /// Puts `older` and, if there is room, `jump` into `leaf`, and names it. What is left is to store the name.
    pub(super) fn finish_leaf(&self, leaf: &NewLeaf, older: Link, jump: Jump) -> Link {
        if leaf.has_jump {
            self.write_jump(&leaf.fresh, jump);
        }
        // SAFETY: the leaf was written whole by `new_leaf`.
        let link = unsafe { self.link(&leaf.fresh, 0) };
        if !older.is_nil() {
            self.leaf(link).set_older(older);
        }
        link
    }

    /// The leaf that `link` names.
    #[inline]
    pub(super) fn leaf(&self, link: Link) -> Leaf<'_> {
        debug_assert!(link.is_leaf(), "read as a leaf, and it is one");
        Leaf { start: self.start(link), memory: PhantomData }
    }
}

impl<'m> Leaf<'m> {
    #[inline]
    fn header(self) -> &'m Header {
        // SAFETY: a leaf begins with its header, written before its link was stored (invariant 1) and changed since
        // only in its atomic slot (invariant 2), in memory that stays while `'m` does (invariant 3).
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// The sequence number as a plain number.
    #[inline]
    pub(super) fn seqno(self) -> u64 {
        self.header().packed >> 8
    }

    #[inline]
    fn key_at(self) -> usize {
        if self.header().packed & HAS_JUMP == 0 { KEY_AT } else { KEY_AT_BEHIND_JUMP }
    }

    /// The whole key.
    #[inline]
    pub(super) fn key(self) -> &'m [u8] {
        self.bytes(self.key_at(), self.header().key_bytes as usize)
    }

    /// Key, number, kind and value.
    #[inline]
    pub(super) fn entry(self) -> EntryRef<'m> {
        let (header, key_at) = (self.header(), self.key_at());
        let packed =
            PackedSeqNo::from_u64(header.packed & !HAS_JUMP).expect("a leaf is written with a known kind");
        let key = self.bytes(key_at, header.key_bytes as usize);
        let value = self.bytes(key_at + key.len(), header.value_bytes as usize);
        EntryRef { key, seqno: packed.seqno(), kind: packed.kind(), value }
    }

    /// `count` bytes from offset `at` on: the key or the value.
    #[inline]
    fn bytes(self, at: usize, count: usize) -> &'m [u8] {
        // SAFETY: key and value lie behind the header, within the leaf.
        let start = unsafe { self.start.add(at) };
        // SAFETY: they were written before the leaf's link was stored and never since (invariants 1 and 2).
        unsafe { slice::from_raw_parts(start.as_ptr(), count) }
    }

    /// The next older version, or nil.
    #[inline]
    pub(super) fn older(self) -> Link {
        self.header().older.load()
    }

    /// Puts `leaf` next in the chain. Only for who holds the lock on the chain, or before anybody can reach it.
    pub(super) fn set_older(self, leaf: Link) {
        self.header().older.store(leaf);
    }

    /// Some older version and the number of versions below, or `None` if the leaf has none.
    pub(super) fn jump(self) -> Option<Jump> {
        if self.header().packed & HAS_JUMP == 0 {
            return None;
        }
        // SAFETY: a leaf with the bit has a jump at JUMP_AT.
        let place = unsafe { self.start.add(JUMP_AT) };
        // SAFETY: it was written before the leaf's link was stored and never since (invariants 1 and 2).
        let jump = unsafe { place.cast::<Jump>().read() };
        (!jump.to.is_nil()).then_some(jump)
    }
}
