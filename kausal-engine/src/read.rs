//! The read path: what the database looks like at one moment, and the look-up of one key in it.
//!
//! A look-up goes from the newest place to the oldest: the active memtable, the frozen ones, level 0, the deeper
//! levels. The first entry at or below the read's sequence number decides: every newer place has newer entries.
//!
//! A reader takes the view *before* it reads the visible sequence number: a version that was overwritten since may be
//! gone from a later view, never from an earlier one.

use std::sync::Arc;

use kausal_arena::{AllocError, Budget};
use kausal_index::{BlockIndex, EntryRef, SeqNo};
use kausal_memtable::Memtable;
use kausal_sstable::{BlockBuffer, KeyHash};

use crate::error::Error;
use crate::generation::Generation;
use crate::ids::FileNumber;
use crate::version::Version;
use parking_lot::Mutex;

/// What a reader pins: memtables and tables of one moment.
#[derive(Debug)]
pub(crate) struct View<I> {
    pub(crate) active: Arc<Memtable<I, Generation>>,
    /// Oldest first.
    pub(crate) frozen: Vec<Arc<Memtable<I, Generation>>>,
    pub(crate) version: Arc<Version>,
}

impl<I: BlockIndex> View<I> {
    /// The memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable<I, Generation>>> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev())
    }

    /// Looks `key` up and hands the newest entry at or below `at` to `found`, tombstones included.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        at: SeqNo,
        buffer: &mut BlockBuffer,
        found: impl FnOnce(EntryRef<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        for memtable in self.memtables() {
            if let Some(entry) = memtable.get(key, at) {
                return Ok(Some(found(entry)));
            }
        }
        let hash = KeyHash::of(key);
        for file in self.version.candidates(key) {
            let entry = file.table().get_hashed(key, hash, at, buffer);
            if let Some(entry) = entry.map_err(|error| Error::table(file.path(), error))? {
                return Ok(Some(found(entry)));
            }
        }
        Ok(None)
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
