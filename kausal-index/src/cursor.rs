//! The cursor: one ordered walk over entries, for memtables, tables and merges of both.
//!
//! Laws, checked by the conformance tests:
//! 1. A new cursor stands nowhere: `entry` is `None`.
//! 2. A movement answers whether the cursor stands on an entry afterwards. Past either end it stands nowhere,
//!    and `next` and `prev` from nowhere stay there; a `seek…` brings it back.
//! 3. Entries are met in the order (key ascending, sequence number descending), each exactly once; `prev` is
//!    the mirror of `next`.
//! 4. `walk` meets what `next` would.
//! 5. What `entry` lends lives until the cursor moves.
//!
//! Not here: visibility. A cursor shows every version and every tombstone; who reads at a snapshot filters.

use crate::entry::{EntryRef, SeqNo};

/// An ordered walk over entries, forward and backward.
pub trait Cursor {
    /// What can go wrong while moving; [`std::convert::Infallible`] in memory.
    type Error;

    /// Stands on the first entry.
    fn seek_to_first(&mut self) -> Result<bool, Self::Error>;

    /// Stands on the last entry.
    fn seek_to_last(&mut self) -> Result<bool, Self::Error>;

    /// Stands on the first entry at or after (`key`, `at`): the newest version of `key` at or below `at`,
    /// or the first entry of a later key.
    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Self::Error>;

    /// Stands on the last entry at or before (`key`, `at`): the oldest version of `key` at or above `at`,
    /// or the last entry of an earlier key.
    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Self::Error>;

    /// Moves to the following entry.
    fn next(&mut self) -> Result<bool, Self::Error>;

    /// Shows `each` the entry stood on and those that follow, until it answers `false`, and stands on the one that it did so for.
    /// Answers whether there was one, else the cursor stands past the end.
    ///
    /// The same as a loop of [`entry`](Self::entry) and [`next`](Self::next), and faster where a cursor knows more of what
    /// follows than it can tell entry by entry.
    fn walk(&mut self, mut each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, Self::Error>
    where
        Self: Sized,
    {
        while let Some(entry) = self.entry() {
            if !each(entry) {
                return Ok(true);
            }
            self.next()?;
        }
        Ok(false)
    }

    /// Moves to the preceding entry.
    fn prev(&mut self) -> Result<bool, Self::Error>;

    /// The entry stood on, or `None` before the first movement and past either end.
    fn entry(&self) -> Option<EntryRef<'_>>;
}
