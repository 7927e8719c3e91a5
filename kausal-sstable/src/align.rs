//! Where data blocks end: where a page of the file does, as far as entries allow.
//!
//! A block of a page's size that begins anywhere lies in two pages of the disk and of the kernel's page cache. So a block ends
//! before an entry would go beyond the page, if few zeros fill what is left. Blocks of longer entries lie as they come. RocksDB can do the same (`block_align`), with as many zeros as it takes.
//!
//! Not here: compressed blocks, of which nobody knows beforehand what they will take.

use crate::format::TRAILER_BYTES;

/// What the kernel reads of a disk, and keeps.
pub(crate) const PAGE_BYTES: usize = 4 << 10;

/// Most zeros before the entries of a block.
pub(crate) const PADDING_BYTES_MAX: usize = 256;

/// A block is not ended for the page's sake before its contents have so many bytes.
const SHORT_BLOCK_BYTES: usize = 512;

/// What the contents of a block at `offset` may have, of at most `wanted` bytes, if it is to end in a page.
pub(crate) fn room(offset: u64, wanted: usize) -> usize {
    let beyond = (offset + wanted as u64) % PAGE_BYTES as u64;
    wanted.saturating_sub(beyond as usize + TRAILER_BYTES)
}

/// Whether a block whose contents have `bytes` ends before the next entry, with which they had `next`, where the page leaves `room`.
pub(crate) fn ends(bytes: usize, next: usize, room: usize) -> bool {
    next > room && bytes <= room && room - bytes <= PADDING_BYTES_MAX && bytes >= SHORT_BLOCK_BYTES
}

/// Zeros that bring `end`, that of a block, to the end of a page; none if they were too many.
pub(crate) fn padding(end: u64) -> usize {
    let padding = (end.next_multiple_of(PAGE_BYTES as u64) - end) as usize;
    if padding <= PADDING_BYTES_MAX { padding } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_BYTES as u64;

    #[test]
    fn blocks_of_short_entries_come_to_lie_in_pages_wherever_they_begin() {
        for start in 0..PAGE {
            let mut offset = start;
            // Entries of 129 bytes, offsets and tags included.
            for _ in 0..24 {
                let contents = contents_of(129, offset);
                assert!((1..=PAGE_BYTES).contains(&contents));
                let end = offset + (contents + TRAILER_BYTES) as u64;
                offset = end + padding(end) as u64;
            }
            assert_eq!(offset % PAGE, 0, "of blocks from {start} on");
        }
    }

    /// Contents of a block at `offset` of entries that take `entry` bytes each.
    fn contents_of(entry: usize, offset: u64) -> usize {
        let room = room(offset, PAGE_BYTES);
        let mut contents = entry;
        while contents + entry <= PAGE_BYTES && !ends(contents, contents + entry, room) {
            contents += entry;
        }
        contents
    }

    #[test]
    fn blocks_of_long_entries_are_as_long_as_they_were() {
        let (mut offset, mut blocks, mut entries) = (0, 0, 0);
        while entries < 3_000 {
            let contents = contents_of(1_050, offset);
            (blocks, entries) = (blocks + 1, entries + contents / 1_050);
            offset += (contents + TRAILER_BYTES) as u64;
            offset += padding(offset) as u64;
        }
        assert!((1_000..1_050).contains(&blocks), "{blocks} blocks of up to three entries");
    }

    #[test]
    fn a_page_s_end_is_never_beyond_what_is_wanted() {
        for wanted in [PAGE_BYTES, 5000, 16 << 10] {
            assert!((0..PAGE).all(|offset| room(offset, wanted) <= wanted));
        }
        assert_eq!(padding(PAGE - PADDING_BYTES_MAX as u64), PADDING_BYTES_MAX);
        assert_eq!(padding(PAGE - PADDING_BYTES_MAX as u64 - 1), 0);
        assert_eq!(padding(PAGE), 0);
    }
}
