//! The merging cursor: one ordered walk over many.
//!
//! 1. Going forward, every source stands on its first entry at or after the merge's position, and the smallest of them
//!    is the merge's; going backward, the mirror of it.
//! 2. The next one is found by a tree of losers (Knuth, *The Art of Computer Programming* 3, 5.4.1): every inner node
//!    remembers who lost there, so that a step plays the source that moved against one loser a level, with one comparison
//!    where a heap needs two.
//! 3. Sources are compared by their *rank*: the first eight bytes of the key as a number, turned around when going
//!    backward. Only where ranks are equal are entries asked for. A node holds its loser's rank beside its number, and
//!    which of two goes on is selected, not branched to: who wins a match is what a processor cannot predict.
//! 4. A source that won twice in a row is taken to be on a run of its own. The least rank of all others, the *limit*, is
//!    looked up once, and as long as the source stays below it, a step is one comparison and no match at all.
//! 5. A change of direction moves every other source across the entry stood on, and plays all of them again.
//!
//! A step allocates nothing; the key across which sources are moved lies in a buffer that is kept.
//!
//! No two sources hold the same (key, sequence number); were it so, the earlier source would come first.

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::marker::PhantomData;
use std::ops::DerefMut;

use kausal_index::{Cursor, EntryRef, SeqNo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// Who takes part in a match: a source and its rank, or nobody, who loses against all.
#[derive(Clone, Copy, Debug)]
struct Contender {
    rank: u64,
    source: u32,
}

/// Rank of a source past its end, and of keys that begin with eight bytes of the highest value.
const RANK_MAX: u64 = u64::MAX;

/// Fills the tree where the number of sources is not a power of two.
const NOBODY: Contender = Contender { rank: RANK_MAX, source: u32::MAX };

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
///
/// `S` holds the sources: a vector, or what needs no allocator for a few.
#[derive(Debug)]
pub struct MergingCursor<C, S = Vec<C>> {
    sources: S,
    /// Who lost at each inner node, from 1; source `n` is leaf `losers.len() + n`, the parent of node `n` is `n / 2`. At 0
    /// lies the winner of all. As long as the next power of two of the number of sources.
    losers: Vec<Contender>,
    /// Who won at each node, leaves included; of use only while the tree is built.
    winners: Vec<Contender>,
    /// Below this rank the current source is before all others; 0 unless it is on a run.
    limit: u64,
    current: Option<usize>,
    direction: Direction,
    /// Where the merge stands, while sources are moved across it.
    key: Vec<u8>,
    source: PhantomData<C>,
}

/// The memory of a merge that has ended, for the next one: with it a merge of no more sources allocates nothing.
#[derive(Debug, Default)]
pub struct MergeMemory {
    losers: Vec<Contender>,
    winners: Vec<Contender>,
    key: Vec<u8>,
}

impl<C: Cursor> MergingCursor<C> {
    /// A walk over all of `sources`.
    pub fn new(sources: Vec<C>) -> Self {
        Self::with_memory(sources, MergeMemory::default())
    }
}

impl<C: Cursor, S: DerefMut<Target = [C]>> MergingCursor<C, S> {
    /// A walk over all of `sources`, in the memory of an earlier one.
    pub fn with_memory(sources: S, memory: MergeMemory) -> Self {
        let MergeMemory { mut losers, mut winners, key } = memory;
        let leaves = sources.len().next_power_of_two();
        losers.clear();
        losers.resize(leaves, NOBODY);
        winners.clear();
        winners.resize(2 * leaves, NOBODY);
        let (current, direction) = (None, Direction::Forward);
        Self { sources, losers, winners, limit: 0, current, direction, key, source: PhantomData }
    }

    /// Ends the walk and gives its memory back.
    pub fn into_memory(self) -> MergeMemory {
        MergeMemory { losers: self.losers, winners: self.winners, key: self.key }
    }

    /// Stands on the first of what the sources stand on: all were sought to one position, and stand at or behind it. Answers
    /// whether there is one.
    pub fn begin_forward(&mut self) -> bool {
        self.current = None;
        self.direction = Direction::Forward;
        self.play_all()
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
        for source in self.sources.iter_mut() {
            movement(source)?;
        }
        Ok(self.play_all())
    }

    /// Builds the tree anew and stands on the winner.
    fn play_all(&mut self) -> bool {
        let leaves = self.losers.len();
        for source in 0..self.sources.len() {
            self.winners[leaves + source] = Contender { rank: self.rank(source), source: source as u32 };
        }
        for node in (1..leaves).rev() {
            let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
            let is_left = self.comes_before(left, right);
            (self.winners[node], self.losers[node]) = if is_left { (left, right) } else { (right, left) };
        }
        // Of a single leaf, which is also the root.
        self.losers[0] = self.winners[1];
        self.limit = 0;
        self.stand(self.losers[0])
    }

    /// Stands on the source that won, if it stands on anything.
    #[inline]
    fn stand(&mut self, winner: Contender) -> bool {
        self.current =
            (winner.rank != RANK_MAX || self.is_at_entry(winner)).then_some(winner.source as usize);
        self.current.is_some()
    }

    /// Of the highest rank are keys of eight times the highest byte, and no key at all.
    #[cold]
    fn is_at_entry(&self, winner: Contender) -> bool {
        self.sources.get(winner.source as usize).is_some_and(|source| source.entry().is_some())
    }

    /// What `source` is compared by. Past its end that is what no key is behind of.
    #[inline]
    fn rank(&self, source: usize) -> u64 {
        match self.sources[source].entry() {
            Some(entry) if self.direction == Direction::Forward => front(entry.key),
            Some(entry) => !front(entry.key),
            None => RANK_MAX,
        }
    }

    /// Plays a source that moved from its leaf to the root, and returns the winner.
    #[inline]
    fn play(&mut self, mut winner: Contender) -> Contender {
        let mut node = (self.losers.len() + winner.source as usize) / 2;
        while node > 0 {
            let other = self.losers[node];
            let mut is_other = other.rank < winner.rank;
            if other.rank == winner.rank {
                is_other = self.comes_before_in_full(other, winner);
            }
            self.losers[node] = select_unpredictable(is_other, winner, other);
            winner = select_unpredictable(is_other, other, winner);
            node /= 2;
        }
        self.losers[0] = winner;
        winner
    }

    /// The least rank of all sources but the winner `source`: one of those that lost against it.
    fn limit(&self, source: usize) -> u64 {
        let mut node = (self.losers.len() + source) / 2;
        let mut limit = RANK_MAX;
        while node > 0 {
            limit = limit.min(self.losers[node].rank);
            node /= 2;
        }
        limit
    }

    fn comes_before(&self, left: Contender, right: Contender) -> bool {
        left.rank < right.rank || left.rank == right.rank && self.comes_before_in_full(left, right)
    }

    #[inline(never)]
    fn comes_before_in_full(&self, left: Contender, right: Contender) -> bool {
        let entry = |of: Contender| self.sources.get(of.source as usize)?.entry();
        let Some(entry_left) = entry(left) else { return false };
        let Some(entry_right) = entry(right) else { return true };
        match entry_left.cmp_position(entry_right.key, entry_right.seqno) {
            Ordering::Less => self.direction == Direction::Forward,
            Ordering::Greater => self.direction == Direction::Backward,
            Ordering::Equal => left.source < right.source,
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
        let rank = self.rank(current);
        if rank < self.limit {
            // Below the highest rank, so there is an entry. The limit is zero wherever it is not known.
            self.current = Some(current);
            return Ok(true);
        }
        let winner = self.play(Contender { rank, source: current as u32 });
        self.limit = if winner.source as usize == current { self.limit(current) } else { 0 };
        Ok(self.stand(winner))
    }
}

/// The first eight bytes of a key as a number, filled up with zeros: in the order of the keys, as far as it goes.
#[inline]
fn front(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => key.iter().rev().fold(0, |number, &byte| number >> 8 | u64::from(byte) << 56),
    }
}

impl<C: Cursor, S: DerefMut<Target = [C]>> Cursor for MergingCursor<C, S> {
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

    fn walk(&mut self, mut each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, C::Error> {
        if self.direction == Direction::Backward {
            self.turn(Direction::Forward)?;
        }
        while let Some(current) = self.current {
            let limit = self.limit;
            if limit == 0 {
                // A step by itself: who is on a run shows only then.
                let Some(entry) = self.sources[current].entry() else { break };
                if !each(entry) {
                    return Ok(true);
                }
                self.advance(Direction::Forward)?;
                continue;
            }
            // Nowhere, should the source fail.
            self.current = None;
            let (mut is_first, mut is_told) = (true, false);
            let stands = self.sources[current].walk(|entry| {
                // The entry stood on comes first, also where its rank is the limit.
                is_told = std::mem::take(&mut is_first) || front(entry.key) < limit;
                is_told && each(entry)
            })?;
            if stands && is_told {
                self.current = Some(current);
                return Ok(true);
            }
            let rank = self.rank(current);
            let winner = self.play(Contender { rank, source: current as u32 });
            self.limit = if winner.source as usize == current { self.limit(current) } else { 0 };
            self.stand(winner);
        }
        Ok(false)
    }

    fn prev(&mut self) -> Result<bool, C::Error> {
        self.advance(Direction::Backward)
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.sources[self.current?].entry()
    }
}

#[cfg(test)]
mod tests;
