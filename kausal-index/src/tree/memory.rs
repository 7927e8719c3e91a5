//! The region below a tree: offsets to addresses, and the records of entries.
//!
//! An entry is one record without alignment. A few bytes before it stay unused where that brings record, key and the
//! beginning of the value into one cache line, so that a walk fetches one line per entry and not two:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | sequence number and kind, packed, in the machine's byte order |
//! | 8 | 4 | length of the value |
//! | 12 | 2 | length of the key |
//! | 14 | | key, then value |
//!
//! The invariants cited by number are those of the folder's first page.

use std::alloc::Layout;
use std::cmp::Ordering;
use std::ptr::{self, NonNull};
use std::slice;

use kausal_arena::{AllocError, Lease, Writer, prefetch_line};

use crate::entry::{EntryRef, PackedSeqNo};
use crate::tree::search::Target;

/// The offset that names nothing.
pub(super) const NIL: u32 = 0;

/// Bytes of an entry besides its key and value.
pub(super) const RECORD_BYTES: usize = size_of::<Record>();

#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Record {
    packed: u64,
    value_bytes: u32,
    key_bytes: u16,
}

const _: () = assert!(RECORD_BYTES == 14);

/// Most bytes left unused before an entry. With keys of 16 bytes that are 4.7 on average if entries begin anywhere alike.
pub(super) const PADDING_MAX: usize = 24;

/// Bytes of an entry that a walk asks for: record, a key of 16 bytes, the beginning of the value.
const ENTRY_HEAD: usize = RECORD_BYTES + 16 + VALUE_HEAD;

/// Bytes of a value that should lie beside its key.
const VALUE_HEAD: usize = 8;

const LINE: usize = 64;

/// An entry that was written, and what that took.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) entry: u32,
    pub(super) bytes: usize,
    /// Unused bytes before the entry.
    pub(super) padding: usize,
}

/// Bytes to leave unused so that `head` bytes from `address` on lie in one line, if they can and few do.
#[inline]
fn padding_before(address: usize, head: usize) -> usize {
    let left = address.wrapping_neg() % LINE;
    let crosses = left > 0 && left < head && head <= LINE;
    if crosses && left <= PADDING_MAX { left } else { 0 }
}

/// The memory of one tree: its region's base, and the lease that keeps it.
pub(super) struct Memory {
    base: NonNull<u8>,
    lease: Lease,
}

// SAFETY: entries are immutable once reachable and nodes change only through atomics (invariants 1 and 2); the base
// stays valid wherever this struct is (invariant 3).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(lease: Lease) -> Result<Self, AllocError> {
        let base = lease.base().ok_or(AllocError::NoOffsets)?;
        Ok(Self { base, lease })
    }

    /// The address of an offset that a pen of this region has handed out.
    #[inline]
    pub(super) fn at(&self, offset: u32) -> NonNull<u8> {
        // SAFETY: what a pen handed out lies within the region, which stays mapped (invariant 3).
        unsafe { self.base.add(offset as usize) }
    }

    /// Asks for what a walk reads of an entry: its record, a short key, the beginning of the value.
    #[inline]
    pub(super) fn prefetch_entry(&self, entry: u32) {
        let start = self.base.as_ptr().wrapping_add(entry as usize);
        prefetch_line(start);
        prefetch_line(start.wrapping_add(ENTRY_HEAD - 1));
    }

    /// Asks for the lines at `offset` to be fetched; a hint without an effect on what is read.
    #[inline]
    pub(super) fn prefetch(&self, offset: u32, lines: usize) {
        let start = self.base.as_ptr().wrapping_add(offset as usize);
        for line in 0..lines {
            prefetch_line(start.wrapping_add(64 * line));
        }
    }

    /// What `pen` hands out for `layout`, as an offset in this region and as an address.
    ///
    /// # Panics
    ///
    /// If the pen writes in another generation: its offsets would mean something else here.
    #[inline]
    pub(super) fn hand_out(&self, pen: &Writer, layout: Layout) -> Result<(u32, NonNull<u8>), AllocError> {
        assert_eq!(pen.lease().generation(), self.lease.generation(), "a pen of another generation");
        pen.try_alloc_offset(layout)
    }

    /// Writes an entry that nothing leads to yet.
    pub(super) fn allocate_entry(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<Written, AllocError> {
        let (key, value) = (entry.key, entry.value);
        let max = u32::MAX as usize;
        let value_bytes =
            u32::try_from(value.len()).map_err(|_| AllocError::TooLarge { bytes: value.len(), max })?;
        let bytes = RECORD_BYTES + key.len() + value.len();
        let padding =
            padding_before(pen.next_address(), RECORD_BYTES + key.len() + VALUE_HEAD.min(value.len()));
        let layout =
            Layout::from_size_align(bytes + padding, 1).map_err(|_| AllocError::TooLarge { bytes, max })?;
        let (offset, start) = self.hand_out(pen, layout)?;
        // SAFETY: the padding is less than what was handed out.
        let start = unsafe { start.add(padding) };
        let packed = PackedSeqNo::new(entry.seqno, entry.kind).to_u64();
        let record = Record { packed, value_bytes, key_bytes: key.len() as u16 };
        // SAFETY: `start` has `bytes` bytes, a record's at least, which nobody else knows of yet.
        unsafe { start.cast::<Record>().write_unaligned(record) };
        // SAFETY: the key lies within `bytes`, behind the record.
        let key_start = unsafe { start.add(RECORD_BYTES) };
        // SAFETY: source and target are disjoint: the target was handed out for this entry alone.
        unsafe { ptr::copy_nonoverlapping(key.as_ptr(), key_start.as_ptr(), key.len()) };
        // SAFETY: the value lies within `bytes`, behind the key.
        let value_start = unsafe { key_start.add(key.len()) };
        // SAFETY: as for the key.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), value_start.as_ptr(), value.len()) };
        Ok(Written { entry: offset + padding as u32, bytes, padding })
    }

    #[inline]
    fn record(&self, entry: u32) -> Record {
        // SAFETY: an entry begins with its record, written before anything led to it and never since (invariant 1).
        unsafe { self.at(entry).cast::<Record>().read_unaligned() }
    }

    #[inline]
    fn bytes_behind(&self, entry: u32, skip: usize, len: usize) -> &[u8] {
        // SAFETY: key and value lie behind the record, `skip` bytes from its start on.
        let start = unsafe { self.at(entry).add(skip) };
        // SAFETY: `len` bytes were written there before anything led to the entry and never since (invariant 1).
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// The key of an entry.
    #[inline]
    pub(super) fn key(&self, entry: u32) -> &[u8] {
        self.bytes_behind(entry, RECORD_BYTES, self.record(entry).key_bytes as usize)
    }

    /// An entry, whole.
    #[inline]
    pub(super) fn entry(&self, entry: u32) -> EntryRef<'_> {
        let record = self.record(entry);
        let key_bytes = record.key_bytes as usize;
        let packed = PackedSeqNo::from_u64(record.packed).expect("an entry is written with a known kind");
        EntryRef {
            key: self.bytes_behind(entry, RECORD_BYTES, key_bytes),
            seqno: packed.seqno(),
            kind: packed.kind(),
            value: self.bytes_behind(entry, RECORD_BYTES + key_bytes, record.value_bytes as usize),
        }
    }

    /// Where an entry stands relative to `target`.
    #[inline]
    pub(super) fn compare(&self, entry: u32, target: &Target<'_>) -> Ordering {
        let record = self.record(entry);
        let key = self.bytes_behind(entry, RECORD_BYTES, record.key_bytes as usize);
        match key.cmp(target.key) {
            Ordering::Equal => target.at.cmp(&((record.packed >> 8) as i64)),
            order => order,
        }
    }
}
