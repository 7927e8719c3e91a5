//! One compaction: a streaming merge of tables into the next level.
//!
//! Working set: one block of each table of level 0, one of each run below, one block and the output buffer of the table
//! being written, its index and the hashes of its keys; and the range tombstones of the inputs.

use std::ops::Bound;
use std::sync::Arc;

use kausal_index::{BlockIndex, Cursor};
use kausal_sstable::{MergingCursor, RunCursor, Table, TableError};

use crate::compaction::{Pick, pick};
use crate::core::Core;
use crate::error::Error;
use crate::flush::retire_blobs;
use crate::range_fragments::FragmentsBuilder;
use crate::read::View;
use crate::retention::Retention;
use crate::source::{NoMemtable, Source};
use crate::table_output::{TableOutput, Target, Workplace, Written};
use crate::version::{Change, TableFile};

impl<I: BlockIndex + 'static> Core<I> {
    /// Compacts until nothing is due.
    pub(crate) fn compact_due(self: &Arc<Self>) -> Result<(), Error> {
        self.compact_while_picked(false)
    }

    /// Compacts until all tables are on one level.
    pub(crate) fn compact_everything(&self) -> Result<(), Error> {
        self.compact_while_picked(true)
    }

    fn compact_while_picked(&self, everything: bool) -> Result<(), Error> {
        // One compaction at a time, so that no two take the same tables.
        let _turn = self.compaction_turn.lock();
        while !self.health.is_closed() {
            self.health.check_poisoned()?;
            let version = Arc::clone(&self.view().version);
            let visible = self.visible();
            let oldest_snapshot = self.snapshots.oldest().map_or(visible, |oldest| oldest.min(visible));
            let region_bytes = self.plan.region_bytes;
            let picked = pick(&version, &self.options, region_bytes, oldest_snapshot, everything);
            let Some(picked) = picked else { return Ok(()) };
            drop(version);
            self.compact(&picked)?;
            self.progress.signal();
        }
        Ok(())
    }

    fn compact(&self, picked: &Pick) -> Result<(), Error> {
        let inputs: Vec<Arc<TableFile>> = picked.upper.iter().chain(&picked.lower).cloned().collect();
        let (added, bytes) = match self.merge(picked)? {
            Some(merged) => merged,
            // The database is being closed: what was merged so far is gone, its inputs are not.
            None => return Ok(()),
        };
        let mut change = Change { removed: inputs, added, oldest_log: None };
        self.install(&mut change, |view, version| View {
            active: Arc::clone(&view.active),
            frozen: view.frozen.clone(),
            version,
        })?;
        for input in &change.removed {
            retire_blobs(input.blobs(), &change.added);
            input.mark_obsolete();
        }
        self.counters.compactions.add(1);
        self.counters.compaction_bytes_written.add(bytes);
        Ok(())
    }

    /// Merges the inputs into new tables; `None` if the database is closed meanwhile.
    fn merge(&self, picked: &Pick) -> Result<Option<Written>, Error> {
        let version = Arc::clone(&self.view().version);
        let budget = &self.plan.compaction;
        let blobs: Vec<_> = picked.upper.iter().chain(&picked.lower).flat_map(|file| file.blobs()).collect();
        let find_blob =
            |number| blobs.iter().find(|blob| blob.number() == number).map(|&blob| Arc::clone(blob));
        let place = Workplace {
            environment: &self.environment,
            directory: &self.directory,
            options: &self.options,
            budget,
            tables_budget: &self.plan.tables,
            new_number: &|| self.new_file_number(),
            blob: &find_blob,
        };
        let Some(tree) = version.tree(picked.keyspace) else { return Ok(Some((Vec::new(), 0))) };
        let default_bytes = (self.plan.region_bytes as u64).max(1 << 20);
        let file_bytes = self.options.table_bytes.unwrap_or(default_bytes);
        let target = Target { keyspace: picked.keyspace, level: picked.level as u8, file_bytes };
        let stripes = self.stripes();
        let mut fragments = FragmentsBuilder::new(budget)?;
        for file in picked.upper.iter().chain(&picked.lower) {
            file.table().range_tombstones().iter().try_for_each(|range| fragments.add(range))?;
        }
        let fragments = fragments
            .build(&stripes, |start, end| !tree.reaches_below(picked.level, start, Bound::Excluded(end)))?;
        let mut output = TableOutput::new(place, target, fragments);
        let mut retention = Retention::new(stripes);
        let upper: Vec<Arc<Table>> = picked.upper.iter().map(|file| Arc::clone(file.table())).collect();
        let lower: Vec<Arc<Table>> = picked.lower.iter().map(|file| Arc::clone(file.table())).collect();
        // An error names a table by its number; the path is that number's.
        let damage = |error: TableError| self.table_error(error);
        let mut sources: Vec<Source<'_, NoMemtable>> = Vec::with_capacity(upper.len() + 1);
        for table in &upper {
            sources.push(Source::Table(table.cursor(budget).map_err(damage)?));
        }
        sources.push(Source::Run(RunCursor::new(&lower, budget)?));
        let mut merge = MergingCursor::new(sources);
        let mut more = merge.seek_to_first().map_err(damage)?;
        while more {
            if self.health.is_closed() {
                return Ok(None);
            }
            if let Some(entry) = merge.entry()
                && retention.keeps(entry, output.fragments(), || {
                    !tree.reaches_below(picked.level, entry.key, Bound::Included(entry.key))
                })
            {
                output.add(entry)?;
            }
            more = merge.next().map_err(damage)?;
        }
        output.finish().map(Some)
    }
}
