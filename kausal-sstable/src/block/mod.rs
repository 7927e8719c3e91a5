//! Data blocks: entries in order, found by number, by hash, or by position.
//!
//! | part | layout |
//! |---|---|
//! | padding | zeros, so that the block ends where a page of the file does; few or none |
//! | entries | one behind the other, see below |
//! | offsets | of each entry in the contents: u16, or u32 in a wide block |
//! | tags | of each entry: lowest byte of xxh3-64 of its key |
//! | count | u32: entries; the highest bit says that the block is wide |
//!
//! An entry: bytes of the key shared with its group's head (varint), further bytes of the key (varint), sequence
//! number and kind (u64), further bytes of the key, value. The value ends where the next entry begins, the last one's
//! where the offsets begin. Entries 0, 16, 32, … are heads: they share nothing.
//!
//! So an entry is read by itself and at most its head, never by way of its predecessors, and a look-up touches the
//! end of the block (count, tags and offsets lie side by side) and then the entry. Sharing with a head instead of the
//! predecessor costs a few bytes in return. An entry that would share fewer than [`SHARED_BYTES_MIN`] bytes shares
//! none, so its key is lent from the block and a walk copies nothing.
//!
//! The tags are the in-block hash: a byte per entry and no empty slots, compared eight at a time. A block of 4 KiB
//! with values of 100 bytes has one line of them, and an absent key is denied without a look at any entry in seven
//! of eight cases.

mod builder;
mod view;

pub(crate) use builder::{BlockBuilder, common_prefix, copy_short};
pub(crate) use view::{Block, Found, Position, Shape};

/// Entries of a group: its head and those that share with it. The restart interval.
const GROUP: usize = 16;
/// Fewer shared bytes than these are not worth putting a key together again.
const SHARED_BYTES_MIN: usize = 4;
/// The bit of the count that says that offsets have four bytes.
const WIDE: u32 = 1 << 31;
const COUNT_BYTES: usize = 4;
/// Of an entry, in a block that is not wide.
const OFFSET_BYTES: u64 = 2;
const TAG_BYTES: u64 = 1;
/// Bytes before the key of an entry whose lengths take a byte each.
const SHORT_BYTES: usize = 10;

/// Bytes that a group takes on average, of `entries` entries in blocks whose contents have `bytes`. For hints.
pub(crate) fn group_bytes(entries: u64, bytes: u64) -> usize {
    let per_entry = (bytes / entries.max(1)).saturating_sub(OFFSET_BYTES + TAG_BYTES);
    usize::try_from(per_entry.saturating_mul(GROUP as u64)).unwrap_or(usize::MAX)
}

/// The tag of a key with this hash.
#[inline]
fn tag(hash: u64) -> u8 {
    hash as u8
}
