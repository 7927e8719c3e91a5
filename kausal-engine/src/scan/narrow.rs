//! A walk that holds one block at a time, for when there is no memory for one of every table.
//!
//! 1. Each source in turn seeks to where the walk stands and says which key it would come to next. It is gone before the
//!    next one is asked; of all keys the nearest one is kept.
//! 2. That key is looked up, which tells whether it is there for the snapshot and what its value is.
//!
//! So the walk needs what one look-up needs, however many tables there are, and a seek of each of them for every key. It
//! fills one chunk; the next one tries to hold a block of each source again.

use kausal_index::{BlockIndex, Cursor as EntryCursor, EntryRef, Kind};
use kausal_sstable::{CachedBlocks, TableError};

use super::fill::{Direction, FillError, Filling, From, sources};
use crate::read::View;

impl<I: BlockIndex + 'static> Filling<'_, I> {
    /// As `fill`, in the memory of a look-up.
    #[cold]
    pub(super) fn fill_narrowly(&mut self, view: &View<I>, from: From<'_>) -> Result<bool, FillError> {
        let (mut nearest, mut key) = (Vec::new(), Vec::new());
        let mut more = self.find_nearest(view, from, &mut nearest)?;
        while more && self.admits(&nearest) {
            if self.chunk.is_full() || !self.push_visible(view, &nearest)? {
                return Ok(false);
            }
            std::mem::swap(&mut nearest, &mut key);
            more = self.find_nearest(view, From::Beyond(&key), &mut nearest)?;
        }
        Ok(true)
    }

    fn admits(&self, key: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => self.range.admits_from_above(key),
            Direction::Backward => self.range.admits_from_below(key),
        }
    }

    /// Puts the key that comes next into `nearest`, tombstones included. Answers whether there is one.
    fn find_nearest(&self, view: &View<I>, from: From<'_>, nearest: &mut Vec<u8>) -> Result<bool, FillError> {
        let core = self.core;
        let blocks = || CachedBlocks::new(&*core.plan.cache, &core.buffers);
        let mut is_found = false;
        for source in sources(view, self.keyspace, &blocks)? {
            let mut source = source?;
            if let Some(entry) = self.first_visible(&mut source, from)? {
                let is_nearer = match self.direction {
                    Direction::Forward => entry.key < nearest.as_slice(),
                    Direction::Backward => entry.key > nearest.as_slice(),
                };
                if is_nearer || !is_found {
                    is_found = true;
                    nearest.clear();
                    nearest.extend_from_slice(entry.key);
                }
            }
        }
        Ok(is_found)
    }

    /// The first entry of one source that the snapshot knows of.
    fn first_visible<'s, C>(
        &self,
        source: &'s mut C,
        from: From<'_>,
    ) -> Result<Option<EntryRef<'s>>, TableError>
    where
        C: EntryCursor<Error = TableError>,
    {
        let mut stands = match self.direction {
            Direction::Forward => match self.range.forward_start(from) {
                Some((key, at)) => source.seek(key, at)?,
                None => source.seek_to_first()?,
            },
            Direction::Backward => self.seek_backward(source, from)?,
        };
        while stands && source.entry().is_some_and(|entry| entry.seqno > self.at) {
            stands = match self.direction {
                Direction::Forward => source.next()?,
                Direction::Backward => source.prev()?,
            };
        }
        Ok(source.entry().filter(|_| stands))
    }

    /// Copies the entry of `key` into the chunk, if the snapshot sees one. Answers `false` if memory is so short that the
    /// chunk has to end before it.
    fn push_visible(&mut self, view: &View<I>, key: &[u8]) -> Result<bool, FillError> {
        let core = self.core;
        let mut blocks = CachedBlocks::new(&*core.plan.cache, &core.buffers);
        let at = self.at;
        let pushed = view.get(self.keyspace, key, at, &mut blocks, |entry| {
            if entry.kind == Kind::Delete { Ok(true) } else { self.chunk.push(entry) }
        });
        pushed?.unwrap_or(Ok(true))
    }
}
