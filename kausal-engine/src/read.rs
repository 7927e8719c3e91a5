//! The read path: what the database looks like at one moment, and the look-up of one key in it.
//!
//! A look-up goes from the newest place to the oldest: the active memtable, the frozen ones, level 0, the deeper
//! levels. The first entry at or below the read's sequence number decides, or the first range tombstone over the key that
//! is newer than it: every newer place has newer ones.
//!
//! A reader takes the view *before* it reads the visible sequence number: a version that was overwritten since may be
//! gone from a later view, never from an earlier one.

use std::sync::Arc;

use kausal_arena::{AllocError, Budget};
use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo};
use kausal_memtable::Memtable;
use kausal_sstable::{BlockBuffer, KeyHash};

use crate::core::Core;
use crate::error::Error;
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::scan::ValueReader;
use crate::snapshot::Snapshot;
use crate::version::{Level, Version};
use parking_lot::Mutex;

/// What a reader pins: memtables and tables of one moment.
#[derive(Debug)]
pub(crate) struct View<I> {
    pub(crate) active: Arc<Memtable<I, Generation>>,
    /// Oldest first.
    pub(crate) frozen: Vec<Arc<Memtable<I, Generation>>>,
    pub(crate) version: Arc<Version>,
}

impl<I> Clone for View<I> {
    fn clone(&self) -> Self {
        let (active, version) = (Arc::clone(&self.active), Arc::clone(&self.version));
        Self { active, frozen: self.frozen.clone(), version }
    }
}

impl<I: BlockIndex> View<I> {
    /// The memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable<I, Generation>>> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev())
    }

    /// Looks `key` of `keyspace` up and hands the newest entry at or below `at` to `found`, tombstones included, unless a
    /// range tombstone hides it.
    pub(crate) fn get<T>(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: SeqNo,
        buffer: &mut BlockBuffer,
        found: impl FnOnce(EntryRef<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let Some(tree) = self.version.tree(keyspace) else { return Err(Error::NoKeyspace { keyspace }) };
        for memtable in self.memtables() {
            let Some(part) = memtable.keyspace(keyspace) else { continue };
            let hidden = part.range_tombstones().covering(key, at);
            match part.get(key, at) {
                Some(entry) if hidden.is_none_or(|hidden| hidden < entry.seqno) => {
                    return Ok(Some(found(entry)));
                }
                None if hidden.is_none() => {}
                _ => return Ok(None),
            }
        }
        let hash = KeyHash::of(key);
        for file in tree.candidates(key) {
            let hidden = match file.meta().range_tombstone_count {
                0 => None,
                _ => file.table().range_tombstones().covering(key, at),
            };
            let entry = file.table().get_hashed(key, hash, at, buffer);
            match entry.map_err(|error| Error::table(file.path(), error))? {
                Some(entry) if hidden.is_none_or(|hidden| hidden < entry.seqno) => {
                    return Ok(Some(found(entry)));
                }
                None if hidden.is_none() => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What may hide entries of `keyspace`: every place that has range tombstones. Empty, most often.
    pub(crate) fn covers(&self, keyspace: KeyspaceId) -> Vec<Cover<'_>> {
        let mut covers = Vec::new();
        let parts = self.memtables().filter_map(|memtable| memtable.keyspace(keyspace));
        let ranges = parts.map(|part| part.range_tombstones()).filter(|ranges| !ranges.is_empty());
        covers.extend(ranges.map(Cover::Memtable));
        let Some(tree) = self.version.tree(keyspace) else { return covers };
        for (level, tables) in tree.levels().iter().enumerate() {
            if !tables.has_range_tombstones() {
                continue;
            }
            if level > 0 {
                covers.push(Cover::Level(tables));
                continue;
            }
            let ranges = tables.files().iter().map(|file| file.table().range_tombstones());
            covers.extend(ranges.filter(|ranges| !ranges.is_empty()).map(Cover::Table));
        }
        covers
    }

    /// The blob file that an entry of this view refers to, if this engine has it open.
    pub(crate) fn blob(&self, number: FileNumber) -> Option<Arc<crate::blob::BlobFile>> {
        let in_memory = self.memtables().find_map(|memtable| memtable.attached().blob(number));
        in_memory.or_else(|| {
            let mut blobs = self.version.files().flat_map(|file| file.blobs());
            blobs.find(|blob| blob.number() == number).cloned()
        })
    }
}

/// A place that has range tombstones.
pub(crate) enum Cover<'v> {
    Memtable(&'v kausal_memtable::RangeTombstones),
    Table(kausal_sstable::RangeTombstones<'v>),
    /// A level below 0.
    Level(&'v Level),
}

impl Cover<'_> {
    /// The newest range tombstone at or below `at` that covers `key`.
    pub(crate) fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        match self {
            Self::Memtable(ranges) => ranges.covering(key, at),
            Self::Table(ranges) => ranges.covering(key, at),
            Self::Level(level) => level.covering(key, at),
        }
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// The value of `key` at a snapshot or now, to be read from front to back.
    pub(crate) fn open_value(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        snapshot: Option<&Snapshot>,
    ) -> Result<Option<ValueReader>, Error> {
        if let Some(snapshot) = snapshot {
            assert!(snapshot.is_of(&self.snapshots), "a snapshot of another database");
        }
        let view = self.view();
        let at = snapshot.map_or_else(|| self.visible(), Snapshot::seqno);
        let found = self.buffers.with(|buffer| {
            view.get(keyspace, key, at, buffer, |entry| match entry.kind {
                Kind::Delete => Ok(None),
                Kind::Blob => self.open_blob(&view, entry.value).map(ValueReader::blob).map(Some),
                _ => Ok(Some(ValueReader::inline(entry.value.to_vec()))),
            })
        })??;
        found.unwrap_or(Ok(None))
    }
}

/// Block buffers that look-ups take and give back, so that a warm look-up allocates nothing.
#[derive(Debug)]
pub(crate) struct BlockBuffers {
    budget: Budget,
    idle: Mutex<Vec<BlockBuffer>>,
}

/// Buffers kept for the next look-up; more are given back to the budget.
const IDLE_MAX: usize = 16;

/// An idle buffer that has grown beyond this is given back instead of kept.
const IDLE_BYTES_MAX: usize = 64 << 10;

impl BlockBuffers {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { budget: budget.clone(), idle: Mutex::new(Vec::with_capacity(IDLE_MAX)) }
    }

    /// Runs `work` with a buffer.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut BlockBuffer) -> T) -> Result<T, AllocError> {
        let idle = self.idle.lock().pop();
        let mut buffer = match idle {
            Some(buffer) => buffer,
            None => BlockBuffer::new(&self.budget)?,
        };
        let answer = work(&mut buffer);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && buffer.capacity() <= IDLE_BYTES_MAX {
            idle.push(buffer);
        }
        Ok(answer)
    }
}
