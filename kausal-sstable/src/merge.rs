//! The merging cursor: one ordered walk over many.
//!
//! 1. Going forward, every source stands on its first entry at or after the merge's position, and the smallest of them
//!    is the merge's; going backward, the mirror of it.
//! 2. The next one is found by a tree of losers (Knuth, *The Art of Computer Programming* 3, 5.4.1): every inner node
//!    remembers who lost there, so that a step plays the source that moved against one loser a level, with one comparison
//!    where a heap needs two.
//! 3. Sources are compared by their *rank*: the first eight bytes of the key as a number, turned around when going
//!    backward. Only where ranks are equal are entries asked for.
//! 4. A change of direction moves every other source across the entry stood on, and plays all of them again.
//!
//! A step allocates nothing; the key across which sources are moved lies in a buffer that is kept.
//!
//! No two sources hold the same (key, sequence number); were it so, the earlier source would come first.

use std::cmp::Ordering;

use kausal_index::{Cursor, SeqNo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// No source has lost here yet: the tree is being built.
const NOBODY: usize = usize::MAX;

/// An ordered walk over the entries of several cursors. A step costs one comparison of eight bytes for each doubling of
/// their number.
///
/// # Examples
///
/// ```
/// use kausal_index::{BTreeIndex, BlockIndex, Cursor, EntryRef, Kind, SeqNo};
/// use kausal_sstable::MergingCursor;
/// # use kausal_arena::{Budget, RegionPool};
///
/// # let pool = RegionPool::new(&Budget::unlimited("memtables"), 1 << 16, 2, || {}).unwrap();
/// # let regions = [pool.coordinator().take().unwrap(), pool.coordinator().take().unwrap()];
/// let mut indexes = Vec::new();
/// for (region, keys) in regions.iter().zip([["apple", "cherry"], ["beech", "elder"]]) {
///     let index = BTreeIndex::create(region.lease(), &region.writer()).unwrap();
///     for key in keys {
///         let seqno = SeqNo::new(1).unwrap();
///         let entry = EntryRef { key: key.as_bytes(), seqno, kind: Kind::Put, value: b"" };
///         index.insert(&region.writer(), entry).unwrap();
///     }
///     indexes.push(index);
/// }
/// let mut merge = MergingCursor::new(indexes.iter().map(|index| index.cursor().unwrap()).collect());
/// merge.seek(b"b", SeqNo::MAX).unwrap();
/// assert_eq!(merge.entry().unwrap().key, b"beech");
/// merge.next().unwrap();
/// assert_eq!(merge.entry().unwrap().key, b"cherry");
/// ```
#[derive(Debug)]
pub struct MergingCursor<C> {
    sources: Vec<C>,
    /// Of each source: what it is compared by.
    ranks: Vec<u64>,
    /// Who lost at each inner node; source `n` is leaf `sources.len() + n`, the parent of node `n` is `n / 2`.
    losers: Vec<usize>,
    current: Option<usize>,
    direction: Direction,
    /// Where the merge stands, while sources are moved across it.
    key: Vec<u8>,
}

impl<C: Cursor> MergingCursor<C> {
    /// A walk over all of `sources`.
    pub fn new(sources: Vec<C>) -> Self {
        let (ranks, losers) = (vec![u64::MAX; sources.len()], vec![NOBODY; sources.len()]);
        Self { sources, ranks, losers, current: None, direction: Direction::Forward, key: Vec::new() }
    }

    /// Moves every source by `movement` and stands on the first of them in `direction`.
    fn seek_all(
        &mut self,
        direction: Direction,
        mut movement: impl FnMut(&mut C) -> Result<bool, C::Error>,
    ) -> Result<bool, C::Error> {
        // Nowhere, should a source fail half-way.
        self.current = None;
        self.direction = direction;
        for source in &mut self.sources {
            movement(source)?;
        }
        Ok(self.play_all())
    }

    /// Builds the tree anew and stands on the winner.
    fn play_all(&mut self) -> bool {
        self.losers.fill(NOBODY);
        let mut winner = None;
        for source in 0..self.sources.len() {
            self.rank(source);
            // The first to reach a node waits there for the second.
            winner = self.play(source);
        }
        self.stand(winner)
    }

    /// Stands on the source that won, if it stands on anything.
    fn stand(&mut self, winner: Option<usize>) -> bool {
        // The highest rank is that of keys of eight times the highest byte, or of no key at all.
        let is_there =
            |&winner: &usize| self.ranks[winner] != u64::MAX || self.sources[winner].entry().is_some();
        self.current = winner.filter(is_there);
        self.current.is_some()
    }

    /// Notes what `source` is compared by. Past its end that is what no key is behind of.
    #[inline]
    fn rank(&mut self, source: usize) {
        let prefix = |key: &[u8]| match key.first_chunk() {
            Some(first) => u64::from_be_bytes(*first),
            None => {
                let mut padded = [0; 8];
                padded[..key.len()].copy_from_slice(key);
                u64::from_be_bytes(padded)
            }
        };
        self.ranks[source] = match self.sources[source].entry() {
            Some(entry) if self.direction == Direction::Forward => prefix(entry.key),
            Some(entry) => !prefix(entry.key),
            None => u64::MAX,
        };
    }

    /// Plays `source` from its leaf to the root. The winner, or nobody if it waits for somebody on the way.
    #[inline]
    fn play(&mut self, source: usize) -> Option<usize> {
        let mut winner = source;
        let mut node = (self.sources.len() + source) / 2;
        while node > 0 {
            let other = self.losers[node];
            if other == NOBODY {
                self.losers[node] = winner;
                return None;
            }
            if self.comes_before(other, winner) {
                self.losers[node] = winner;
                winner = other;
            }
            node /= 2;
        }
        Some(winner)
    }

    #[inline]
    fn comes_before(&self, left: usize, right: usize) -> bool {
        let (of_left, of_right) = (self.ranks[left], self.ranks[right]);
        of_left < of_right || of_left == of_right && self.comes_before_in_full(left, right)
    }

    fn comes_before_in_full(&self, left: usize, right: usize) -> bool {
        let Some(entry) = self.sources[left].entry() else { return false };
        let Some(other) = self.sources[right].entry() else { return true };
        match entry.cmp_position(other.key, other.seqno) {
            Ordering::Less => self.direction == Direction::Forward,
            Ordering::Greater => self.direction == Direction::Backward,
            Ordering::Equal => left < right,
        }
    }

    /// Puts every source but the current one on the far side of the entry stood on.
    fn turn(&mut self, direction: Direction) -> Result<(), C::Error> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let Some(entry) = self.sources[current].entry() else { return Ok(()) };
        let seqno = entry.seqno;
        self.key.clear();
        self.key.extend_from_slice(entry.key);
        for (place, source) in self.sources.iter_mut().enumerate() {
            if place == current {
                continue;
            }
            // No other source holds this very position, so its neighbour is on the wanted side.
            match direction {
                Direction::Forward => source.seek(&self.key, seqno)?,
                Direction::Backward => source.seek_for_prev(&self.key, seqno)?,
            };
        }
        self.direction = direction;
        // The current source stays the first of all in either direction.
        self.play_all();
        Ok(())
    }

    #[inline]
    fn advance(&mut self, direction: Direction) -> Result<bool, C::Error> {
        if self.direction != direction {
            self.turn(direction)?;
        }
        // Nowhere, should the source fail.
        let Some(current) = self.current.take() else { return Ok(false) };
        match direction {
            Direction::Forward => self.sources[current].next()?,
            Direction::Backward => self.sources[current].prev()?,
        };
        self.rank(current);
        let winner = self.play(current);
        Ok(self.stand(winner))
    }
}

impl<C: Cursor> Cursor for MergingCursor<C> {
    type Error = C::Error;

    fn seek_to_first(&mut self) -> Result<bool, C::Error> {
        self.seek_all(Direction::Forward, C::seek_to_first)
    }

    fn seek_to_last(&mut self) -> Result<bool, C::Error> {
        self.seek_all(Direction::Backward, C::seek_to_last)
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, C::Error> {
        self.seek_all(Direction::Forward, |source| source.seek(key, at))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, C::Error> {
        self.seek_all(Direction::Backward, |source| source.seek_for_prev(key, at))
    }

    fn next(&mut self) -> Result<bool, C::Error> {
        self.advance(Direction::Forward)
    }

    fn prev(&mut self) -> Result<bool, C::Error> {
        self.advance(Direction::Backward)
    }

    fn entry(&self) -> Option<kausal_index::EntryRef<'_>> {
        self.sources[self.current?].entry()
    }
}

#[cfg(test)]
mod tests;
