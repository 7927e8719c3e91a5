//! The format of a table file: every constant and every fixed layout, in one room. `FORMAT.md` tells it in prose.
//!
//! A file is: data blocks, filter block, index block, properties block, footer, without a gap.
//!
//! A block is its contents followed by a trailer:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | compression: 0 none; other numbers are reserved |
//! | 1 | 8 | xxh3-64 of contents and compression byte, seeded with [`seed`] |
//!
//! The footer:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | filter block: offset and length without trailer, two u64 |
//! | 16 | 16 | index block |
//! | 32 | 16 | properties block |
//! | 48 | 8 | table id |
//! | 56 | 4 | format version, 1 |
//! | 60 | 4 | reserved, 0 |
//! | 64 | 8 | magic `KAUSTABL` |
//! | 72 | 8 | xxh3-64 of bytes 0 to 71, seeded with the footer's offset in the file |
//!
//! All numbers are little-endian; a varint is LEB128.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::error::{Damage, TableError};
use crate::ids::{FileNumber, TableId};

/// Format version that this library writes and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const MAGIC: [u8; 8] = *b"KAUSTABL";
pub(crate) const FOOTER_BYTES: usize = 80;
pub(crate) const TRAILER_BYTES: usize = 9;
/// Largest contents of a block: lengths and offsets inside one are `u32`.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Compression byte of a block stored as it is.
pub(crate) const COMPRESSION_NONE: u8 = 0;

/// Where a block lies; `len` is that of its contents, the trailer excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHandle {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Bytes of contents.
    pub len: u64,
}

impl BlockHandle {
    /// Offset of the first byte behind the block and its trailer.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len).saturating_add(TRAILER_BYTES as u64)
    }

    fn put(self, target: &mut [u8]) {
        target[..8].copy_from_slice(&self.offset.to_le_bytes());
        target[8..16].copy_from_slice(&self.len.to_le_bytes());
    }

    fn get(source: &[u8]) -> Self {
        Self { offset: word(source, 0), len: word(source, 8) }
    }
}

/// The seed of a block's checksum: a block at another offset, or of another table, does not match.
pub(crate) fn seed(table: TableId, offset: u64) -> u64 {
    table.0 ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The trailer for `contents` at `offset`.
pub(crate) fn trailer(table: TableId, offset: u64, contents: &[u8], compression: u8) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[0] = compression;
    trailer[1..].copy_from_slice(&checksum(table, offset, contents, compression).to_le_bytes());
    trailer
}

fn checksum(table: TableId, offset: u64, contents: &[u8], compression: u8) -> u64 {
    let mut hasher = Xxh3::with_seed(seed(table, offset));
    hasher.update(contents);
    hasher.update(&[compression]);
    hasher.digest()
}

/// Checks a block read with its trailer and returns its contents' length.
pub(crate) fn check_block(table: TableId, offset: u64, block: &[u8]) -> Result<usize, Damage> {
    let len = block.len().checked_sub(TRAILER_BYTES).ok_or(Damage::Block)?;
    // Contents and compression byte lie side by side, so one call hashes both.
    let stored = word(block, len + 1);
    if xxh3_64_with_seed(&block[..=len], seed(table, offset)) != stored {
        return Err(Damage::Checksum);
    }
    match block[len] {
        COMPRESSION_NONE => Ok(len),
        other => Err(Damage::Compression(other)),
    }
}

/// The last bytes of a table file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The filter over all keys.
    pub filter: BlockHandle,
    /// The index of the data blocks.
    pub index: BlockHandle,
    /// The properties.
    pub properties: BlockHandle,
    /// Random identity of the table.
    pub table: TableId,
}

impl Footer {
    pub(crate) fn to_bytes(self, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        self.filter.put(&mut bytes[0..]);
        self.index.put(&mut bytes[16..]);
        self.properties.put(&mut bytes[32..]);
        bytes[48..56].copy_from_slice(&self.table.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[64..72].copy_from_slice(&MAGIC);
        let checksum = xxh3_64_with_seed(&bytes[..72], offset);
        bytes[72..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Checks and reads the footer found at `offset`.
    pub(crate) fn from_bytes(
        file: FileNumber,
        offset: u64,
        bytes: &[u8; FOOTER_BYTES],
    ) -> Result<Self, TableError> {
        let corrupt = |what| TableError::Corruption { file, offset, what };
        if bytes[64..72] != MAGIC {
            return Err(corrupt(Damage::Footer));
        }
        if xxh3_64_with_seed(&bytes[..72], offset) != word(bytes, 72) {
            return Err(corrupt(Damage::Checksum));
        }
        let version = u32::from_le_bytes(bytes[56..60].try_into().expect("four bytes"));
        if version > FORMAT_VERSION {
            return Err(TableError::NewerFormat { file, version, supported: FORMAT_VERSION });
        }
        if version == 0 || bytes[60..64] != [0; 4] {
            return Err(corrupt(Damage::Footer));
        }
        let footer = Self {
            filter: BlockHandle::get(&bytes[0..]),
            index: BlockHandle::get(&bytes[16..]),
            properties: BlockHandle::get(&bytes[32..]),
            table: TableId(word(bytes, 48)),
        };
        // The three blocks stand side by side before the footer, whatever lies before them.
        let tiled = footer.filter.end() == footer.index.offset
            && footer.index.end() == footer.properties.offset
            && footer.properties.end() == offset;
        if tiled { Ok(footer) } else { Err(corrupt(Damage::Footer)) }
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
