//! The sources of a merge: a memtable, a table of level 0, or the run of a deeper level.

use std::convert::Infallible;

use kausal_index::{Cursor, EntryRef, SeqNo};
use kausal_sstable::{BlockBuffer, BlockSource, RunCursor, TableCursor, TableError};

/// One of several kinds of cursors, behind one type and one error.
pub(crate) enum Source<'a, M, S = BlockBuffer> {
    Memtable(M),
    Table(TableCursor<'a, S>),
    Run(RunCursor<'a, S>),
}

/// For merges of tables alone.
pub(crate) enum NoMemtable {}

/// Calls the same method of whichever cursor it is; a memtable's cannot fail.
macro_rules! movement {
    ($name:ident($($argument:ident: $kind:ty),*)) => {
        fn $name(&mut self, $($argument: $kind),*) -> Result<bool, TableError> {
            match self {
                Source::Memtable(cursor) => {
                    let Ok(stands) = cursor.$name($($argument),*);
                    Ok(stands)
                }
                Source::Table(cursor) => cursor.$name($($argument),*),
                Source::Run(cursor) => cursor.$name($($argument),*),
            }
        }
    };
}

impl<M: Cursor<Error = Infallible>, S: BlockSource> Cursor for Source<'_, M, S> {
    type Error = TableError;

    movement!(seek_to_first());
    movement!(seek_to_last());
    movement!(seek(key: &[u8], at: SeqNo));
    movement!(seek_for_prev(key: &[u8], at: SeqNo));
    movement!(next());
    movement!(prev());

    fn walk(&mut self, each: impl FnMut(EntryRef<'_>) -> bool) -> Result<bool, TableError> {
        match self {
            Source::Memtable(cursor) => {
                let Ok(stands) = cursor.walk(each);
                Ok(stands)
            }
            Source::Table(cursor) => cursor.walk(each),
            Source::Run(cursor) => cursor.walk(each),
        }
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        match self {
            Source::Memtable(cursor) => cursor.entry(),
            Source::Table(cursor) => cursor.entry(),
            Source::Run(cursor) => cursor.entry(),
        }
    }
}

/// Seeks (`key`, `at`) with all of `sources`, which wait for memory together: each does a stage of its seek in turn.
pub(crate) fn seek_together<M: Cursor<Error = Infallible>, S: BlockSource>(
    sources: &mut [Source<'_, M, S>],
    key: &[u8],
    at: SeqNo,
) -> Result<(), TableError> {
    for source in &mut *sources {
        match source {
            Source::Memtable(cursor) => {
                let Ok(_) = cursor.seek(key, at);
            }
            Source::Table(cursor) => cursor.begin_seek(key, at)?,
            Source::Run(cursor) => cursor.begin_seek(key, at)?,
        }
    }
    loop {
        let mut are_done = true;
        for source in &mut *sources {
            are_done &= match source {
                Source::Memtable(_) => true,
                Source::Table(cursor) => cursor.go_on(key, at)?,
                Source::Run(cursor) => cursor.go_on(key, at)?,
            };
        }
        if are_done {
            return Ok(());
        }
    }
}

/// The same for a cursor that does not exist.
macro_rules! absurd {
    ($name:ident($($kind:ty),*)) => {
        fn $name(&mut self, $(_: $kind),*) -> Result<bool, Infallible> {
            match *self {}
        }
    };
}

impl Cursor for NoMemtable {
    type Error = Infallible;

    absurd!(seek_to_first());
    absurd!(seek_to_last());
    absurd!(seek(&[u8], SeqNo));
    absurd!(seek_for_prev(&[u8], SeqNo));
    absurd!(next());
    absurd!(prev());

    fn entry(&self) -> Option<EntryRef<'_>> {
        match *self {}
    }
}
