//! Metrics: what a database did since it was opened, and how long it took.
//!
//! | room | what lives there |
//! |---|---|
//! | `recorder` | the counters, where they are counted |
//! | `latency` | durations in buckets, and their quantiles |
//! | `publish` | a snapshot for the `metrics` facade (feature `metrics`) |
//!
//! A [`Metrics`] is a snapshot: nothing in it changes. Counts only grow, so two snapshots tell what happened between them.

mod latency;
#[cfg(feature = "metrics")]
mod publish;
mod recorder;

use std::fmt;
use std::time::Duration;

pub use latency::Latency;
#[cfg(feature = "metrics")]
pub use publish::publish;
pub(crate) use recorder::Recorder;

use crate::stats::{LevelStats, Stats};

/// Why writers wait, or are slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StallReason {
    /// Every memtable region is waiting for its flush.
    Memtables,
    /// Level 0 has as many tables as the options allow.
    Level0,
    /// The disk is full.
    Disk,
    /// The memory budget has no room for a flush or a compaction.
    Memory,
    /// Slowed down, so that the flush under way ends before the next memtable is full.
    FlushPace,
    /// Slowed down, so that compaction keeps up with level 0.
    Level0Pace,
}

impl StallReason {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Memtables, Self::Level0, Self::Disk, Self::Memory, Self::FlushPace, Self::Level0Pace];

    /// How many there are.
    pub(crate) const COUNT: usize = 6;

    pub(crate) fn place(self) -> usize {
        self as usize
    }

    /// A name for labels: lower case, words joined by underscores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memtables => "memtables",
            Self::Level0 => "level0",
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::FlushPace => "flush_pace",
            Self::Level0Pace => "level0_pace",
        }
    }

    /// Whether writers are slowed down rather than stopped.
    pub fn is_pace(self) -> bool {
        matches!(self, Self::FlushPace | Self::Level0Pace)
    }
}

impl fmt::Display for StallReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl StallReason {
    /// What the error of a writer that waited too long says.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Memtables => "every memtable region is waiting for its flush",
            Self::Level0 => "level 0 is being compacted",
            Self::Disk => crate::error::DISK_FULL,
            Self::Memory => crate::error::MEMORY_SHORT,
            Self::FlushPace => "writers are ahead of the flush",
            Self::Level0Pace => "writers are ahead of compaction",
        }
    }

    /// The reason behind what a job could not go on for.
    pub(crate) fn of_obstacle(obstacle: &str) -> Self {
        if obstacle == crate::error::DISK_FULL { Self::Disk } else { Self::Memory }
    }
}

/// Waits for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StallTotals {
    /// Waits that have ended.
    pub count: u64,
    /// How long writers waited, all together.
    pub total: Duration,
    /// The longest wait.
    pub longest: Duration,
}

/// Look-ups of single keys, by where they ended. A tombstone ends one too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reads {
    /// In a memtable.
    pub memtable_hits: u64,
    /// In a table, by its level.
    pub level_hits: Vec<u64>,
    /// Nowhere, or under a range tombstone.
    pub absent: u64,
    /// Visits of cursors: seeks, and each time that one goes on to what it has not fetched yet.
    pub visits: u64,
}

impl Reads {
    /// All look-ups.
    pub fn gets(&self) -> u64 {
        self.memtable_hits + self.level_hits.iter().sum::<u64>() + self.absent
    }
}

/// Writes, and how they reached the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Writes {
    /// Puts, deletes and batches, each one write.
    pub writes: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of their keys and values, large values as their references.
    pub bytes: u64,
    /// Groups of writes that were stored together. A write straight into the mapped log is of no group.
    pub groups: u64,
    /// Writes of all groups.
    pub group_writes: u64,
    /// Writes of the largest group.
    pub group_writes_max: u64,
    /// Syncs of the log.
    pub syncs: u64,
}

/// What compactions brought to one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevelFlow {
    /// Merges into the level.
    pub compactions: u64,
    /// Bytes of tables that came from above.
    pub bytes_in: u64,
    /// Bytes of tables of the level itself that they were merged with.
    pub bytes_merged: u64,
    /// Bytes of the tables written instead.
    pub bytes_out: u64,
    /// Bytes of tables that came as they were.
    pub bytes_moved: u64,
}

/// What a database did since it was opened: a snapshot, made by [`StorageEngine::metrics`](crate::StorageEngine::metrics).
///
/// Counts of other threads may be some operations behind, and are exact when those threads rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Metrics {
    /// Time since the database was opened.
    pub uptime: Duration,
    /// Levels, memtables, and the counts of [`StorageEngine::stats`](crate::StorageEngine::stats).
    pub stats: Stats,
    /// Look-ups.
    pub reads: Reads,
    /// Writes.
    pub writes: Writes,
    /// What compactions brought to each level, 0 first.
    pub compactions: Vec<LevelFlow>,
    /// Waits of writers, by reason. All reasons are there.
    pub stalls: Vec<(StallReason, StallTotals)>,
    /// One look-up of a single key in 64.
    pub get_latency: Latency,
    /// One write in 64, its waits included.
    pub write_latency: Latency,
    /// Every sync of the log.
    pub sync_latency: Latency,
    /// Bytes of tables that a policy would like to see merged: of levels beyond their size, and of a level 0 that is due.
    pub pending_compaction_bytes: u64,
    /// Panics of the [`EventListener`](crate::EventListener), which is not called after one.
    pub listener_panics: u64,
    /// Bytes of memory that the database accounts for, and how many it may.
    pub memory_used: usize,
    /// See `memory_used`.
    pub memory_budget: usize,
}

impl Metrics {
    /// Bytes written to tables for each byte that was flushed: how often compaction writes a byte anew, the flush included.
    /// `None` before the first flush.
    pub fn write_amplification(&self) -> Option<f64> {
        let Stats { flush_bytes_written: flushed, compaction_bytes_written: compacted, .. } = self.stats;
        (flushed > 0).then(|| (flushed + compacted) as f64 / flushed as f64)
    }

    /// Bytes of all tables for each byte of the deepest level that has any: how much of the space may be old versions. `None`
    /// without tables.
    pub fn space_amplification(&self) -> Option<f64> {
        let bytes = || self.stats.levels.iter().map(|level: &LevelStats| level.bytes);
        let deepest = bytes().rev().find(|&bytes| bytes > 0)?;
        Some(bytes().sum::<u64>() as f64 / deepest as f64)
    }

    /// Runs that a look-up may have to look into at worst: memtables apart, tables of level 0 and deeper levels.
    pub fn read_amplification(&self) -> usize {
        let Some((level0, deeper)) = self.stats.levels.split_first() else { return 0 };
        level0.table_count + deeper.iter().filter(|level| level.table_count > 0).count()
    }

    /// Block look-ups that the cache answered, of all; `None` before the first.
    pub fn cache_hit_share(&self) -> Option<f64> {
        let (hits, misses) = (self.stats.block_cache_hits, self.stats.block_cache_misses);
        (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
    }

    /// How long writers were stopped or slowed down, all together.
    pub fn stalled(&self) -> Duration {
        self.stalls.iter().map(|(_, totals)| totals.total).sum()
    }
}
