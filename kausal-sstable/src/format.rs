//! The format of a table file: every constant and every fixed layout, in one room. `FORMAT.md` tells it in prose.
//!
//! A file is segments, then dictionary and range tombstones where there are any, root, properties, footer, without a
//! gap. A segment is data blocks, their filter, their index. The root has an entry for each segment.
//!
//! A block is its contents, raw or compressed, followed by a trailer:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind: [`BlockKind`] |
//! | 1 | 1 | compression: see `compression.rs` |
//! | 2 | 8 | xxh3-64 of what is stored and the two bytes above, seeded with [`seed`] |
//!
//! The footer:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | offset of the dictionary, or of what follows if there is none |
//! | 8 | 8 | offset of the range tombstones, likewise |
//! | 16 | 8 | offset of the root |
//! | 24 | 8 | offset of the properties |
//! | 32 | 8 | table id |
//! | 40 | 4 | format version, 1 |
//! | 44 | 4 | reserved, 0 |
//! | 48 | 8 | magic `KAUSTABL` |
//! | 56 | 8 | xxh3-64 of bytes 0 to 55, seeded with the footer's offset in the file |
//!
//! All numbers are little-endian; a varint is LEB128.

use twox_hash::XxHash3_64;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Damage, TableError};
use crate::ids::{FileNumber, TableId};

/// Format version that this library writes and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const MAGIC: [u8; 8] = *b"KAUSTABL";
pub(crate) const FOOTER_BYTES: usize = 64;
/// Bytes behind a block's contents: kind, compression, checksum.
pub const TRAILER_BYTES: usize = 10;
/// Largest contents of a block: lengths and offsets inside one are `u32`.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 30;

/// What a block holds. The numbers are part of the format, and under the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum BlockKind {
    /// Entries.
    Data = 1,
    /// Where a segment's data blocks lie.
    Index = 2,
    /// Where the segments lie.
    Root = 3,
    /// Which keys a segment may hold.
    Filter = 4,
    /// Counts and bounds.
    Properties = 5,
    /// Range tombstones.
    RangeTombstones = 6,
    /// What the compressor of the data blocks was given beforehand.
    Dictionary = 7,
}

/// Where a block lies; `len` is that of what is stored, the trailer excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHandle {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Bytes stored.
    pub len: u64,
}

impl BlockHandle {
    /// The block from `start` to the one at `end`, if a trailer fits between them.
    pub(crate) fn between(start: u64, end: u64) -> Option<Self> {
        let bytes = end.checked_sub(start)?;
        let len = if cfg!(kausal_planted = "sst_footer") {
            bytes.wrapping_sub(TRAILER_BYTES as u64)
        } else {
            bytes.checked_sub(TRAILER_BYTES as u64)?
        };
        Some(Self { offset: start, len })
    }

    /// Offset of the first byte behind the block and its trailer.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len).saturating_add(TRAILER_BYTES as u64)
    }
}

/// The seed of a block's checksum: a block at another offset, or of another table, does not match.
pub(crate) fn seed(table: TableId, offset: u64) -> u64 {
    table.0 ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Appends the trailer to what is stored of a block that will lie at `offset`.
pub(crate) fn seal(stored: &mut Vec<u8>, table: TableId, offset: u64, kind: BlockKind, compression: u8) {
    stored.extend_from_slice(&[kind as u8, compression]);
    let checksum = XxHash3_64::oneshot_with_seed(seed(table, offset), stored);
    stored.extend_from_slice(&checksum.to_le_bytes());
}

/// Checks a block read with its trailer. Returns the length of what is stored, and the compression byte.
pub(crate) fn check_block(
    table: TableId,
    offset: u64,
    kind: BlockKind,
    block: &[u8],
) -> Result<(usize, u8), Damage> {
    let len = block.len().checked_sub(TRAILER_BYTES).ok_or(Damage::Block)?;
    // Of the two crates that compute it the one that finds out how wide the processor's vectors are: it takes 0.6 of the time of
    // the other, which is the faster one for keys.
    let checksum = XxHash3_64::oneshot_with_seed(seed(table, offset), &block[..len + 2]);
    if checksum != word(block, len + 2) {
        return Err(Damage::Checksum);
    }
    if block[len] != kind as u8 {
        return Err(Damage::BlockKind { expected: kind as u8, actual: block[len] });
    }
    Ok((len, block[len + 1]))
}

/// The last bytes of a table file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The compressor's dictionary.
    pub dictionary: Option<BlockHandle>,
    /// The range tombstones.
    pub range_tombstones: Option<BlockHandle>,
    /// The index of the segments.
    pub root: BlockHandle,
    /// The properties.
    pub properties: BlockHandle,
    /// Random identity of the table.
    pub table: TableId,
}

/// The offsets in a footer: dictionary, range tombstones, root, properties.
pub(crate) type FooterOffsets = [u64; 4];

impl Footer {
    /// Offset of the first byte behind the segments.
    pub(crate) fn segments_end(&self) -> u64 {
        let rest = self.dictionary.or(self.range_tombstones);
        rest.unwrap_or(self.root).offset
    }

    /// The footer to be written at `offset`.
    pub(crate) fn to_bytes(offsets: FooterOffsets, table: TableId, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        for (place, word) in offsets.into_iter().chain([table.0]).enumerate() {
            bytes[8 * place..8 * place + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[48..56].copy_from_slice(&MAGIC);
        let checksum = xxh3_64_with_seed(&bytes[..56], offset);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Checks and reads the footer found at `offset`.
    pub(crate) fn from_bytes(
        file: FileNumber,
        offset: u64,
        bytes: &[u8; FOOTER_BYTES],
    ) -> Result<Self, TableError> {
        let corrupt = |what| TableError::Corruption { file, offset, what };
        if bytes[48..56] != MAGIC {
            return Err(corrupt(Damage::Footer));
        }
        if xxh3_64_with_seed(&bytes[..56], offset) != word(bytes, 56) {
            return Err(corrupt(Damage::Checksum));
        }
        let version = u32::from_le_bytes(bytes[40..44].try_into().expect("four bytes"));
        if version > FORMAT_VERSION {
            return Err(TableError::NewerFormat { file, version, supported: FORMAT_VERSION });
        }
        if version == 0 || bytes[44..48] != [0; 4] {
            return Err(corrupt(Damage::Footer));
        }
        Self::parse(bytes, offset).ok_or_else(|| corrupt(Damage::Footer))
    }

    /// The blocks that a sound footer at `offset` names. They stand side by side before it.
    fn parse(bytes: &[u8; FOOTER_BYTES], offset: u64) -> Option<Self> {
        let [dictionary, tombstones, root, properties] = [0, 8, 16, 24].map(|place| word(bytes, place));
        let optional = |start: u64, end: u64| {
            if start == end { Some(None) } else { BlockHandle::between(start, end).map(Some) }
        };
        Some(Self {
            dictionary: optional(dictionary, tombstones)?,
            range_tombstones: optional(tombstones, root)?,
            root: BlockHandle::between(root, properties)?,
            properties: BlockHandle::between(properties, offset)?,
            table: TableId(word(bytes, 32)),
        })
    }
}

/// The eight bytes at `place` as a number.
pub(crate) fn word(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"))
}

/// Appends `number` as LEB128.
pub(crate) fn put_varint(target: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        target.push(number as u8 | 0x80);
        number >>= 7;
    }
    target.push(number as u8);
}

/// Takes a LEB128 number off the front of `source`. `None` if it is cut off or longer than 64 bits.
#[inline]
pub(crate) fn take_varint(source: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = source.split_first()?;
    if first < 0x80 {
        *source = rest;
        return Some(u64::from(first));
    }
    let mut number = 0;
    for (place, &byte) in source.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7F).checked_shl(7 * place as u32)?;
        if byte < 0x80 {
            *source = &source[place + 1..];
            // The tenth byte has room for one bit.
            return (place < 9 || byte <= 1).then_some(number);
        }
    }
    None
}

/// Takes a varint that must fit in `usize` and be at most `max`.
#[inline]
pub(crate) fn take_len(source: &mut &[u8], max: usize) -> Option<usize> {
    let number = usize::try_from(take_varint(source)?).ok()?;
    (number <= max).then_some(number)
}

/// Takes `len` bytes off the front of `source`.
#[inline]
pub(crate) fn take_bytes<'a>(source: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = source.split_at_checked(len)?;
    *source = rest;
    Some(taken)
}

/// Takes a length of something that lies in the rest of `source` itself.
#[inline]
pub(crate) fn take_part(source: &mut &[u8]) -> Option<usize> {
    let max = source.len();
    take_len(source, max)
}

/// The first of `lower..upper` for which `is_before` does not hold; it must hold for a prefix of them.
#[inline]
pub(crate) fn partition_point(
    mut lower: usize,
    mut upper: usize,
    is_before: impl Fn(usize) -> Result<bool, Damage>,
) -> Result<usize, Damage> {
    while lower < upper {
        let middle = lower + (upper - lower) / 2;
        if is_before(middle)? {
            lower = middle + 1;
        } else {
            upper = middle;
        }
    }
    Ok(lower)
}
