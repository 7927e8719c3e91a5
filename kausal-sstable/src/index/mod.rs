//! Index blocks: which block of several a position lies in. The index of a segment names its data blocks, the root of a
//! table its segments; they differ in what they say of each.
//!
//! | part | layout |
//! |---|---|
//! | count | u32: blocks named |
//! | prefix bytes | u32: of what all separators begin with |
//! | heads | u64 each: the eight bytes of the separator behind the prefix, the first the most significant, missing ones 0 |
//! | values | in an index u32: where the data block ends, counted from where the segment begins; in a root three u64: offsets of filter and index, and where the segment ends |
//! | rests' offsets | u32 each, counted from where the rests begin |
//! | prefix | bytes |
//! | rests | of each separator: bytes behind the prefix (varint), sequence number (varint), those of the bytes that the head has no room for |
//!
//! A separator is a position, key and sequence number, at or after the last entry of its block and before the first
//! of the next. It is the shortest key between them, with sequence number 0, which is after all versions; where both
//! have the same key, and at the end of the table, it is the last entry's own position. So the first block whose
//! separator is at or after a position holds it, if any does.
//!
//! A search compares heads, eight to a cache line, and looks at a rest only where heads are equal. Blocks follow each
//! other, so a block is named by its end alone.

mod builder;
mod guide;
mod view;

pub(crate) use builder::{IndexBuilder, separator};
pub(crate) use guide::Guide;
pub(crate) use view::{IndexBlock, IndexShape};

/// Bytes before the heads: count and prefix bytes.
const HEADER_BYTES: usize = 8;
/// Bytes of a head, and of a rest's offset.
const HEAD_BYTES: usize = 8;
const OFFSET_BYTES: usize = 4;

/// Bytes of the value in a segment's index.
pub(crate) const INDEX_VALUE_BYTES: usize = 4;
/// Bytes of the value in a table's root.
pub(crate) const ROOT_VALUE_BYTES: usize = 24;

/// The head of what a separator has behind the prefix.
#[inline]
fn head_of(rest: &[u8]) -> u64 {
    if let Some(word) = rest.first_chunk::<HEAD_BYTES>() {
        return u64::from_be_bytes(*word);
    }
    let mut word = [0; HEAD_BYTES];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(word)
}
