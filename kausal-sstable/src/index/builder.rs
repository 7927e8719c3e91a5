//! Builds an index block or a root, separator by separator.
//!
//! Of each separator only what it does not share with the first one is held: neighbours that are long share most of it, as it is
//! what keys of two blocks share that makes a separator long.

use kausal_index::SeqNo;

use super::{HEAD_BYTES, HEADER_BYTES, OFFSET_BYTES, head_of};
use crate::block::common_prefix;
use crate::format::put_varint;
use crate::growth::{grown, make_room, replace};

#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    /// The first separator's key.
    first: Vec<u8>,
    /// What the others do not share with it, one behind the other.
    rests: Vec<u8>,
    lines: Vec<Line>,
    values: Vec<u8>,
    /// Bytes that all separators have in common.
    prefix: usize,
    /// Of all separators.
    key_bytes: usize,
}

/// One separator.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Bytes that it shares with the first one.
    shared: usize,
    /// Where its rest ends.
    end: usize,
    seqno: SeqNo,
}

impl IndexBuilder {
    /// Names one more block. The caller keeps the order, and all values of one length.
    pub(crate) fn add(&mut self, separator: (&[u8], SeqNo), value: &[u8]) {
        let (key, seqno) = separator;
        if self.lines.is_empty() {
            replace(&mut self.first, key);
            self.prefix = key.len();
        }
        let shared = common_prefix(&self.first, key);
        self.prefix = self.prefix.min(shared);
        self.key_bytes += key.len();
        let rest = &key[shared..];
        make_room(&mut self.rests, rest.len());
        self.rests.extend_from_slice(rest);
        self.lines.push(Line { shared, end: self.rests.len(), seqno });
        self.values.extend_from_slice(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// Sequence number of the last separator.
    pub(crate) fn last_seqno(&self) -> SeqNo {
        self.lines.last().map_or(SeqNo::ZERO, |line| line.seqno)
    }

    /// Size of the contents if the block ended here, or a little more.
    pub(crate) fn bytes(&self) -> usize {
        let count = self.lines.len();
        let keys = self.prefix + self.key_bytes - count * self.prefix;
        // A rest begins with two varints, of up to 3 and 8 bytes.
        HEADER_BYTES + self.values.len() + keys + count * (HEAD_BYTES + OFFSET_BYTES + 11)
    }

    /// The same without what all separators have in common, which there is once.
    pub(crate) fn line_bytes(&self) -> usize {
        self.bytes() - self.prefix
    }

    /// Bytes of memory held when a separator of `more` bytes is added. [`finish`](Self::finish) writes up to
    /// [`bytes`](Self::bytes) into memory of the caller's.
    pub(crate) fn memory_bytes_with(&self, more: usize) -> usize {
        let first = self.first.capacity().max(if self.lines.is_empty() { grown(more) } else { 0 });
        let rests = match self.lines.len() {
            0 => self.rests.capacity(),
            _ => self.rests.capacity().max(grown(self.rests.len() + more)),
        };
        // Vectors that are full grow to twice their size.
        first + rests + 2 * (self.lines.capacity() * size_of::<Line>() + self.values.capacity())
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.rests.clear();
        self.lines.clear();
        self.values.clear();
        self.key_bytes = 0;
    }

    /// A separator's key behind what all have in common, in two pieces.
    fn behind_prefix(&self, place: usize) -> [&[u8]; 2] {
        let Line { shared, end, .. } = self.lines[place];
        let start = place.checked_sub(1).map_or(0, |before| self.lines[before].end);
        [&self.first[self.prefix..shared], &self.rests[start..end]]
    }

    /// Writes the contents into `contents`, with room behind them for a trailer; begins the next block in the same memory.
    pub(crate) fn finish(&mut self, contents: &mut Vec<u8>) {
        let count = self.lines.len();
        let prefix = if count == 0 { 0 } else { self.prefix };
        contents.clear();
        contents.reserve_exact(self.bytes() + crate::format::TRAILER_BYTES);
        contents.extend_from_slice(&(count as u32).to_le_bytes());
        contents.extend_from_slice(&(prefix as u32).to_le_bytes());
        for place in 0..count {
            let mut head = [0; HEAD_BYTES];
            let pieces = self.behind_prefix(place).into_iter().flatten();
            let len = head.iter_mut().zip(pieces).map(|(byte, piece)| *byte = *piece).count();
            contents.extend_from_slice(&head_of(&head[..len]).to_le_bytes());
        }
        contents.extend_from_slice(&self.values);
        let offsets = contents.len();
        contents.resize(offsets + OFFSET_BYTES * count, 0);
        if count > 0 {
            contents.extend_from_slice(&self.first[..prefix]);
        }
        let rests = contents.len();
        for place in 0..count {
            let offset = (contents.len() - rests) as u32;
            let slot = offsets + OFFSET_BYTES * place;
            contents[slot..slot + OFFSET_BYTES].copy_from_slice(&offset.to_le_bytes());
            let [front, back] = self.behind_prefix(place);
            put_varint(contents, (front.len() + back.len()) as u64);
            put_varint(contents, self.lines[place].seqno.get());
            let in_head = front.len().min(HEAD_BYTES);
            contents.extend_from_slice(&front[in_head..]);
            contents.extend_from_slice(back.get(HEAD_BYTES - in_head..).unwrap_or_default());
        }
        self.clear();
    }
}

/// Puts into `target` a key at or after `last` and before `next`, as short as is easily found.
pub(crate) fn separator(last: &[u8], next: &[u8], target: &mut Vec<u8>) {
    let common = common_prefix(last, next);
    if let (Some(&lower), Some(&upper)) = (last.get(common), next.get(common)) {
        if lower + 1 < upper {
            replace(target, &last[..=common]);
            target[common] = lower + 1;
            return;
        }
        if next.len() > common + 1 {
            replace(target, &next[..=common]);
            return;
        }
        // Raise the first byte behind the one that they differ in.
        let behind = last[common + 1..].iter().position(|&byte| byte < u8::MAX);
        if let Some(place) = behind.map(|place| common + 1 + place) {
            replace(target, &last[..=place]);
            target[place] += 1;
            return;
        }
    }
    replace(target, last);
}
