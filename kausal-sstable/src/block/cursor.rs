//! Walks the contents of a block. Believes nothing: every length is checked against what is there.
//!
//! The cursor does not hold the contents, so that whoever owns both can lend them anew at each call. A [`Position`]
//! is where it stands: offsets into the contents, and the key put together from its pieces.

use std::cmp::Ordering;

use kausal_index::{EntryRef, PackedSeqNo, SeqNo, compare_positions};

use crate::error::Damage;
use crate::format::{take_bytes, take_len, take_part};

/// Where a cursor stands in a block's contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    key: Vec<u8>,
    packed: Option<PackedSeqNo>,
    /// Offset of the entry stood on, and of the one after it.
    start: usize,
    end: usize,
    value_start: usize,
}

impl Position {
    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.key.capacity()
    }

    /// Stands nowhere.
    pub(crate) fn clear(&mut self) {
        self.packed = None;
    }

    /// Whether it stands on the entry at exactly this place of the order.
    pub(crate) fn is_at(&self, key: &[u8], seqno: SeqNo) -> bool {
        self.key == key && self.packed.is_some_and(|packed| packed.seqno() == seqno)
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.packed.is_some()
    }

    /// The entry stood on; `contents` are those the position was reached in.
    pub(crate) fn entry<'a>(&'a self, contents: &'a [u8]) -> Option<EntryRef<'a>> {
        let packed = self.packed?;
        let value = &contents[self.value_start..self.end];
        Some(EntryRef { key: &self.key, seqno: packed.seqno(), kind: packed.kind(), value })
    }
}

/// A block's contents, taken apart once: entries and restarts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockCursor<'a> {
    entries: &'a [u8],
    restarts: &'a [u8],
}

impl<'a> BlockCursor<'a> {
    pub(crate) fn new(contents: &'a [u8]) -> Result<Self, Damage> {
        let (rest, count) = contents.split_last_chunk::<4>().ok_or(Damage::Block)?;
        let count = u32::from_le_bytes(*count) as usize;
        let bytes =
            count.checked_mul(4).filter(|&bytes| count > 0 && bytes <= rest.len()).ok_or(Damage::Block)?;
        let (entries, restarts) = rest.split_at(rest.len() - bytes);
        Ok(Self { entries, restarts })
    }

    fn restart_count(&self) -> usize {
        self.restarts.len() / 4
    }

    /// Offset of a restart's entry.
    fn restart(&self, place: usize) -> Result<usize, Damage> {
        let bytes = self.restarts[4 * place..4 * place + 4].try_into().expect("four bytes");
        let offset = u32::from_le_bytes(bytes) as usize;
        if offset < self.entries.len() { Ok(offset) } else { Err(Damage::Block) }
    }

    /// Reads the entry at `start`, whose predecessor's key is in `position`.
    fn read(&self, position: &mut Position, start: usize) -> Result<bool, Damage> {
        position.packed = None;
        if start >= self.entries.len() {
            return Ok(false);
        }
        let mut rest = &self.entries[start..];
        let shared = take_len(&mut rest, position.key.len()).ok_or(Damage::Block)?;
        let further = take_part(&mut rest).ok_or(Damage::Block)?;
        let value_bytes = take_part(&mut rest).ok_or(Damage::Block)?;
        let packed = take_bytes(&mut rest, 8).ok_or(Damage::Block)?;
        let packed = u64::from_le_bytes(packed.try_into().expect("eight bytes"));
        let packed = PackedSeqNo::from_u64(packed).ok_or(Damage::Block)?;
        let key = take_bytes(&mut rest, further).ok_or(Damage::Block)?;
        let value_start = self.entries.len() - rest.len();
        take_bytes(&mut rest, value_bytes).ok_or(Damage::Block)?;
        position.key.truncate(shared);
        position.key.extend_from_slice(key);
        position.start = start;
        position.value_start = value_start;
        position.end = value_start + value_bytes;
        position.packed = Some(packed);
        Ok(true)
    }

    /// Reads a restart's entry, whose key is whole.
    fn read_restart(&self, position: &mut Position, place: usize) -> Result<(), Damage> {
        position.key.clear();
        self.read(position, self.restart(place)?)?;
        Ok(())
    }

    pub(crate) fn seek_to_first(&self, position: &mut Position) -> Result<bool, Damage> {
        position.key.clear();
        self.read(position, 0)
    }

    pub(crate) fn seek_to_last(&self, position: &mut Position) -> Result<bool, Damage> {
        self.read_restart(position, self.restart_count() - 1)?;
        while position.is_valid() && position.end < self.entries.len() {
            self.read(position, position.end)?;
        }
        Ok(position.is_valid())
    }

    pub(crate) fn next(&self, position: &mut Position) -> Result<bool, Damage> {
        if !position.is_valid() {
            return Ok(false);
        }
        self.read(position, position.end)
    }

    /// Moves to the predecessor: back to a restart before it, then forward.
    pub(crate) fn prev(&self, position: &mut Position) -> Result<bool, Damage> {
        if !position.is_valid() || position.start == 0 {
            position.clear();
            return Ok(false);
        }
        let here = position.start;
        let place = self.last_restart_where(|cursor, place| Ok(cursor.restart(place)? < here))?;
        self.read_restart(position, place)?;
        while position.is_valid() && position.end < here {
            self.read(position, position.end)?;
        }
        // A block whose entries do not meet is malformed, and must not make this walk in circles.
        if position.is_valid() && position.end != here {
            position.clear();
            return Err(Damage::Block);
        }
        Ok(position.is_valid())
    }

    /// Stands on the first entry at or after (`key`, `at`).
    pub(crate) fn seek(&self, position: &mut Position, key: &[u8], at: SeqNo) -> Result<bool, Damage> {
        let place = self.last_restart_where(|cursor, place| {
            Ok(compare_positions(cursor.restart_position(place)?, (key, at)) == Ordering::Less)
        })?;
        self.read_restart(position, place)?;
        while let Some(packed) = position.packed {
            if compare_positions((&position.key, packed.seqno()), (key, at)) != Ordering::Less {
                break;
            }
            self.read(position, position.end)?;
        }
        Ok(position.is_valid())
    }

    /// Key and sequence number of a restart's entry, without copying.
    fn restart_position(&self, place: usize) -> Result<(&'a [u8], SeqNo), Damage> {
        let mut rest = &self.entries[self.restart(place)?..];
        let whole = take_len(&mut rest, 0).is_some();
        let further = take_part(&mut rest).ok_or(Damage::Block)?;
        take_len(&mut rest, usize::MAX).ok_or(Damage::Block)?;
        let packed = take_bytes(&mut rest, 8).ok_or(Damage::Block)?;
        let packed = u64::from_le_bytes(packed.try_into().expect("eight bytes"));
        let packed = PackedSeqNo::from_u64(packed).ok_or(Damage::Block)?;
        let key = take_bytes(&mut rest, further).ok_or(Damage::Block)?;
        if whole { Ok((key, packed.seqno())) } else { Err(Damage::Block) }
    }

    /// The last restart for which `holds`, which must hold for a prefix of the restarts; the first if it holds for
    /// none.
    fn last_restart_where(
        &self,
        holds: impl Fn(&Self, usize) -> Result<bool, Damage>,
    ) -> Result<usize, Damage> {
        let (mut lower, mut upper) = (0, self.restart_count());
        while lower < upper {
            let middle = lower + (upper - lower) / 2;
            if holds(self, middle)? {
                lower = middle + 1;
            } else {
                upper = middle;
            }
        }
        Ok(lower.saturating_sub(1))
    }
}
