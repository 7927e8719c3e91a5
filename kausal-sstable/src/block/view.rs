//! Looks into the contents of a data block. Believes nothing: every offset and length is checked against what is there.
//!
//! A [`Block`] borrows the contents, wherever they lie: a buffer, a frame of a cache. A [`Position`] does not, so
//! that whoever owns both can lend them anew at each call; it is the number of an entry, ranges of the contents, and
//! the key where it had to be put together.

use std::cmp::Ordering;
use std::ops::Range;

use kausal_arena::prefetch_line;
use kausal_index::{EntryRef, PackedSeqNo, SeqNo};

use super::{COUNT_BYTES, GROUP, SHORT_BYTES, WIDE, common_prefix, tag};
use crate::error::Damage;
use crate::filter::KeyHash;
use crate::format::{partition_point, take_varint, word};
use crate::prefetch;

/// Where a cursor stands in a block's contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    /// The key, if it shares bytes with its group's head; its beginning is the head's.
    key: WholeKey,
    packed: Option<PackedSeqNo>,
    /// Number of the entry stood on.
    place: usize,
    shared: usize,
    /// The group whose head's key `key` begins with, and with how many bytes.
    head: (usize, usize),
    further: Range<usize>,
    value_end: usize,
}

impl Position {
    /// Stands nowhere, and forgets the block.
    pub(crate) fn clear(&mut self) {
        self.packed = None;
        self.head = (usize::MAX, 0);
    }

    /// The entry stood on; `contents` are those the position was reached in.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, contents: &'a [u8]) -> Option<EntryRef<'a>> {
        Some(self.raw()?.entry(&self.key, contents))
    }

    /// Where the entry stood on lies.
    #[inline]
    fn raw(&self) -> Option<Raw> {
        let (further, value_end) = (self.further.clone(), self.value_end);
        Some(Raw { shared: self.shared, packed: self.packed?, further, value_end })
    }

    #[inline]
    fn stand(&mut self, place: usize, raw: Raw) {
        self.place = place;
        self.shared = raw.shared;
        self.further = raw.further;
        self.value_end = raw.value_end;
        self.packed = Some(raw.packed);
    }

    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        self.packed.is_some()
    }
}

/// Bytes of a key that is put together beside its position. A longer one takes memory of its own.
const KEY_BYTES: usize = 64;

/// Bytes copied at once where that many may be read and written: a copy of a length not known before costs more.
const PIECE_BYTES: usize = 16;

/// A key put together.
#[derive(Clone, Debug)]
struct WholeKey {
    len: usize,
    short: [u8; KEY_BYTES],
    /// The key, if it is longer than [`KEY_BYTES`].
    long: Vec<u8>,
}

impl Default for WholeKey {
    fn default() -> Self {
        Self { len: 0, short: [0; KEY_BYTES], long: Vec::new() }
    }
}

impl WholeKey {
    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.len <= KEY_BYTES { &self.short[..self.len] } else { &self.long }
    }

    /// Keeps the first `kept` bytes of the key, of at least as many, and puts `further` behind them.
    #[inline]
    fn put(&mut self, kept: usize, further: &[u8]) {
        let len = kept + further.len();
        if len.max(self.len) > KEY_BYTES {
            return self.put_long(kept, further);
        }
        self.short[kept..len].copy_from_slice(further);
        self.len = len;
    }

    /// [`put`](Self::put) of a range of `contents`.
    #[inline]
    fn put_from(&mut self, kept: usize, contents: &[u8], further: Range<usize>) {
        let len = kept + further.len();
        let piece = contents.get(further.start..).and_then(<[u8]>::first_chunk::<PIECE_BYTES>);
        let room = self.short.get_mut(kept..).and_then(<[u8]>::first_chunk_mut::<PIECE_BYTES>);
        match (piece, room) {
            (Some(piece), Some(room)) if further.len() <= PIECE_BYTES && self.len <= KEY_BYTES => {
                *room = *piece;
                self.len = len;
            }
            _ => self.put(kept, &contents[further]),
        }
    }

    #[cold]
    fn put_long(&mut self, kept: usize, further: &[u8]) {
        let len = kept + further.len();
        if self.len <= KEY_BYTES {
            self.long.clear();
            self.long.extend_from_slice(&self.short[..kept]);
        } else {
            self.long.truncate(kept);
        }
        if len <= KEY_BYTES {
            self.short[..kept].copy_from_slice(&self.long[..kept]);
            self.short[kept..len].copy_from_slice(further);
        } else {
            self.long.extend_from_slice(further);
        }
        self.len = len;
    }
}

/// One entry as it lies there.
#[derive(Clone, Debug)]
struct Raw {
    shared: usize,
    packed: PackedSeqNo,
    further: Range<usize>,
    value_end: usize,
}

impl Raw {
    /// The entry; `key` is its key, if it had to be put together.
    #[inline(always)]
    fn entry<'a>(&self, key: &'a WholeKey, contents: &'a [u8]) -> EntryRef<'a> {
        let key = if self.shared == 0 { &contents[self.further.clone()] } else { key.bytes() };
        let value = &contents[self.further.end..self.value_end];
        EntryRef { key, seqno: self.packed.seqno(), kind: self.packed.kind(), value }
    }
}

/// Heads that are asked for before they are searched: those of a block of 4 KiB with short values, and more.
const HEADS_ASKED_MAX: usize = 8;

/// An entry found by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) packed: PackedSeqNo,
    pub(crate) value: Range<usize>,
}

/// How contents are divided: what is read of them once, and kept by those who look at them often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    count: usize,
    /// Where the entries end, and the tags begin.
    entries_end: usize,
    tags_start: usize,
    is_wide: bool,
}

/// A block's contents, taken apart once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    contents: &'a [u8],
    shape: Shape,
}

impl<'a> Block<'a> {
    #[inline]
    pub(crate) fn new(contents: &'a [u8]) -> Result<Self, Damage> {
        let (rest, count) = contents.split_last_chunk::<COUNT_BYTES>().ok_or(Damage::Block)?;
        let count = u32::from_le_bytes(*count);
        let (is_wide, count) = (count & WIDE != 0, (count & !WIDE) as usize);
        let width = if is_wide { 4 } else { 2 };
        let bytes = count * (width + 1);
        if count == 0 || bytes > rest.len() {
            return Err(Damage::Block);
        }
        let entries_end = rest.len() - bytes;
        let shape = Shape { count, entries_end, tags_start: entries_end + width * count, is_wide };
        Ok(Self { contents, shape })
    }

    /// The contents once more; `shape` is theirs.
    #[inline]
    pub(crate) fn with(contents: &'a [u8], shape: Shape) -> Self {
        Self { contents, shape }
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of entries, at least 1.
    pub(crate) fn count(&self) -> usize {
        self.shape.count
    }

    #[inline]
    fn offset(&self, place: usize) -> usize {
        if self.shape.is_wide {
            let start = self.shape.entries_end + 4 * place;
            u32::from_le_bytes(self.contents[start..start + 4].try_into().expect("four bytes")) as usize
        } else {
            let start = self.shape.entries_end + 2 * place;
            u16::from_le_bytes(self.contents[start..start + 2].try_into().expect("two bytes")) as usize
        }
    }

    #[inline(always)]
    fn raw(&self, place: usize) -> Result<Raw, Damage> {
        let start = self.offset(place);
        let end = if place + 1 < self.shape.count { self.offset(place + 1) } else { self.shape.entries_end };
        self.raw_at(start, end).or_else(|| self.long_raw_at(start, end)).ok_or(Damage::Block)
    }

    /// The entry from `start` to `end`, if it is sound and its lengths take a byte each.
    #[inline(always)]
    fn raw_at(&self, start: usize, end: usize) -> Option<Raw> {
        if end > self.shape.entries_end {
            return None;
        }
        let entry = self.contents.get(start..end)?;
        let [shared, further, ..] = *entry.first_chunk::<SHORT_BYTES>()?;
        let (shared, further) = (usize::from(shared), usize::from(further));
        if (shared | further) >= 0x80 || further > entry.len() - SHORT_BYTES {
            return None;
        }
        let packed = PackedSeqNo::from_u64(word(entry, 2))?;
        let further = start + SHORT_BYTES..start + SHORT_BYTES + further;
        Some(Raw { shared, packed, further, value_end: end })
    }

    /// The same where a length takes more than a byte.
    #[cold]
    fn long_raw_at(&self, start: usize, end: usize) -> Option<Raw> {
        if end > self.shape.entries_end {
            return None;
        }
        let entry = self.contents.get(start..end)?;
        let mut rest = entry;
        let shared = usize::try_from(take_varint(&mut rest)?).ok()?;
        let further = usize::try_from(take_varint(&mut rest)?).ok()?;
        let packed = PackedSeqNo::from_u64(u64::from_le_bytes(*rest.first_chunk()?))?;
        let further_start = end - rest.len() + 8;
        if further > end - further_start {
            return None;
        }
        Some(Raw { shared, packed, further: further_start..further_start + further, value_end: end })
    }

    /// The key of the head of `group`.
    #[inline]
    fn head(&self, group: usize) -> Result<&'a [u8], Damage> {
        let raw = self.raw(group * GROUP)?;
        if raw.shared == 0 { Ok(&self.contents[raw.further]) } else { Err(Damage::Block) }
    }

    /// The bytes that the key of the entry at `place` shares with its head.
    fn shared(&self, place: usize, raw: &Raw) -> Result<&'a [u8], Damage> {
        if raw.shared == 0 {
            return Ok(&[]);
        }
        let head = if place.is_multiple_of(GROUP) { &[] } else { self.head(place / GROUP)? };
        if cfg!(kausal_planted = "sst_block") {
            return Ok(&head[..raw.shared]);
        }
        head.get(..raw.shared).ok_or(Damage::Block)
    }

    /// Stands on the entry at `place`, or nowhere past the end.
    #[inline]
    pub(crate) fn load(&self, position: &mut Position, place: usize) -> Result<bool, Damage> {
        position.packed = None;
        if place >= self.shape.count {
            return Ok(false);
        }
        let raw = self.raw(place)?;
        if raw.shared != 0 {
            let group = place / GROUP;
            if position.head.0 == group && position.head.1 >= raw.shared && !place.is_multiple_of(GROUP) {
                position.key.put(raw.shared, &self.contents[raw.further.clone()]);
            } else {
                position.head = (usize::MAX, 0);
                position.key.put(0, self.shared(place, &raw)?);
                position.key.put(raw.shared, &self.contents[raw.further.clone()]);
            }
            position.head = (group, raw.shared);
        }
        position.stand(place, raw);
        Ok(true)
    }

    pub(crate) fn seek_to_first(&self, position: &mut Position) -> Result<bool, Damage> {
        self.load(position, 0)
    }

    pub(crate) fn seek_to_last(&self, position: &mut Position) -> Result<bool, Damage> {
        self.load(position, self.shape.count - 1)
    }

    /// Stands on the next entry, if that is in the block and lies there as nearly all do. Otherwise changes nothing, and
    /// [`next`](Self::next) knows what it is.
    #[inline]
    pub(crate) fn step(&self, position: &mut Position) -> bool {
        let Some(raw) = position.raw() else { return false };
        let Some(next) = self.raw_behind(position.place, raw.value_end) else { return false };
        let Position { key, head, place, .. } = position;
        if !self.put_key(key, head, *place, &raw, &next) {
            return false;
        }
        position.stand(position.place + 1, next);
        true
    }

    /// Shows `each` the entry stood on and those behind it, until it answers `false`, which is what this answers then; stands on
    /// that entry. Otherwise it answers `true`, and stands on the last entry that [`step`](Self::step) would come to.
    ///
    /// `soon` are the contents of the block behind this one, as far as they are known: their lines are asked for as the walk goes
    /// along here, because the processor does not look ahead beyond a page.
    #[inline]
    pub(crate) fn walk(
        &self,
        position: &mut Position,
        soon: &[u8],
        mut each: impl FnMut(EntryRef<'_>) -> bool,
    ) -> bool {
        let Some(mut raw) = position.raw() else { return true };
        // The position is brought up to date at the end: kept in memory, it costs as much as all the rest.
        let (key, mut known, mut place) = (&mut position.key, position.head, position.place);
        let is_through = loop {
            if !each(raw.entry(key, self.contents)) {
                break false;
            }
            prefetch::along(soon, raw.further.start..raw.value_end);
            let Some(next) = self.raw_behind(place, raw.value_end) else { break true };
            if !self.put_key(key, &mut known, place, &raw, &next) {
                break true;
            }
            (place, raw) = (place + 1, next);
        };
        position.head = known;
        position.stand(place, raw);
        is_through
    }

    /// The entry behind the one at `place`, which ends at `start`, if there is one and its lengths take a byte each.
    #[inline(always)]
    fn raw_behind(&self, place: usize, start: usize) -> Option<Raw> {
        let Shape { count, entries_end, is_wide, .. } = self.shape;
        if place + 1 >= count || is_wide {
            return None;
        }
        let end = if place + 2 < count { self.offset(place + 2) } else { entries_end };
        self.raw_at(start, end)
    }

    /// Puts the key of `next`, the entry behind `raw` at `place`, together in `key`, if it shares bytes with its head. `known` is
    /// the group whose head `key` begins with, and with how many bytes. Answers `false` if it takes more than what is at hand.
    #[inline(always)]
    fn put_key(
        &self,
        key: &mut WholeKey,
        known: &mut (usize, usize),
        place: usize,
        raw: &Raw,
        next: &Raw,
    ) -> bool {
        let shared = next.shared;
        if shared == 0 {
            return true;
        }
        let group = (place + 1) / GROUP;
        if raw.shared == 0 && place == group * GROUP {
            // From the head, whose key lies in the contents, to the first that shares with it.
            let head = &self.contents[raw.further.clone()];
            if shared > head.len() {
                return false;
            }
            key.put_from(0, head, 0..shared);
        } else if known.0 != group || known.1 < shared || (place + 1).is_multiple_of(GROUP) {
            return false;
        }
        key.put_from(shared, self.contents, next.further.clone());
        *known = (group, shared);
        true
    }

    #[inline]
    pub(crate) fn next(&self, position: &mut Position) -> Result<bool, Damage> {
        if position.is_valid() { self.load(position, position.place + 1) } else { Ok(false) }
    }

    pub(crate) fn prev(&self, position: &mut Position) -> Result<bool, Damage> {
        match position.place.checked_sub(1) {
            Some(before) if position.is_valid() => self.load(position, before),
            _ => {
                position.packed = None;
                Ok(false)
            }
        }
    }

    /// Stands on the first entry at or after (`key`, `at`).
    pub(crate) fn seek(&self, position: &mut Position, key: &[u8], at: SeqNo) -> Result<bool, Damage> {
        let place = self.lower_bound(key, at)?;
        self.load(position, place)
    }

    /// Number of the first entry at or after (`key`, `at`).
    fn lower_bound(&self, key: &[u8], at: SeqNo) -> Result<usize, Damage> {
        self.place_in(self.group_of(key, at)?, key, at)
    }

    /// The last group whose head is before (`key`, `at`); none if the first entry of all is not.
    #[inline]
    pub(crate) fn group_of(&self, key: &[u8], at: SeqNo) -> Result<Option<usize>, Damage> {
        let groups = partition_point(0, self.shape.count.div_ceil(GROUP), |group| {
            let raw = self.raw(group * GROUP)?;
            let head = if raw.shared == 0 { &self.contents[raw.further] } else { return Err(Damage::Block) };
            Ok(compare(head, key).then_with(|| at.cmp(&raw.packed.seqno())) == Ordering::Less)
        })?;
        Ok(groups.checked_sub(1))
    }

    /// Number of the first entry at or after (`key`, `at`), of which `group` is the [group](Self::group_of).
    #[inline]
    pub(crate) fn place_in(&self, group: Option<usize>, key: &[u8], at: SeqNo) -> Result<usize, Damage> {
        let Some(group) = group else { return Ok(0) };
        let head = self.head(group)?;
        let alike = common_prefix(head, key);
        let (lower, upper) = (group * GROUP + 1, self.shape.count.min((group + 1) * GROUP));
        // A defect for the engine's simulation to find: the last entry of a group is not looked at.
        let upper = if is_planted("off_by_one_in_block") { lower.max(upper - 1) } else { upper };
        partition_point(lower, upper, |place| {
            let raw = self.raw(place)?;
            if raw.shared > head.len() {
                return Err(Damage::Block);
            }
            if raw.shared > alike {
                // Beyond what it has in common with the key it goes on as the head does, which is before the key.
                return Ok(true);
            }
            let further = &self.contents[raw.further];
            let order = compare(further, &key[raw.shared..]).then_with(|| at.cmp(&raw.packed.seqno()));
            Ok(order == Ordering::Less)
        })
    }

    /// Asks for the lines that [`group_of`](Self::group_of) may look at.
    #[inline]
    pub(crate) fn ask_for_heads(&self) {
        let groups = self.shape.count.div_ceil(GROUP);
        (0..groups.min(HEADS_ASKED_MAX)).for_each(|group| self.ask_for(group * GROUP));
    }

    /// Asks for the lines that a search of `group` looks at, and a walk from what it finds.
    #[inline]
    pub(crate) fn ask_for_group(&self, group: usize) {
        let upper = self.shape.count.min((group + 1) * GROUP);
        (group * GROUP + 1..upper).for_each(|place| self.ask_for(place));
    }

    #[inline]
    fn ask_for(&self, place: usize) {
        // A damaged offset is a hint for nothing.
        prefetch_line(self.contents.as_ptr().wrapping_add(self.offset(place)));
    }

    /// The newest entry of `key` at or below `at`. Touches the tags, and of entries only those whose tag is the key's.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], hash: KeyHash, at: SeqNo) -> Result<Option<Found>, Damage> {
        let tags = &self.contents[self.shape.tags_start..self.shape.tags_start + self.shape.count];
        let wanted = tag(hash.0);
        let mut first = 0;
        loop {
            let rest = &tags[first..];
            let mut equal = places_of(wanted, &rest[..rest.len().min(64)]);
            while equal != 0 {
                let place = first + equal.trailing_zeros() as usize;
                equal &= equal - 1;
                let start = self.offset(place);
                prefetch::second_line(self.contents, start);
                let raw = self.raw(place)?;
                if !self.is_key(place, &raw, key)? {
                    continue;
                }
                if raw.packed.seqno() <= at {
                    return Ok(Some(found(raw)));
                }
                return self.find_older(key, at);
            }
            if rest.len() <= 64 {
                return Ok(None);
            }
            first += 64;
        }
    }

    #[inline]
    fn is_key(&self, place: usize, raw: &Raw, key: &[u8]) -> Result<bool, Damage> {
        let further = &self.contents[raw.further.clone()];
        if raw.shared == 0 {
            return Ok(*further == *key);
        }
        let is_further = key.get(raw.shared..).is_some_and(|rest| *rest == *further);
        Ok(is_further && self.shared(place, raw)? == &key[..raw.shared])
    }

    /// The block holds `key` in versions above `at`: whether one at or below it follows.
    fn find_older(&self, key: &[u8], at: SeqNo) -> Result<Option<Found>, Damage> {
        let place = self.lower_bound(key, at)?;
        if place >= self.shape.count {
            return Ok(None);
        }
        let raw = self.raw(place)?;
        Ok(self.is_key(place, &raw, key)?.then(|| found(raw)))
    }

    /// Whether the tag of the entry at `place` is that of its key's hash.
    pub(crate) fn has_tag(&self, place: usize, hash: KeyHash) -> bool {
        self.contents.get(self.shape.tags_start + place) == Some(&tag(hash.0))
    }

    /// Whether there are only zeros before the first entry, so that no byte that says something is nobody's.
    pub(crate) fn is_tight(&self) -> bool {
        self.contents.get(..self.offset(0)).is_some_and(|padding| padding.iter().all(|&byte| byte == 0))
    }
}

/// Bit `n` of the result says whether the tag at `n` of up to 64 may be `tag`. Without a branch on what is found: where in
/// its block an entry lies is not to be predicted.
#[inline]
fn places_of(tag: u8, tags: &[u8]) -> u64 {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = LOWEST << 7;
    let wanted = u64::from(tag) * LOWEST;
    let bits = |word: [u8; 8]| {
        let differs = u64::from_le_bytes(word) ^ wanted;
        // A byte that is zero, and now and then one above it: what it names is compared anyway.
        let equal = (differs.wrapping_sub(LOWEST) & !differs & HIGHEST) >> 7;
        // The lowest bit of each byte, side by side.
        equal.wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    let (words, rest) = tags.as_chunks::<8>();
    let mut places = 0;
    for (number, word) in words.iter().enumerate() {
        places |= bits(*word) << (8 * number);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The bytes behind the rest are nobody's.
        places |= (bits(last) & ((1 << rest.len()) - 1)) << (8 * words.len());
    }
    places
}

#[inline]
fn found(raw: Raw) -> Found {
    Found { packed: raw.packed, value: raw.further.end..raw.value_end }
}

/// Whether a defect is at work: never but in a build with `--cfg kausal_planted="sim"`.
fn is_planted(name: &str) -> bool {
    cfg!(kausal_planted = "sim") && std::env::var("KAUSAL_PLANTED").is_ok_and(|planted| planted == name)
}

/// The order of two pieces of keys. The first eight bytes decide mostly, without a call.
#[inline]
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let front = |bytes: &[u8]| bytes.first_chunk().map(|front| u64::from_be_bytes(*front));
    match (front(left), front(right)) {
        (Some(left_front), Some(right_front)) if left_front != right_front => left_front.cmp(&right_front),
        _ => left.cmp(right),
    }
}
