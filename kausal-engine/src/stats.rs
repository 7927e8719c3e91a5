//! Counters of what the engine did, and the picture of its levels.

use kausal_arena::sync::{AtomicU64, Ordering};

use crate::manifest::TableMeta;

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        // Relaxed: a statistic; nothing is published by it.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What jobs count since the database was opened. Look-ups and writes are counted by the [`Recorder`](crate::metrics::Recorder).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) blob_bytes_written: Counter,
    pub(crate) write_stalls: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_bytes_written: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compaction_parts: Counter,
    pub(crate) compaction_bytes_written: Counter,
    pub(crate) tables_moved: Counter,
}

/// One level, over all keyspaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevelStats {
    /// Tables.
    pub table_count: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Entries, tombstones and old versions included.
    pub entry_count: u64,
    /// Of these, tombstones.
    pub tombstone_count: u64,
    /// Fragments of range tombstones.
    pub range_tombstone_count: u64,
}

impl LevelStats {
    /// Counts one more table.
    pub(crate) fn count(&mut self, table: &TableMeta) {
        self.table_count += 1;
        self.bytes += table.file_bytes;
        self.entry_count += table.entry_count;
        self.tombstone_count += table.tombstone_count;
        self.range_tombstone_count += table.range_tombstone_count;
    }
}

/// The state of a database, and what was done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stats {
    /// The levels, 0 first.
    pub levels: Vec<LevelStats>,
    /// Entries in memtables.
    pub memtable_entry_count: usize,
    /// Blob files that tables refer to.
    pub blob_count: usize,
    /// The newest sequence number that readers see.
    pub last_seqno: u64,
    /// Live snapshots, by the moment they read at.
    pub snapshot_count: usize,
    /// Bytes that pinned values keep where they are.
    pub pinned_value_bytes: usize,
    /// Look-ups of blocks that found them in the block cache.
    pub block_cache_hits: u64,
    /// Blocks that were read because the cache did not have them.
    pub block_cache_misses: u64,
    /// Present tables that are [mapped](crate::Options::mapped_tables). What they lend is no look-up in the block cache.
    pub mapped_table_count: usize,
    /// Bytes of their files, whether in memory or not.
    pub mapped_table_bytes: u64,
    /// Of their data blocks, those that were used, and found good then. They are lent without another check.
    pub mapped_block_count: u64,
    /// Changes written.
    pub puts: u64,
    /// Bytes of keys and values written by the user, blobs excluded.
    pub user_bytes_written: u64,
    /// Bytes of values streamed to blob files.
    pub blob_bytes_written: u64,
    /// Times a writer waited for memory or compaction.
    pub write_stalls: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes of tables written by flushes.
    pub flush_bytes_written: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Parts of those that were cut into parts to be merged at the same time
    /// ([`Options::compaction_threads`](crate::Options::compaction_threads)).
    pub compaction_parts: u64,
    /// Bytes of tables written by compactions.
    pub compaction_bytes_written: u64,
    /// Tables that went to a deeper level as they were.
    pub tables_moved: u64,
}

impl Counters {
    /// Puts the counts into `stats`.
    pub(crate) fn read(&self, stats: &mut Stats) {
        stats.blob_bytes_written = self.blob_bytes_written.get();
        stats.write_stalls = self.write_stalls.get();
        stats.flushes = self.flushes.get();
        stats.flush_bytes_written = self.flush_bytes_written.get();
        stats.compactions = self.compactions.get();
        stats.compaction_parts = self.compaction_parts.get();
        stats.compaction_bytes_written = self.compaction_bytes_written.get();
        stats.tables_moved = self.tables_moved.get();
    }
}
