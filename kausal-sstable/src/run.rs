//! An ordered walk over a run of tables that share no key: a level.

use std::sync::Arc;

use kausal_arena::{AllocError, Budget};
use kausal_index::{Cursor, EntryRef, SeqNo};

use crate::buffer::BlockBuffer;
use crate::cursor::TableCursor;
use crate::error::TableError;
use crate::reader::Table;
use crate::source::BlockSource;

/// An ordered walk over tables in key order of which no two share a key, and each of which has an entry. One table is open
/// at a time.
#[derive(Debug)]
pub struct RunCursor<'run, S = BlockBuffer> {
    tables: &'run [Arc<Table>],
    place: usize,
    cursor: Option<TableCursor<'run, S>>,
    /// The source, while no table is open.
    spare: Option<S>,
    ahead_max: Option<u64>,
}

impl<'run> RunCursor<'run> {
    /// A walk over `tables`; the block buffer is charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory for the buffer.
    pub fn new(tables: &'run [Arc<Table>], budget: &Budget) -> Result<Self, AllocError> {
        Ok(Self::from_source(tables, BlockBuffer::new(budget)?))
    }
}

impl<'run, S: BlockSource> RunCursor<'run, S> {
    /// A walk over `tables` whose blocks come from `source`.
    pub fn from_source(tables: &'run [Arc<Table>], source: S) -> Self {
        Self { tables, place: 0, cursor: None, spare: Some(source), ahead_max: None }
    }

    /// Limits what is read ahead of a walk, in bytes; see [`TableCursor::set_read_ahead`].
    pub fn set_read_ahead(&mut self, bytes_max: u64) {
        self.ahead_max = Some(bytes_max);
        if let Some(cursor) = &mut self.cursor {
            cursor.set_read_ahead(bytes_max);
        }
    }

    fn leave(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.spare = Some(cursor.into_source());
        }
    }

    /// Enters the table at `place`, if there is one, by `movement`.
    fn enter(
        &mut self,
        place: usize,
        movement: impl FnOnce(&mut TableCursor<'run, S>) -> Result<bool, TableError>,
    ) -> Result<bool, TableError> {
        let Some(table) = self.tables.get(place) else {
            self.leave();
            return Ok(false);
        };
        if self.place != place {
            self.leave();
        }
        if let Some(source) = self.spare.take() {
            let mut cursor = table.cursor_from(source);
            if let Some(bytes) = self.ahead_max {
                cursor.set_read_ahead(bytes);
            }
            self.cursor = Some(cursor);
            self.place = place;
        }
        movement(self.cursor.as_mut().expect("the source is either spare or a cursor's"))
    }

    /// Begins a seek in stages; see [`TableCursor::begin_seek`].
    ///
    /// # Errors
    ///
    /// As a seek.
    pub fn begin_seek(&mut self, key: &[u8], at: SeqNo) -> Result<(), TableError> {
        self.enter(self.place_of(key), |cursor| cursor.begin_seek(key, at).map(|()| true)).map(|_| ())
    }

    /// Does the next stage of a seek; see [`TableCursor::go_on`].
    ///
    /// # Errors
    ///
    /// As a seek.
    #[inline]
    pub fn go_on(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        let Some(cursor) = &mut self.cursor else { return Ok(true) };
        let is_done = cursor.go_on(key, at)?;
        if is_done && cursor.entry().is_none() {
            // The table's last key is `key` itself, in newer versions only.
            self.enter(self.place + 1, |cursor| cursor.seek_to_first())?;
        }
        Ok(is_done)
    }

    /// The first table that may hold a key at or after `key`.
    fn place_of(&self, key: &[u8]) -> usize {
        self.tables.partition_point(|table| table.properties().key_max.as_slice() < key)
    }
}

impl<S: BlockSource> Cursor for RunCursor<'_, S> {
    type Error = TableError;

    fn seek_to_first(&mut self) -> Result<bool, TableError> {
        self.enter(0, |cursor| cursor.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<bool, TableError> {
        self.enter(self.tables.len().wrapping_sub(1), |cursor| cursor.seek_to_last())
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        let place = self.place_of(key);
        if self.enter(place, |cursor| cursor.seek(key, at))? {
            return Ok(true);
        }
        // The table's last key is `key` itself, in newer versions only.
        self.enter(place.saturating_add(1), |cursor| cursor.seek_to_first())
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        let place = self.place_of(key);
        if self.enter(place, |cursor| cursor.seek_for_prev(key, at))? {
            return Ok(true);
        }
        match place.min(self.tables.len()).checked_sub(1) {
            Some(before) => self.enter(before, |cursor| cursor.seek_to_last()),
            None => Ok(false),
        }
    }

    fn next(&mut self) -> Result<bool, TableError> {
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        if cursor.entry().is_none() {
            return Ok(false);
        }
        if cursor.next()? {
            return Ok(true);
        }
        self.enter(self.place + 1, |cursor| cursor.seek_to_first())
    }

    fn walk(&mut self, mut each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, TableError> {
        loop {
            let Some(cursor) = &mut self.cursor else { return Ok(false) };
            if cursor.entry().is_none() {
                return Ok(false);
            }
            if cursor.walk(&mut each)? {
                return Ok(true);
            }
            if !self.enter(self.place + 1, |cursor| cursor.seek_to_first())? {
                return Ok(false);
            }
        }
    }

    fn prev(&mut self) -> Result<bool, TableError> {
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        if cursor.entry().is_none() {
            return Ok(false);
        }
        if cursor.prev()? {
            return Ok(true);
        }
        match self.place.checked_sub(1) {
            Some(before) => self.enter(before, |cursor| cursor.seek_to_last()),
            None => {
                self.leave();
                Ok(false)
            }
        }
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.cursor.as_ref().and_then(|cursor| cursor.entry())
    }
}
