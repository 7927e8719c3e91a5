//! Range tombstones: "every key from start to before end has no value from this sequence number down".
//!
//! | part | layout |
//! |---|---|
//! | fragments | start: length (varint), bytes; end, likewise; sequence number (u64); one behind the other |
//! | offsets | of each fragment in the contents (u32) |
//! | count | u32, at least 1 |
//!
//! A table has fragments, not what users wrote: the order is start ascending, sequence number descending, and two
//! fragments have the same start and end, or the one ends at or before the other's start. So what covers a key is one
//! run of fragments, found by a binary search. The block stays in memory; all of it is checked once, when the table
//! is opened.
//!
//! Not here: cutting ranges into fragments. Who writes them keeps the order; the writer refuses what is out of it.

use kausal_index::{RangeTombstone, SeqNo};

use crate::error::Damage;
use crate::format::{put_varint, take_bytes, take_part, word};

/// Whether `next` may follow `last` in a table.
fn may_follow(last: &RangeTombstone<'_>, next: &RangeTombstone<'_>) -> bool {
    let is_same_range = last.start == next.start && last.end == next.end;
    (is_same_range && next.seqno < last.seqno) || last.end <= next.start
}

fn is_sound(fragment: &RangeTombstone<'_>) -> bool {
    fragment.start < fragment.end && fragment.seqno != SeqNo::ZERO
}

/// Collects fragments.
#[derive(Debug, Default)]
pub(crate) struct RangeTombstonesBuilder {
    contents: Vec<u8>,
    offsets: Vec<u32>,
}

impl RangeTombstonesBuilder {
    pub(crate) fn count(&self) -> usize {
        self.offsets.len()
    }

    /// Size of the contents if the block ended here.
    pub(crate) fn bytes(&self) -> usize {
        self.contents.len() + 4 * self.offsets.len() + 4
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.contents.capacity() + 4 * self.offsets.capacity()
    }

    /// Adds the next fragment; `false` if it is out of order or covers nothing.
    pub(crate) fn add(&mut self, fragment: RangeTombstone<'_>) -> bool {
        let last = self.offsets.last().and_then(|&offset| fragment_at(&self.contents, offset as usize));
        if !is_sound(&fragment) || last.is_some_and(|last| !may_follow(&last, &fragment)) {
            return false;
        }
        self.offsets.push(self.contents.len() as u32);
        for key in [fragment.start, fragment.end] {
            put_varint(&mut self.contents, key.len() as u64);
            self.contents.extend_from_slice(key);
        }
        self.contents.extend_from_slice(&fragment.seqno.get().to_le_bytes());
        true
    }

    /// Ends the block and lends its contents, to which a trailer may be appended.
    pub(crate) fn finish(&mut self) -> &mut Vec<u8> {
        self.offsets.iter().for_each(|offset| self.contents.extend_from_slice(&offset.to_le_bytes()));
        self.contents.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        &mut self.contents
    }
}

fn fragment_at(contents: &[u8], offset: usize) -> Option<RangeTombstone<'_>> {
    let mut rest = contents.get(offset..)?;
    take_fragment(&mut rest)
}

fn take_fragment<'a>(rest: &mut &'a [u8]) -> Option<RangeTombstone<'a>> {
    let mut key = || {
        let len = take_part(rest)?;
        take_bytes(rest, len)
    };
    let (start, end) = (key()?, key()?);
    let seqno = SeqNo::new(word(take_bytes(rest, 8)?, 0))?;
    Some(RangeTombstone { start, end, seqno })
}

/// The fragments of a table.
#[derive(Clone, Copy, Debug)]
pub struct RangeTombstones<'a> {
    contents: &'a [u8],
    offsets: &'a [u8],
}

impl<'a> RangeTombstones<'a> {
    pub(crate) const NONE: Self = Self { contents: &[], offsets: &[] };

    /// Takes a block apart that has passed [`check`](Self::check).
    pub(crate) fn new(block: &'a [u8]) -> Result<Self, Damage> {
        let (rest, count) = block.split_last_chunk::<4>().ok_or(Damage::RangeTombstones)?;
        let bytes = 4 * u32::from_le_bytes(*count) as usize;
        let start = rest.len().checked_sub(bytes).filter(|_| bytes > 0).ok_or(Damage::RangeTombstones)?;
        let (contents, offsets) = rest.split_at(start);
        Ok(Self { contents, offsets })
    }

    /// Checks that every byte is a fragment's, and all are sound and in order.
    pub(crate) fn check(block: &'a [u8]) -> Result<Self, Damage> {
        let fragments = Self::new(block)?;
        let mut rest = fragments.contents;
        let mut last: Option<RangeTombstone<'_>> = None;
        for place in 0..fragments.len() {
            if fragments.offset(place) != fragments.contents.len() - rest.len() {
                return Err(Damage::RangeTombstones);
            }
            let fragment = take_fragment(&mut rest).ok_or(Damage::RangeTombstones)?;
            if !is_sound(&fragment) || last.is_some_and(|last| !may_follow(&last, &fragment)) {
                return Err(Damage::RangeTombstones);
            }
            last = Some(fragment);
        }
        if rest.is_empty() { Ok(fragments) } else { Err(Damage::RangeTombstones) }
    }

    fn offset(&self, place: usize) -> usize {
        let bytes = self.offsets[4 * place..4 * place + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    }

    /// Number of fragments.
    pub fn len(&self) -> usize {
        self.offsets.len() / 4
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The fragment at `place`, in order of start and descending sequence number.
    ///
    /// # Panics
    ///
    /// If `place` is not below [`len`](Self::len).
    pub fn at(&self, place: usize) -> RangeTombstone<'a> {
        fragment_at(self.contents, self.offset(place)).expect("checked when the table was opened")
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = RangeTombstone<'a>> + use<'a> {
        let fragments = *self;
        (0..self.len()).map(move |place| fragments.at(place))
    }

    /// The largest sequence number at or below `at` of a fragment that covers `key`. O(log n) and one step per
    /// fragment of the same range above `at`.
    pub fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        let (mut lower, mut upper) = (0, self.len());
        while lower < upper {
            let middle = lower + (upper - lower) / 2;
            if self.at(middle).end <= key {
                lower = middle + 1;
            } else {
                upper = middle;
            }
        }
        let of_range = (lower..self.len()).map(|place| self.at(place)).take_while(|range| range.start <= key);
        of_range.map(|range| range.seqno).find(|&seqno| seqno <= at)
    }
}
