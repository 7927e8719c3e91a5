//! The memory plan: how one number becomes the nodes of the budget tree.
//!
//! | node | floor | ceiling | holds |
//! |---|---|---|---|
//! | memtables | all of it | 3/8 | two regions of 3/16 each, obtained at open |
//! | wal | 1/32 | 1/4 | the log's frame buffer, as large as the largest batch |
//! | tables | 1/32 | 1/4 | indexes, filters and properties of open tables, their names and bounds |
//! | block cache | 1/32 | 1/2 | blocks of tables that were read |
//! | flush | 1/16 | 1/8 | buffers, filter and index of the table being written |
//! | compaction | 1/8 | 1/4 | the same, and one block of each input |
//! | compaction parts | 0 | 1/4 | the same for each part beside the first; there with several compaction threads only |
//! | requests | 0 | 1/8 | request arenas |
//! | reads | 1/16 | 1/4 | what reads need for the length of a call: |
//! | · look-ups | 1/16 | 1/4 | block buffers of look-ups, pieces of blobs |
//! | · walks | 0 | 1/4 | a block buffer of each table that a cursor merges |
//! | cursors | 1/64 | 1/8 | what cursors keep between calls |
//! | keyspaces | 0 | 1/8 | what is kept of each keyspace beside its tables |
//! | events | all of it | 64 KiB | the last memory events |
//!
//! What no floor sets aside is lent to whoever comes, mostly to the block cache. All others come before it: where they want
//! more than is left, the cache gives slabs back. A table's filters and indexes stay in memory while three quarters of what the
//! tables may have are free; those of later ones are read through the cache. What every table keeps, its properties and root, is
//! what limits the data in the end.
//!
//! What a flush and a compaction need is set aside at open, so they make progress whatever the readers hold. With V the
//! longest value beside its key, 1/128 of the budget, a compaction of five runs holds a block of V and a key for each, up to 2 V
//! of the block being written, 2 V of output, and its filter and index: about 1/8. A longer value lies in a blob file.
//! More runs with such values take more, up to 1/5 for thirteen, and so do keys as long as that in budgets of a few MiB. A flush
//! finds the rest in what is lent; a compaction that does not merges the older half of its runs. What is kept of tables grows with their bounds, so with such keys it
//! limits the data early.
//!
//! Parts of a compaction that are merged at the same time are more than the floor is for: each but the first has a node of its
//! own while the merge lasts, with a floor of what it needs. Where that cannot be set aside there are fewer parts, or one.
//!
//! A cursor merges any number of tables, each with a block of up to V and a key, and with V and a key again if it has to
//! be decompressed. It takes that from the node of walks; what it does not get there it does without: a cursor
//! that holds one block at a time needs what a look-up needs, 2 V and two keys at most, and takes it from the node of
//! look-ups, where walks cannot take it away. So at least two reads at a time have what they need whatever all others hold,
//! seven if blocks are not compressed and keys are short. Then a cursor needs a floor for V and a key in its chunk.

use std::sync::Arc;

use kausal_arena::{AllocError, Budget, MemoryEvent, MemoryEvents};
use kausal_sstable::{BlockCache, BlockCacheOptions, Residency};

use crate::job_memory::{JobMemory, PartsMemory};
use crate::options::Options;
use crate::spare_tables::SpareTables;
use crate::version::OpenFiles;

/// Number of memtable regions: one takes writes while the other is flushed. A third one would be there when a memtable is full before
/// that is done, but three of an eighth make smaller tables in level 0, so more merges: puts came at 0.9 of the rate of two of 3/16,
/// overwriting and settling at 0.61. Two of a quarter did the latter at 1.1, but cached reads at 0.67, for want of a block cache.
pub(crate) const REGION_COUNT: usize = 2;

/// Memory events that are kept.
const EVENT_COUNT: usize = 1024;

/// The nodes of one database.
#[derive(Debug)]
pub(crate) struct MemoryPlan {
    pub(crate) root: Budget,
    pub(crate) memtables: Budget,
    pub(crate) wal: Budget,
    pub(crate) tables: TableMemory,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) flush: JobMemory,
    pub(crate) compaction: JobMemory,
    /// Where a compaction runs in several parts.
    pub(crate) compaction_parts: Option<PartsMemory>,
    pub(crate) requests: Budget,
    pub(crate) lookups: Budget,
    pub(crate) walks: Budget,
    pub(crate) cursors: Budget,
    pub(crate) keyspaces: Budget,
    /// Size of one memtable region.
    pub(crate) region_bytes: usize,
    /// Bytes that values may pin between calls.
    pub(crate) pinned_bytes_max: usize,
    /// Longest value that is stored beside its key; longer ones lie in blob files.
    pub(crate) inline_value_bytes_max: usize,
    _events: MemoryEvents,
}

impl MemoryPlan {
    /// Divides `bytes` as the options want it.
    pub(crate) fn new(options: &Options) -> Result<Self, AllocError> {
        let (bytes, open_tables_max) = (options.memory_budget, options.open_tables_max);
        // Rounded down, so that rounding to pages stays within it.
        let region_bytes = (bytes / 16 * 3).min(u32::MAX as usize & !0xFFFF) & !0xFFFF;
        let root = Budget::root("database", bytes);
        let memtables = REGION_COUNT * region_bytes;
        let first = |name: &'static str, floor: usize, ceiling: usize| {
            root.child(name, floor, ceiling).inspect(|node| node.come_first(true))
        };
        let events_bytes = EVENT_COUNT * size_of::<MemoryEvent>();
        let events = MemoryEvents::start(&root.child("events", events_bytes, events_bytes)?, EVENT_COUNT)?;
        let reads = first("reads", bytes / 16, bytes / 4)?;
        let cache = root.child("block cache", bytes / 32, bytes / 2)?;
        let cache = Arc::new(BlockCache::new(&cache, BlockCacheOptions::default())?);
        Ok(Self {
            memtables: root.child("memtables", memtables, memtables)?,
            wal: first("wal", bytes / 32, bytes / 4)?,
            tables: TableMemory::new(first("tables", bytes / 32, bytes / 4)?, Some(&cache), open_tables_max),
            cache,
            flush: JobMemory::new(first("flush", bytes / 16, bytes / 8)?),
            compaction: JobMemory::new(first("compaction", bytes / 8, bytes / 4)?),
            compaction_parts: (options.compaction_threads > 1)
                .then(|| first("compaction parts", 0, bytes / 4).map(PartsMemory::new))
                .transpose()?,
            requests: first("requests", 0, bytes / 8)?,
            lookups: reads.child("look-ups", bytes / 16, bytes / 4)?,
            walks: reads.child("walks", 0, bytes / 4)?,
            cursors: first("cursors", bytes / 64, bytes / 8)?,
            keyspaces: first("keyspaces", 0, bytes / 8)?,
            root,
            region_bytes,
            pinned_bytes_max: bytes / 16,
            inline_value_bytes_max: region_bytes / 24,
            _events: events,
        })
    }
}

/// Where tables keep what stays, whose cache their blocks are in, and which of their files are open.
#[derive(Clone, Debug)]
pub(crate) struct TableMemory {
    budget: Budget,
    cache: Option<Arc<BlockCache>>,
    files: Arc<OpenFiles>,
    spares: Arc<SpareTables>,
}

impl TableMemory {
    /// Tables that are charged to `budget`. Without a cache they are read through to be checked, and no more.
    pub(crate) fn new(budget: Budget, cache: Option<&Arc<BlockCache>>, open_max: usize) -> Self {
        Self { budget, cache: cache.cloned(), files: OpenFiles::new(open_max), spares: Arc::default() }
    }

    pub(crate) fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    /// Files that tables have left behind.
    pub(crate) fn spares(&self) -> &Arc<SpareTables> {
        &self.spares
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn cache(&self) -> Option<&Arc<BlockCache>> {
        self.cache.as_ref()
    }

    /// What shall stay of the next table.
    pub(crate) fn residency(&self) -> Residency {
        let has_room = self.budget.used() <= self.budget.ceiling() / 4;
        if has_room { Residency::Indexes } else { Residency::Root }
    }
}
