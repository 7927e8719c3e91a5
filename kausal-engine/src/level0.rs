//! How many tables level 0 may gather, by whether anybody looks into them.
//!
//! A merge of level 0 is made for readers: each table there is a filter to ask, and an input of every walk. For the disk it
//! is a loss, the more so the fewer tables it takes, because the level below is written anew with each of them. So:
//!
//! 1. Where tables are read, they are merged from 4 on, and writers wait at 12.
//! 2. Where nobody reads, they are merged from 12 on, and writers wait at 24. When writes end, the tree is settled as ever.
//! 3. A memtable is the span that is judged: when one has become a table, look-ups that went beyond memtables and visits of cursors
//!    since the last one are weighed against the changes. All of them are counted for the metrics in any case, each thread in
//!    a cell of its own, so no reader does more for this.
//!
//! That a merge policy should follow the mix of reads and writes is Dostoevsky's (Dayan and Idreos, SIGMOD 2018). Whoever sets
//! [`Options::level0_compaction_count`] has what he sets, whoever reads.

use kausal_arena::sync::{AtomicBool, Mutex, Ordering};

use crate::metrics::Recorder;
use crate::options::Options;

/// Tables that are due, and at which writers wait, where tables are read.
const READ: Level0Limits = Level0Limits { due: 4, stop: 12 };

/// The same where they are only written.
const WRITTEN: Level0Limits = Level0Limits { due: 12, stop: 24 };

/// A visit of a cursor looks into every table, a look-up only into those whose filter does not deny the key.
const LOOKUPS_PER_VISIT: u64 = 4;

/// Tables are read where there is a look-up for so many changes.
const CHANGES_PER_LOOKUP: u64 = 2;

/// When level 0 has too many tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level0Limits {
    /// From so many on they are compacted; at least 1.
    pub(crate) due: usize,
    /// At so many writers that need a new memtable wait.
    pub(crate) stop: usize,
}

/// What readers and writers had done at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Look-ups that no memtable answered.
    pub(crate) lookups: u64,
    /// Seeks of cursors, and chunks beyond them.
    pub(crate) visits: u64,
    /// Changes written.
    pub(crate) changes: u64,
}

/// Whether tables are read, as far as is known.
#[derive(Debug)]
pub(crate) struct TableUse {
    /// Until a memtable was judged nobody knows, and readers must not pay for that.
    are_read: AtomicBool,
    judged: Mutex<Done>,
}

impl Default for TableUse {
    fn default() -> Self {
        Self { are_read: AtomicBool::new(true), judged: Mutex::new(Done::default()) }
    }
}

impl TableUse {
    /// Judges what was done since the last time. To be called when a memtable has become a table.
    pub(crate) fn judge(&self, metrics: &Recorder) {
        let now = metrics.done();
        let before = std::mem::replace(&mut *self.judged.lock(), now);
        // Relaxed: a hint; who sees the old one merges a little early or late.
        self.are_read.store(are_read(before, now), Ordering::Relaxed);
    }

    /// The limits that hold now.
    #[inline]
    pub(crate) fn limits(&self, options: &Options) -> Level0Limits {
        let usual = if self.are_read.load(Ordering::Relaxed) { READ } else { WRITTEN };
        let due = options.level0_compaction_count.unwrap_or(usual.due).max(1);
        Level0Limits {
            due,
            stop: options.level0_stall_count.unwrap_or(usual.stop.max(due.saturating_mul(2))),
        }
    }
}

/// Whether what was done between two times is reason enough to keep tables few.
fn are_read(before: Done, now: Done) -> bool {
    let lookups = now.lookups.wrapping_sub(before.lookups);
    let visits = now.visits.wrapping_sub(before.visits);
    let changes = now.changes.wrapping_sub(before.changes);
    let weight = lookups.saturating_add(visits.saturating_mul(LOOKUPS_PER_VISIT));
    weight.saturating_mul(CHANGES_PER_LOOKUP) >= changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_after(lookups: u64, visits: u64, changes: u64) -> Level0Limits {
        let tables = TableUse::default();
        let done = Done { lookups, visits, changes };
        tables.are_read.store(are_read(Done::default(), done), Ordering::Relaxed);
        tables.limits(&Options::new())
    }

    #[test]
    fn tables_are_kept_few_where_they_are_read() {
        assert_eq!(TableUse::default().limits(&Options::new()), READ);
        assert_eq!(limits_after(0, 0, 1_000), WRITTEN);
        assert_eq!(limits_after(499, 0, 1_000), WRITTEN);
        assert_eq!(limits_after(500, 0, 1_000), READ);
        assert_eq!(limits_after(0, 125, 1_000), READ);
        assert_eq!(limits_after(u64::MAX, u64::MAX, u64::MAX), READ);
        // A flush that was asked for, with hardly anything to write.
        assert_eq!(limits_after(0, 0, 0), READ);
    }

    #[test]
    fn what_is_set_holds_whoever_reads() {
        let tables = TableUse::default();
        for are_read in [true, false] {
            tables.are_read.store(are_read, Ordering::Relaxed);
            let options = Options::new().level0_compaction_count(6).level0_stall_count(9);
            assert_eq!(tables.limits(&options), Level0Limits { due: 6, stop: 9 });
            let options = Options::new().level0_compaction_count(100);
            assert_eq!(tables.limits(&options), Level0Limits { due: 100, stop: 200 });
            assert_eq!(tables.limits(&Options::new().level0_compaction_count(0)).due, 1);
            // Whoever wants level 0 never to be compacted says so.
            let never = Options::new().level0_compaction_count(usize::MAX);
            assert_eq!(tables.limits(&never), Level0Limits { due: usize::MAX, stop: usize::MAX });
        }
    }
}
