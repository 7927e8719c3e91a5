//! A seek in stages, so that cursors wait for memory together.
//!
//! 1. A seek in a block that the processor has not seen lately waits for the cache's directory, the frame's header, the end of
//!    the block, the heads of its groups, and the entries of a group: where each of them is, the one before says.
//! 2. The cursors of a merge seek the same position, and none of them needs another. So each does one stage, asks for the
//!    lines of its next one, and lets the others have their turn: a merge waits about as long as one cursor would.
//!
//! "Asynchronous Memory Access Chaining" (Kocberber, Falsafi, Grot; VLDB 2015).

use kausal_index::{Cursor, SeqNo};

use super::{TableCursor, contents};
use crate::block::Block;
use crate::error::TableError;
use crate::format::BlockHandle;
use crate::prefetch;
use crate::source::BlockSource;

/// A seek that ends so many entries before its block does asks for the next block: a short walk is about to go there.
const SHORT_WALK: usize = 12;

/// Of that block the lines are asked for that lie so many bytes apart; those between are left to the processor.
const BEGINNING_BYTES: usize = 128;

/// How far a seek has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Done,
    /// The block is known.
    Located(BlockHandle),
    /// It is known where it is.
    Placed(BlockHandle),
    /// The source holds it.
    Fetched(BlockHandle),
    /// It is known how it is divided.
    Divided,
    /// The group is known.
    Narrowed(Option<usize>),
}

impl<S: BlockSource> TableCursor<'_, S> {
    /// Begins a [`seek`](Cursor::seek) to (`key`, `at`). Until [`go_on`](Self::go_on) says that it is done, the cursor stands
    /// nowhere, and any other movement ends the seek.
    ///
    /// # Errors
    ///
    /// As a seek.
    pub fn begin_seek(&mut self, key: &[u8], at: SeqNo) -> Result<(), TableError> {
        self.stage = Stage::Done;
        if self.lower.is_some() || self.upper.is_some() {
            return self.seek(key, at).map(|_| ());
        }
        let Some(place) = self.locate(key, at)? else { return Ok(()) };
        let handle = self.handle(place)?;
        self.block = place;
        let hint = self.hint(place);
        self.stage = if self.loaded == Some(handle) {
            Stage::Divided
        } else if self.ask_for_lent(handle)
            || hint.is_some_and(|hint| self.source.approach_hinted(handle, hint, self.table.group_bytes()))
        {
            Stage::Placed(handle)
        } else {
            self.source.approach(self.table.table_file(), handle, 0);
            Stage::Located(handle)
        };
        Ok(())
    }

    /// Does the next stage of the seek to (`key`, `at`), the position that it was begun with. Answers whether it was the last.
    ///
    /// # Errors
    ///
    /// As a seek, which has ended then.
    #[inline]
    pub fn go_on(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        let stage = std::mem::take(&mut self.stage);
        self.stage = match stage {
            Stage::Done => return Ok(true),
            Stage::Located(handle) => {
                self.source.approach(self.table.table_file(), handle, 1);
                Stage::Placed(handle)
            }
            Stage::Placed(handle) => {
                self.loaded = None;
                self.fetch(handle, 0)?;
                prefetch::end(contents(self.lent, &self.source));
                Stage::Fetched(handle)
            }
            Stage::Fetched(handle) => {
                let block = Block::new(contents(self.lent, &self.source));
                let block = block.map_err(|what| self.table.table_file().corrupt(handle.offset, what))?;
                block.ask_for_heads();
                self.shape = block.shape();
                self.loaded = Some(handle);
                Stage::Divided
            }
            Stage::Divided => {
                let group = self.in_block(|block, _| block.group_of(key, at))?;
                let block = Block::with(contents(self.lent, &self.source), self.shape);
                block.ask_for_group(group.unwrap_or(0));
                Stage::Narrowed(group)
            }
            Stage::Narrowed(group) => {
                let (stands, behind) = self.in_block(|block, position| {
                    let place = block.place_in(group, key, at)?;
                    Ok((block.load(position, place)?, block.count() - place))
                })?;
                if !stands {
                    self.next_block()?;
                } else if behind <= SHORT_WALK {
                    self.approach_behind(1, BEGINNING_BYTES)?;
                }
                Stage::Done
            }
        };
        Ok(self.stage == Stage::Done)
    }

    /// Asks for the end of the block at `handle`, whose place is `self.block`, if that can be lent from the table's mapping.
    /// Answers whether it can.
    #[inline]
    fn ask_for_lent(&self, handle: BlockHandle) -> bool {
        let Some(mapped) = self.table.mapped.as_ref().filter(|_| S::WANTS_MAPPED) else { return false };
        mapped.ask_for_end(handle, self.table.segments()[self.segment].mark(self.block))
    }
}
