//! The ordered walk over a tree. Stays valid while others insert: it stands on an entry, and entries stay.

use std::convert::Infallible;

use crate::cursor::Cursor;
use crate::entry::{EntryRef, SeqNo};
use crate::tree::TreeIndex;
use crate::tree::read::Place;
use crate::tree::search::Target;

pub(super) struct TreeCursor<'index> {
    index: &'index TreeIndex,
    place: Option<Place<'index>>,
}

impl<'index> TreeCursor<'index> {
    pub(super) fn new(index: &'index TreeIndex) -> Self {
        Self { index, place: None }
    }

    /// Stands where a walk to the right is likely to begin.
    fn begin_at(&mut self, place: Option<Place<'index>>) -> Result<bool, Infallible> {
        if let Some(place) = &place {
            self.index.prefetch_behind(place);
        }
        self.stand_on(place)
    }

    #[inline]
    fn stand_on(&mut self, place: Option<Place<'index>>) -> Result<bool, Infallible> {
        self.place = place;
        Ok(self.place.is_some())
    }
}

impl Cursor for TreeCursor<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.begin_at(self.index.find_first())
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.stand_on(self.index.find_last())
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.begin_at(self.index.find_at_or_after(&Target::before(key, at)))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand_on(self.index.find_before(&Target::behind(key, at)))
    }

    #[inline]
    fn next(&mut self) -> Result<bool, Infallible> {
        let Some(place) = &mut self.place else { return Ok(false) };
        if self.index.advance(place) {
            return Ok(true);
        }
        let next = self.index.next_place(place);
        self.stand_on(next)
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        let prev = self.place.as_ref().and_then(|place| self.index.prev_place(place));
        self.stand_on(prev)
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        self.place.as_ref().map(|place| self.index.memory.entry(place.entry))
    }
}
