//! Looks into the contents of an index block or a root.

use std::cmp::Ordering;

use kausal_index::SeqNo;

use super::{HEAD_BYTES, HEADER_BYTES, INDEX_VALUE_BYTES, OFFSET_BYTES, ROOT_VALUE_BYTES, head_of};
use crate::cache::FrameHint;
use crate::error::Damage;
use crate::format::{BlockHandle, partition_point, take_varint, word};
use crate::prefetch;

/// How contents are divided: what is read of them once, and kept by those who look at them often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexShape {
    count: usize,
    value_bytes: usize,
    prefix_start: usize,
    rests_start: usize,
}

/// Heads between two samples: two lines of heads, and one of values.
const SAMPLE_HEADS: usize = 16;

/// Contents, taken apart once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexBlock<'a> {
    contents: &'a [u8],
    shape: IndexShape,
    /// The last of every [`SAMPLE_HEADS`] heads, or nothing.
    samples: &'a [u64],
    /// What who finds a block looks at next, one for each, or nothing.
    places: &'a [FrameHint],
}

impl<'a> IndexBlock<'a> {
    /// The index of a segment.
    pub(crate) fn of_segment(contents: &'a [u8]) -> Result<Self, Damage> {
        let block = Self::new(contents, INDEX_VALUE_BYTES)?;
        if block.shape.count == 0 { Err(Damage::Index) } else { Ok(block) }
    }

    /// How many data blocks an index of so many bytes names at most.
    pub(crate) fn blocks_max(bytes: u64) -> usize {
        (bytes.saturating_sub(HEADER_BYTES as u64) as usize) / (HEAD_BYTES + INDEX_VALUE_BYTES + OFFSET_BYTES)
    }

    /// The root of a table; it may name no segment.
    pub(crate) fn of_table(contents: &'a [u8]) -> Result<Self, Damage> {
        Self::new(contents, ROOT_VALUE_BYTES).map_err(|_| Damage::Root)
    }

    #[inline]
    fn new(contents: &'a [u8], value_bytes: usize) -> Result<Self, Damage> {
        let header = word(contents.first_chunk::<HEADER_BYTES>().ok_or(Damage::Index)?, 0);
        let (count, prefix_bytes) = ((header & 0xFFFF_FFFF) as usize, (header >> 32) as usize);
        let prefix_start = HEADER_BYTES + count * (HEAD_BYTES + value_bytes + OFFSET_BYTES);
        let rests_start = prefix_start + prefix_bytes;
        if rests_start > contents.len() {
            return Err(Damage::Index);
        }
        let shape = IndexShape { count, value_bytes, prefix_start, rests_start };
        Ok(Self { contents, shape, samples: &[], places: &[] })
    }

    /// The contents once more; `shape` and `samples` are theirs.
    #[inline]
    pub(crate) fn with(contents: &'a [u8], shape: IndexShape, samples: &'a [u64]) -> Self {
        Self { contents, shape, samples, places: &[] }
    }

    /// With `places`, one for each block, whose lines a search asks for together with those of the values.
    #[inline]
    pub(crate) fn beside(self, places: &'a [FrameHint]) -> Self {
        Self { places, ..self }
    }

    /// What a search may begin with, for an index that stays in memory: so few bytes that they stay near, where a search among
    /// all heads waits for one line after another.
    pub(crate) fn samples(&self) -> Box<[u64]> {
        (0..self.samples_count()).map(|place| self.head(SAMPLE_HEADS * (place + 1) - 1)).collect()
    }

    /// How many [`samples`](Self::samples) there are.
    pub(crate) fn samples_count(&self) -> usize {
        self.shape.count / SAMPLE_HEADS
    }

    pub(crate) fn shape(&self) -> IndexShape {
        self.shape
    }

    /// Number of blocks named.
    pub(crate) fn count(&self) -> usize {
        self.shape.count
    }

    /// What all separators begin with.
    #[inline]
    pub(crate) fn prefix(&self) -> &'a [u8] {
        &self.contents[self.shape.prefix_start..self.shape.rests_start]
    }

    /// All heads.
    pub(super) fn heads(&self) -> impl Iterator<Item = u64> {
        (0..self.shape.count).map(|place| self.head(place))
    }

    #[inline]
    fn head(&self, place: usize) -> u64 {
        word(self.contents, HEADER_BYTES + HEAD_BYTES * place)
    }

    /// Number of the first head in `lower..upper` that is not `below`.
    #[inline]
    fn first_head(&self, lower: usize, upper: usize, below: impl Fn(u64) -> bool) -> usize {
        let heads = &self.contents[HEADER_BYTES + HEAD_BYTES * lower..HEADER_BYTES + HEAD_BYTES * upper];
        // The standard library's search has no branch that depends on what it finds: one that is not to be predicted costs
        // more than all loads of a step.
        let (heads, _) = heads.as_chunks::<HEAD_BYTES>();
        lower + heads.partition_point(|head| below(u64::from_le_bytes(*head)))
    }

    /// What is said of the block at `place`.
    #[inline]
    pub(crate) fn value(&self, place: usize) -> &'a [u8] {
        let start = HEADER_BYTES + HEAD_BYTES * self.shape.count + self.shape.value_bytes * place;
        &self.contents[start..start + self.shape.value_bytes]
    }

    /// The data block at `place` of the segment that begins at `start`.
    pub(crate) fn data_block(&self, place: usize, start: u64) -> Result<BlockHandle, Damage> {
        let end = |place: usize| {
            let bytes = self.value(place).try_into().expect("an index's values have four bytes");
            start.checked_add(u64::from(u32::from_le_bytes(bytes)))
        };
        let block_start = place.checked_sub(1).map_or(Some(start), end).ok_or(Damage::Index)?;
        BlockHandle::between(block_start, end(place).ok_or(Damage::Index)?).ok_or(Damage::Index)
    }

    /// Length behind the prefix, sequence number, and bytes behind the head of a separator.
    fn rest(&self, place: usize) -> Result<(usize, SeqNo, &'a [u8]), Damage> {
        let offsets = HEADER_BYTES + (HEAD_BYTES + self.shape.value_bytes) * self.shape.count;
        let offset = |place: usize| {
            let start = offsets + OFFSET_BYTES * place;
            let bytes = self.contents[start..start + OFFSET_BYTES].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let rests = &self.contents[self.shape.rests_start..];
        let end = if place + 1 < self.shape.count { offset(place + 1) } else { rests.len() };
        let mut rest = if cfg!(kausal_planted = "sst_index") {
            &rests[offset(place)..end]
        } else {
            rests.get(offset(place)..end).ok_or(Damage::Index)?
        };
        let len = take_varint(&mut rest).and_then(|len| usize::try_from(len).ok()).ok_or(Damage::Index)?;
        let seqno = take_varint(&mut rest).and_then(SeqNo::new).ok_or(Damage::Index)?;
        if rest.len() != len.saturating_sub(HEAD_BYTES) {
            return Err(Damage::Index);
        }
        Ok((len, seqno, rest))
    }

    /// Puts the key of the separator at `place` into `key`, and answers its sequence number.
    pub(crate) fn separator(&self, place: usize, key: &mut Vec<u8>) -> Result<SeqNo, Damage> {
        let (len, seqno, rest) = self.rest(place)?;
        key.clear();
        key.extend_from_slice(self.prefix());
        key.extend_from_slice(&self.head(place).to_be_bytes()[..len.min(HEAD_BYTES)]);
        key.extend_from_slice(rest);
        Ok(seqno)
    }

    /// Number of the first block whose separator is at or after (`key`, `at`); the count if there is none.
    #[inline]
    pub(crate) fn seek(&self, key: &[u8], at: SeqNo) -> Result<usize, Damage> {
        let mut behind = key;
        if self.shape.prefix_start < self.shape.rests_start {
            let prefix = self.prefix();
            let (beginning, rest) = key.split_at(prefix.len().min(key.len()));
            match beginning.cmp(prefix) {
                // Also a key that ends within the prefix.
                Ordering::Less => return Ok(0),
                Ordering::Greater => return Ok(self.shape.count),
                Ordering::Equal => behind = rest,
            }
        }
        let head = head_of(behind);
        let (from, to) = self.around(head);
        let lower = self.first_head(from, to, |other| other < head);
        if lower == self.shape.count || self.head(lower) != head {
            return Ok(lower);
        }
        self.seek_equal(lower, head, behind, at)
    }

    /// Where the first head that is not below `head` lies, or the end of that if there is none there: all heads, without samples.
    #[inline]
    fn around(&self, head: u64) -> (usize, usize) {
        if self.samples.is_empty() {
            return (0, self.shape.count);
        }
        let from = SAMPLE_HEADS * self.samples.partition_point(|&sample| sample < head);
        prefetch::both_ends_of(&self.contents[HEADER_BYTES + HEAD_BYTES * from..], HEAD_BYTES * SAMPLE_HEADS);
        let values = HEADER_BYTES + HEAD_BYTES * self.shape.count + self.shape.value_bytes * from;
        prefetch::both_ends_of(&self.contents[values..], self.shape.value_bytes * SAMPLE_HEADS);
        if let Some(places) = self.places.get(from..) {
            prefetch::ends_of(&places[..places.len().min(SAMPLE_HEADS)]);
        }
        (from, (from + SAMPLE_HEADS).min(self.shape.count))
    }

    /// Goes on with a search where heads from `lower` on are equal to `head`, nearly always one: compares the rests.
    #[inline(never)]
    fn seek_equal(&self, lower: usize, head: u64, behind: &[u8], at: SeqNo) -> Result<usize, Damage> {
        let upper = self.first_head(lower, self.shape.count, |other| other == head);
        let behind = (behind.len(), behind.get(HEAD_BYTES..).unwrap_or_default());
        partition_point(lower, upper, |place| {
            let (len, seqno, rest) = self.rest(place)?;
            // Of two that are equal as far as padded heads go, the shorter is the smaller.
            let order = len.min(HEAD_BYTES).cmp(&behind.0.min(HEAD_BYTES)).then_with(|| rest.cmp(behind.1));
            Ok(order.then_with(|| at.cmp(&seqno)) == Ordering::Less)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexBuilder;

    /// The index of blocks that end at `keys`.
    fn index_of(keys: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        for (place, key) in keys.iter().enumerate() {
            builder.add((key, SeqNo::ZERO), &(place as u32 + 1).to_le_bytes());
        }
        let mut contents = Vec::new();
        builder.finish(&mut contents);
        contents
    }

    /// Of every length up to several samples, with heads that repeat and heads that do not.
    #[test]
    fn a_search_that_begins_with_samples_finds_what_one_of_all_heads_does() {
        let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec();
        let alike =
            |number: u64| [b"same head ".as_slice(), &(number / 3).to_be_bytes(), &[number as u8]].concat();
        for make in [&spread as &dyn Fn(u64) -> Vec<u8>, &alike] {
            for count in 1..=5 * SAMPLE_HEADS as u64 + 1 {
                let mut keys: Vec<Vec<u8>> = (0..count).map(make).collect();
                keys.sort_unstable();
                let contents = index_of(&keys);
                let all = IndexBlock::of_segment(&contents).unwrap();
                let samples = all.samples();
                let sampled = IndexBlock::with(&contents, all.shape(), &samples);
                let probes = (0..2 * count).map(make).chain([Vec::new(), vec![255; 20]]);
                for key in probes {
                    let linear = keys.iter().take_while(|held| **held < key).count();
                    assert_eq!(sampled.seek(&key, SeqNo::ZERO), Ok(linear), "{count} keys, {key:?}");
                    assert_eq!(all.seek(&key, SeqNo::ZERO), Ok(linear));
                }
            }
        }
    }
}
