//! Cursors over one table, and over a run of tables that share no key.

use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::{Cursor, EntryRef, SeqNo};

use crate::block::{BlockCursor, Position};
use crate::buffer::BlockBuffer;
use crate::error::{Damage, TableError};
use crate::format::BlockHandle;
use crate::reader::Table;

/// An ordered walk over one table: a position in the index, and one in the block it names.
#[derive(Debug)]
pub struct TableCursor<'table> {
    table: &'table Table,
    index_position: Position,
    /// The block in `buffer`.
    loaded: Option<BlockHandle>,
    buffer: BlockBuffer,
}

impl<'table> TableCursor<'table> {
    pub(crate) fn new(table: &'table Table, buffer: BlockBuffer) -> Self {
        Self { table, index_position: Position::default(), loaded: None, buffer }
    }

    /// The offset of the block stood in.
    pub(crate) fn block(&self) -> Option<BlockHandle> {
        self.loaded
    }

    /// The index entry of the block stood in.
    pub(crate) fn index_position(&self) -> &Position {
        &self.index_position
    }

    fn clear(&mut self) -> bool {
        self.index_position.clear();
        self.buffer.position.clear();
        false
    }

    /// Loads the block that the index position names, unless it is there already.
    fn load(&mut self) -> Result<(), TableError> {
        let handle = self.table.handle_at(&self.index_position)?;
        if self.loaded != Some(handle) {
            self.loaded = None;
            self.buffer.load(self.table.table_file(), handle)?;
            self.loaded = Some(handle);
        }
        Ok(())
    }

    /// Moves in the index; answers whether it stands on an entry.
    fn in_index(
        &mut self,
        movement: impl FnOnce(BlockCursor<'_>, &mut Position) -> Result<bool, Damage>,
    ) -> Result<bool, TableError> {
        let table = self.table;
        movement(table.index()?, &mut self.index_position).map_err(|what| table.index_damage(what))
    }

    /// Moves in the loaded block; answers whether it stands on an entry.
    fn in_block(
        &mut self,
        movement: impl FnOnce(BlockCursor<'_>, &mut Position) -> Result<bool, Damage>,
    ) -> Result<bool, TableError> {
        let offset = self.loaded.map_or(0, |handle| handle.offset);
        let (contents, position) = self.buffer.parts();
        BlockCursor::new(contents)
            .and_then(|block| movement(block, position))
            .map_err(|what| self.table.table_file().corrupt(offset, what))
    }

    /// Enters the block named by the index at its first entry.
    fn enter_front(&mut self, named: bool) -> Result<bool, TableError> {
        if !named {
            return Ok(self.clear());
        }
        self.load()?;
        self.in_block(|block, position| block.seek_to_first(position))
    }

    /// Enters the block named by the index at its last entry.
    fn enter_back(&mut self, named: bool) -> Result<bool, TableError> {
        if !named {
            return Ok(self.clear());
        }
        self.load()?;
        self.in_block(|block, position| block.seek_to_last(position))
    }
}

impl Cursor for TableCursor<'_> {
    type Error = TableError;

    fn seek_to_first(&mut self) -> Result<bool, TableError> {
        let named = self.in_index(|index, position| index.seek_to_first(position))?;
        self.enter_front(named)
    }

    fn seek_to_last(&mut self) -> Result<bool, TableError> {
        let named = self.in_index(|index, position| index.seek_to_last(position))?;
        self.enter_back(named)
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        if !self.in_index(|index, position| index.seek(position, key, at))? {
            return Ok(self.clear());
        }
        self.load()?;
        // The block's last entry is at or after the position, so there is one to stand on.
        if self.in_block(|block, position| block.seek(position, key, at))? {
            return Ok(true);
        }
        Err(self.table.index_damage(Damage::Index))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, TableError> {
        if !self.seek(key, at)? {
            return self.seek_to_last();
        }
        let exact = self.entry().is_some_and(|entry| entry.cmp_position(key, at).is_eq());
        if exact { Ok(true) } else { self.prev() }
    }

    fn next(&mut self) -> Result<bool, TableError> {
        if !self.buffer.position.is_valid() {
            return Ok(false);
        }
        if self.in_block(|block, position| block.next(position))? {
            return Ok(true);
        }
        let named = self.in_index(|index, position| index.next(position))?;
        self.enter_front(named)
    }

    fn prev(&mut self) -> Result<bool, TableError> {
        if !self.buffer.position.is_valid() {
            return Ok(false);
        }
        if self.in_block(|block, position| block.prev(position))? {
            return Ok(true);
        }
        let named = self.in_index(|index, position| index.prev(position))?;
        self.enter_back(named)
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.buffer.position.entry(self.buffer.contents())
    }
}

/// An ordered walk over tables in key order of which no two share a key: a level. One table is open at a time.
#[derive(Debug)]
pub struct RunCursor<'run> {
    tables: &'run [Arc<Table>],
    budget: Budget,
    place: usize,
    cursor: Option<TableCursor<'run>>,
}

impl<'run> RunCursor<'run> {
    /// A walk over `tables`; the block buffer is charged to `budget`.
    pub fn new(tables: &'run [Arc<Table>], budget: &Budget) -> Self {
        Self { tables, budget: budget.clone(), place: 0, cursor: None }
    }

    /// Enters the table at `place`, if there is one, by `movement`.
    fn enter(
        &mut self,
        place: usize,
        movement: impl FnOnce(&mut TableCursor<'run>) -> Result<bool, TableError>,
    ) -> Result<bool, TableError> {
        let Some(table) = self.tables.get(place) else {
            self.cursor = None;
            return Ok(false);
        };
        if self.place != place || self.cursor.is_none() {
            // The old buffer is given back before a new one is asked for.
            self.cursor = None;
            self.cursor = Some(table.cursor(&self.budget)?);
            self.place = place;
        }
        match &mut self.cursor {
            Some(cursor) => movement(cursor),
            None => Ok(false),
        }
    }

    /// The first table that may hold a key at or after `key`.
    fn place_of(&self, key: &[u8]) -> usize {
        self.tables.partition_point(|table| table.properties().key_max.as_slice() < key)
    }
}

impl Cursor for RunCursor<'_> {
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
                self.cursor = None;
                Ok(false)
            }
        }
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.cursor.as_ref().and_then(|cursor| cursor.entry())
    }
}
