//! The memory plan: how one number becomes the nodes of the budget tree.
//!
//! | node | floor | ceiling | holds |
//! |---|---|---|---|
//! | memtables | all of it | 1/2 | two regions of 1/4 each, obtained at open |
//! | wal | 1/32 | 1/4 | the log's frame buffer, as large as the largest batch |
//! | tables | 1/32 | 1/4 | indexes, filters and properties of open tables |
//! | flush | 1/16 | 1/8 | buffers, filter and index of the table being written |
//! | compaction | 3/16 | 1/4 | the same, and one block of each input |
//! | requests | 0 | 1/8 | request arenas |
//! | reads | 1/64 | 1/4 | block buffers of look-ups and of cursors under way |
//! | cursors | 0 | 1/8 | what cursors keep between calls |
//!
//! What a flush and a compaction need is set aside at open, so they make progress whatever the readers hold. With V the
//! longest value beside its key, 1/64 of the budget, a compaction holds a block of V and a key for each of four tables of
//! level 0 and one run below, up to 2 V of the block being written, 2 V of output, and its filter and index: about 3/16.
//! A longer value lies in a blob file.

use kausal_arena::{AllocError, Budget};

/// Number of memtable regions: one takes writes while the other is flushed.
pub(crate) const REGION_COUNT: usize = 2;

/// The nodes of one database.
#[derive(Debug)]
pub(crate) struct MemoryPlan {
    pub(crate) root: Budget,
    pub(crate) memtables: Budget,
    pub(crate) wal: Budget,
    pub(crate) tables: Budget,
    pub(crate) flush: Budget,
    pub(crate) compaction: Budget,
    pub(crate) requests: Budget,
    pub(crate) reads: Budget,
    pub(crate) cursors: Budget,
    /// Size of one memtable region.
    pub(crate) region_bytes: usize,
    /// Longest value that is stored beside its key; longer ones lie in blob files.
    pub(crate) inline_value_bytes_max: usize,
}

impl MemoryPlan {
    /// Divides `bytes`.
    pub(crate) fn new(bytes: usize) -> Result<Self, AllocError> {
        // A region is 4 KiB short of its quarter, so that rounding to pages stays within it.
        let region_bytes = (bytes / 4).min(u32::MAX as usize & !0xFFFF) & !0xFFFF;
        let root = Budget::root("database", bytes);
        let memtables = REGION_COUNT * region_bytes;
        Ok(Self {
            memtables: root.child("memtables", memtables, memtables)?,
            wal: root.child("wal", bytes / 32, bytes / 4)?,
            tables: root.child("tables", bytes / 32, bytes / 4)?,
            flush: root.child("flush", bytes / 16, bytes / 8)?,
            compaction: root.child("compaction", bytes / 16 * 3, bytes / 4)?,
            requests: root.child("requests", 0, bytes / 8)?,
            reads: root.child("reads", bytes / 64, bytes / 4)?,
            cursors: root.child("cursors", 0, bytes / 8)?,
            root,
            region_bytes,
            inline_value_bytes_max: region_bytes / 16,
        })
    }
}
