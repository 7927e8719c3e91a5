//! Builds an index block or a root, separator by separator.

use kausal_index::SeqNo;

use super::{HEAD_BYTES, HEADER_BYTES, OFFSET_BYTES, head_of};
use crate::block::common_prefix;
use crate::format::put_varint;

#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    /// The separators' keys, one behind the other.
    keys: Vec<u8>,
    /// Where each key ends, and its sequence number.
    ends: Vec<(usize, SeqNo)>,
    values: Vec<u8>,
}

impl IndexBuilder {
    /// Names one more block. The caller keeps the order, and all values of one length.
    pub(crate) fn add(&mut self, separator: (&[u8], SeqNo), value: &[u8]) {
        self.keys.extend_from_slice(separator.0);
        self.ends.push((self.keys.len(), separator.1));
        self.values.extend_from_slice(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Sequence number of the last separator.
    pub(crate) fn last_seqno(&self) -> SeqNo {
        self.ends.last().map_or(SeqNo::ZERO, |&(_, seqno)| seqno)
    }

    /// Size of the contents if the block ended here, or a little more.
    pub(crate) fn bytes(&self) -> usize {
        // A rest begins with two varints, of up to 3 and 8 bytes.
        HEADER_BYTES
            + self.values.len()
            + self.keys.len()
            + self.ends.len() * (HEAD_BYTES + OFFSET_BYTES + 11)
    }

    /// Bytes of memory held. [`finish`](Self::finish) writes up to [`bytes`](Self::bytes) into memory of the caller's.
    pub(crate) fn memory_bytes(&self) -> usize {
        let entry = size_of::<(usize, SeqNo)>();
        self.keys.capacity() + self.ends.capacity() * entry + self.values.capacity()
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.ends.clear();
        self.values.clear();
    }

    fn key(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before].0);
        &self.keys[start..self.ends[place].0]
    }

    /// Writes the contents into `contents`, with room behind them for a trailer; begins the next block in the same memory.
    pub(crate) fn finish(&mut self, contents: &mut Vec<u8>) {
        let count = self.ends.len();
        // In order, so what the first and the last have in common, all have.
        let prefix = if count == 0 { 0 } else { common_prefix(self.key(0), self.key(count - 1)) };
        contents.clear();
        contents.reserve_exact(self.bytes() + crate::format::TRAILER_BYTES);
        contents.extend_from_slice(&(count as u32).to_le_bytes());
        contents.extend_from_slice(&(prefix as u32).to_le_bytes());
        for place in 0..count {
            contents.extend_from_slice(&head_of(&self.key(place)[prefix..]).to_le_bytes());
        }
        contents.extend_from_slice(&self.values);
        let offsets = contents.len();
        contents.resize(offsets + OFFSET_BYTES * count, 0);
        if count > 0 {
            contents.extend_from_slice(&self.key(0)[..prefix]);
        }
        let rests = contents.len();
        for place in 0..count {
            let offset = (contents.len() - rests) as u32;
            let slot = offsets + OFFSET_BYTES * place;
            contents[slot..slot + OFFSET_BYTES].copy_from_slice(&offset.to_le_bytes());
            let rest = &self.key(place)[prefix..];
            put_varint(contents, rest.len() as u64);
            put_varint(contents, self.ends[place].1.get());
            contents.extend_from_slice(rest.get(HEAD_BYTES..).unwrap_or_default());
        }
        self.clear();
    }
}

/// Puts into `target` a key at or after `last` and before `next`, as short as is easily found.
pub(crate) fn separator(last: &[u8], next: &[u8], target: &mut Vec<u8>) {
    target.clear();
    let common = common_prefix(last, next);
    if let (Some(&lower), Some(&upper)) = (last.get(common), next.get(common)) {
        if lower + 1 < upper {
            target.extend_from_slice(&last[..common]);
            target.push(lower + 1);
            return;
        }
        if next.len() > common + 1 {
            target.extend_from_slice(&next[..=common]);
            return;
        }
        // Raise the first byte behind the one that they differ in.
        let behind = last[common + 1..].iter().position(|&byte| byte < u8::MAX);
        if let Some(place) = behind.map(|place| common + 1 + place) {
            target.extend_from_slice(&last[..=place]);
            target[place] += 1;
            return;
        }
    }
    target.extend_from_slice(last);
}
