//! Builds the contents of a block, entry by entry.

use kausal_index::PackedSeqNo;

use super::{COUNT_BYTES, GROUP, SHARED_BYTES_MIN, SHORT_BYTES, WIDE, tag};
use crate::filter::KeyHash;
use crate::format::{TRAILER_BYTES, put_varint};
use crate::growth::{make_room, replace};

#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    contents: Vec<u8>,
    offsets: Vec<u32>,
    tags: Vec<u8>,
    /// The key of the current group's head.
    head: Vec<u8>,
}

impl BlockBuilder {
    /// Adds an entry; the caller keeps the order and the size limit.
    pub(crate) fn add(&mut self, key: &[u8], hash: KeyHash, packed: PackedSeqNo, value: &[u8]) {
        let mut shared = 0;
        if self.offsets.len().is_multiple_of(GROUP) {
            replace(&mut self.head, key);
        } else {
            shared = common_prefix(&self.head, key);
            if shared < SHARED_BYTES_MIN {
                shared = 0;
            }
        }
        make_room(&mut self.contents, key.len() + value.len() + ENTRY_BYTES_MAX);
        self.offsets.push(self.contents.len() as u32);
        self.tags.push(tag(hash.0));
        let further = &key[shared..];
        let packed = packed.to_u64().to_le_bytes();
        // All in one piece where lengths are short, which is nearly always.
        if shared < 0x80 && further.len() < 0x80 {
            let mut head = [0; SHORT_BYTES + COPIED_BYTES_MAX];
            (head[0], head[1]) = (shared as u8, further.len() as u8);
            head[2..SHORT_BYTES].copy_from_slice(&packed);
            let end = SHORT_BYTES + further.len();
            if head.get_mut(SHORT_BYTES..end).is_some_and(|room| copy_short(room, further)) {
                self.contents.extend_from_slice(&head[..end]);
            } else {
                self.contents.extend_from_slice(&head[..SHORT_BYTES]);
                self.contents.extend_from_slice(further);
            }
        } else {
            put_varint(&mut self.contents, shared as u64);
            put_varint(&mut self.contents, further.len() as u64);
            self.contents.extend_from_slice(&packed);
            self.contents.extend_from_slice(further);
        }
        self.contents.extend_from_slice(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Size of the contents if the block ended here.
    pub(crate) fn bytes(&self) -> usize {
        let width = if self.is_wide() { 4 } else { 2 };
        self.contents.len() + (width + 1) * self.offsets.len() + COUNT_BYTES
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.contents.capacity() + 4 * self.offsets.capacity() + self.tags.capacity() + self.head.capacity()
    }

    fn is_wide(&self) -> bool {
        self.contents.len() > u16::MAX as usize
    }

    /// Ends the block with `padding` zeros before its first entry, and lends its contents, to which a trailer may be appended.
    pub(crate) fn finish(&mut self, padding: usize) -> &mut Vec<u8> {
        let mut count = self.offsets.len() as u32;
        make_room(&mut self.contents, padding + 5 * self.offsets.len() + COUNT_BYTES + TRAILER_BYTES);
        if padding > 0 {
            self.contents.splice(0..0, std::iter::repeat_n(0, padding));
            self.offsets.iter_mut().for_each(|offset| *offset += padding as u32);
        }
        if self.is_wide() {
            count |= WIDE;
            for offset in &self.offsets {
                self.contents.extend_from_slice(&offset.to_le_bytes());
            }
        } else {
            for &offset in &self.offsets {
                self.contents.extend_from_slice(&(offset as u16).to_le_bytes());
            }
        }
        self.contents.extend_from_slice(&self.tags);
        self.contents.extend_from_slice(&count.to_le_bytes());
        &mut self.contents
    }

    /// Begins the next block in the same memory.
    pub(crate) fn clear(&mut self) {
        self.contents.clear();
        self.offsets.clear();
        self.tags.clear();
    }
}

/// Bytes of an entry beside key and value: two lengths and the sequence number.
const ENTRY_BYTES_MAX: usize = 24;

/// Most bytes that [`copy_short`] copies.
const COPIED_BYTES_MAX: usize = 32;

/// Copies `from` to `into`, of the same length, if that is 8 to 32 bytes: two pieces that overlap, where a copy of a length not
/// known before is a call. Whether it did.
#[inline]
pub(crate) fn copy_short(into: &mut [u8], from: &[u8]) -> bool {
    debug_assert_eq!(into.len(), from.len(), "a copy of as many bytes as there is room");
    match from.len() {
        8..=16 => copy_ends::<8>(into, from),
        17..=COPIED_BYTES_MAX => copy_ends::<16>(into, from),
        _ => false,
    }
}

#[inline]
fn copy_ends<const BYTES: usize>(into: &mut [u8], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<BYTES>(), from.last_chunk::<BYTES>()) else {
        return false;
    };
    into.first_chunk_mut().is_some_and(|room: &mut [u8; BYTES]| {
        *room = *first;
        true
    }) && into.last_chunk_mut().is_some_and(|room: &mut [u8; BYTES]| {
        *room = *last;
        true
    })
}

/// Bytes that two keys begin with, eight at a time.
pub(crate) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let mut words = 0;
    for (left, right) in left.chunks_exact(8).zip(right.chunks_exact(8)) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let differs = word(left) ^ word(right);
        if differs != 0 {
            return words + differs.trailing_zeros() as usize / 8;
        }
        words += 8;
    }
    let rest = left[words..].iter().zip(&right[words..]);
    words + rest.take_while(|(left, right)| left == right).count()
}
