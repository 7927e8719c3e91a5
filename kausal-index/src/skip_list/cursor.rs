//! The ordered walk over a skip list. Stays valid while others insert: it stands on a node, and nodes stay.

use std::convert::Infallible;

use crate::cursor::Cursor;
use crate::entry::{EntryRef, SeqNo};
use crate::skip_list::node::{Target, node_of};
use crate::skip_list::{NIL, SkipListIndex};

pub(super) struct SkipListCursor<'index> {
    index: &'index SkipListIndex,
    /// The node stood on, or nil.
    node: u32,
}

impl<'index> SkipListCursor<'index> {
    pub(super) fn new(index: &'index SkipListIndex) -> Self {
        Self { index, node: NIL }
    }

    fn stand_on(&mut self, node: u32) -> Result<bool, Infallible> {
        self.node = node;
        if node != NIL {
            // The entry is read while the next one is on its way.
            self.index.nodes.prefetch(node_of(self.index.nodes.next(node, 0)));
        }
        Ok(node != NIL)
    }
}

impl Cursor for SkipListCursor<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.stand_on(node_of(self.index.nodes.next(self.index.head, 0)))
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.stand_on(self.index.find_last())
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.stand_on(self.index.find_at_or_after(Target::new(key, at)))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        let target = Target::new(key, at);
        let (before, after) = self.index.find_neighbours(target);
        if self.index.nodes.is_at(target.link_to(after), target) {
            return self.stand_on(after);
        }
        self.stand_on(if before == self.index.head { NIL } else { before })
    }

    fn next(&mut self) -> Result<bool, Infallible> {
        match self.node {
            NIL => Ok(false),
            node => self.stand_on(node_of(self.index.nodes.next(node, 0))),
        }
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        if self.node == NIL {
            return Ok(false);
        }
        let entry = self.index.nodes.entry(self.node);
        self.stand_on(self.index.find_before(Target::new(entry.key, entry.seqno)))
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        (self.node != NIL).then(|| self.index.nodes.entry(self.node))
    }
}
