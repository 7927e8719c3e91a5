//! The merging cursor: one ordered walk over many.
//!
//! Going forward, every source stands on its first entry at or after the merge's position, and the smallest of them
//! is the merge's; going backward, the mirror of it. A change of direction moves every other source across the
//! entry stood on. Sources are few (memtables, level-0 tables, one run per level), so the next one is found by
//! comparing them all: for up to a dozen that is as fast as a heap, and has no state to keep.
//!
//! No two sources hold the same (key, sequence number); were it so, the earlier source would come first.

use std::cmp::Ordering;

use kausal_index::{Cursor, EntryRef, SeqNo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// An ordered walk over the entries of several cursors.
#[derive(Debug)]
pub struct MergingCursor<C> {
    sources: Vec<C>,
    current: Option<usize>,
    direction: Direction,
    /// Where the merge stands, while sources are moved across it.
    key: Vec<u8>,
}

impl<C: Cursor> MergingCursor<C> {
    /// A walk over all of `sources`.
    pub fn new(sources: Vec<C>) -> Self {
        Self { sources, current: None, direction: Direction::Forward, key: Vec::new() }
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
        Ok(self.choose())
    }

    /// Stands on the source whose entry comes first in the direction.
    fn choose(&mut self) -> bool {
        let mut best: Option<(usize, EntryRef<'_>)> = None;
        for (place, source) in self.sources.iter().enumerate() {
            let Some(entry) = source.entry() else { continue };
            let wins = best.is_none_or(|(_, best)| {
                let order = entry.cmp_position(best.key, best.seqno);
                order == if self.direction == Direction::Forward { Ordering::Less } else { Ordering::Greater }
            });
            if wins {
                best = Some((place, entry));
            }
        }
        self.current = best.map(|(place, _)| place);
        self.current.is_some()
    }

    /// Puts every source but the current one on the far side of the entry stood on.
    fn turn(&mut self, direction: Direction) -> Result<(), C::Error> {
        if self.direction == direction {
            return Ok(());
        }
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
        self.current = Some(current);
        Ok(())
    }

    fn advance(&mut self, direction: Direction) -> Result<bool, C::Error> {
        self.turn(direction)?;
        let Some(current) = self.current.take() else { return Ok(false) };
        match direction {
            Direction::Forward => self.sources[current].next()?,
            Direction::Backward => self.sources[current].prev()?,
        };
        Ok(self.choose())
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

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.sources[self.current?].entry()
    }
}
