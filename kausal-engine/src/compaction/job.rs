//! One compaction: a streaming merge of tables into the next level, whole or in [parts](super::parts) at the same time.
//!
//! Working set of each part: one block of each table of level 0, one of each run below, one block and the output buffer of the
//! table being written, its index and the hashes of its keys; and the range tombstones of the inputs.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use kausal_arena::{AllocError, Budget};
use kausal_index::{BlockIndex, Cursor, EntryRef, SeqNo};
use kausal_sstable::{MergingCursor, PooledBuffer, RunCursor, Table, TableError};

use crate::compaction::parts::Part;
use crate::compaction::{Goal, Pick, Setting, TreeShape, pick};
use crate::core::Core;
use crate::error::Error;
use crate::event::Ticket;
use crate::flush::retire_blobs;
use crate::job_memory::JobMemory;
use crate::listener::EngineEvent;
use crate::pace::{JobPace, JobState};
use crate::planted::is_planted;
use crate::range_fragments::{FragmentsBuilder, RangeFragments};
use crate::read::View;
use crate::retention::{Retention, Stripes};
use crate::scheduler::{Lane, Waited};
use crate::source::{NoMemtable, Source};
use crate::table_output::{TableOutput, Target, Written};
use crate::version::{Change, TableFile, Tree, Version};

/// Part of the compaction's memory that one of [`AHEAD_RUNS`] inputs may read ahead.
const AHEAD_SHARE: usize = 64;

/// Where there are more inputs than these, they share what these may read ahead.
const AHEAD_RUNS: usize = 5;

/// Where reading ahead ends with a large budget: what a cursor does by itself.
const AHEAD_BYTES_MAX: u64 = 128 << 10;

/// Between two looks whether a merge is over before its end.
const LOOK_ENTRIES: u64 = 256;

/// For so long nothing has to be written before the next try, after merges that were given up.
const SETTLE_AFTER_MAX: Duration = Duration::from_secs(60);

/// Who a merge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Writers, or somebody who asked for it.
    Due,
    /// Readers: it is given up when a memtable is full.
    AtRest,
}

/// How an attempt to settle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rested {
    /// Nothing is left to do.
    Done,
    /// Somebody wrote before it began: it may be worth it later.
    Interrupted,
    /// A memtable was full before a merge had ended.
    GivenUp,
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Compacts until nothing is due, and until the tree is settled if nobody writes meanwhile.
    pub(crate) fn compact_due(self: &Arc<Self>) -> Result<(), Error> {
        let mut rest = self.options.settle_after;
        loop {
            // Taken before anything is picked: what a flush adds after that moves the event past it.
            let ticket = self.progress.ticket();
            self.compact_while_picked(Goal::Due)?;
            let Some(wait) = rest else { return Ok(()) };
            match self.settle(ticket, wait)? {
                Rested::Done => return Ok(()),
                Rested::Interrupted => {}
                // Whoever writes in bursts shall not pay for a merge in each pause.
                Rested::GivenUp => rest = Some((2 * wait).min(SETTLE_AFTER_MAX)),
            }
        }
    }

    /// Does what is worth it when nobody writes, once nothing was written for `wait`.
    fn settle(self: &Arc<Self>, ticket: Ticket, wait: Duration) -> Result<Rested, Error> {
        let is_over = || self.health.is_closed() || self.background.is_paused();
        let has_spares = !self.plan.tables.spares().is_empty();
        if is_over() || self.pick(Goal::Settled).is_none() && !has_spares {
            return Ok(Rested::Done);
        }
        let written = self.visible();
        let until = self.environment.clock.now() + wait;
        let waited = self.environment.scheduler.wait(&self.progress, ticket, Some(until));
        if waited == Waited::Signalled || self.visible() != written {
            return Ok(Rested::Interrupted);
        }
        if self.read_view(|view| !view.frozen.is_empty()) {
            // What would be begun now would be given up. The flush that takes the memtable away asks for compaction again.
            return Ok(Rested::Done);
        }
        let _turn = self.compaction_turn.lock();
        while !is_over() {
            self.health.check_poisoned()?;
            let Some(picked) = self.pick(Goal::Settled) else { break };
            if !self.compact(picked, Urgency::AtRest)? {
                return Ok(Rested::GivenUp);
            }
            self.progress.signal();
        }
        // Nobody is about to write a table.
        self.clear_spare_tables();
        Ok(Rested::Done)
    }

    /// Compacts until all that was written up to `through` is on one level of its keyspace.
    pub(crate) fn compact_everything(self: &Arc<Self>, through: SeqNo) -> Result<(), Error> {
        let compacted = self.compact_while_picked(Goal::Everything(through));
        // Whoever asks for it wants the space.
        self.clear_spare_tables();
        compacted
    }

    fn compact_while_picked(self: &Arc<Self>, goal: Goal) -> Result<(), Error> {
        // One compaction at a time, so that no two take the same tables.
        let _turn = self.compaction_turn.lock();
        while !self.health.is_closed() {
            self.health.check_poisoned()?;
            if goal == Goal::Due && self.background.is_paused() {
                return Ok(());
            }
            let Some(picked) = self.pick(goal) else { return Ok(()) };
            self.compact(picked, Urgency::Due)?;
            self.progress.signal();
        }
        Ok(())
    }

    fn pick(&self, goal: Goal) -> Option<Pick> {
        let version = Arc::clone(&self.view().version);
        let visible = self.visible();
        let oldest_snapshot = self.snapshots.oldest().map_or(visible, |oldest| oldest.min(visible));
        pick(&version, &*self.compaction_policy, self.setting(), oldest_snapshot, goal)
    }

    fn setting(&self) -> Setting<'_> {
        let memtable_bytes = self.plan.region_bytes as u64;
        Setting { options: &self.options, memtable_bytes, level0: self.level0_limits() }
    }

    /// Bytes of the tables that a policy would take if it were asked again and again without anything new coming: those of a
    /// level 0 that is due, and what deeper levels have beyond their size. An estimate for people.
    pub(crate) fn pending_compaction_bytes(&self) -> u64 {
        let view = self.view();
        let trees = view.version.trees().iter();
        trees.map(|tree| TreeShape { tree, setting: self.setting() }.pending_bytes()).sum()
    }

    /// Whether there is something to compact, so that waiting for it makes sense.
    pub(crate) fn is_compaction_due(&self) -> bool {
        self.pick(Goal::Due).is_some()
    }

    /// Merges what was picked. Answers `false` if it was given up, or the database is being closed.
    pub(super) fn compact(self: &Arc<Self>, picked: Pick, urgency: Urgency) -> Result<bool, Error> {
        if is_move(&picked) {
            return self.move_tables(&picked).map(|()| true);
        }
        let merge = Arc::new(Merge::new(self, picked, urgency));
        let picked = &merge.picked;
        let inputs: Vec<Arc<TableFile>> = picked.inputs().cloned().collect();
        crate::trace::span!(
            "compaction",
            keyspace = picked.keyspace.0,
            level = picked.level,
            tables = inputs.len()
        );
        let begun = self.environment.clock.now();
        let level0_taken = picked.inputs().filter(|file| file.meta().level == 0).count();
        let _running = self.flow.begin_job(Lane::Compaction, level0_taken);
        self.tell_begun(picked);
        let merged = if picked.drops { Ok(Some((Vec::new(), 0))) } else { self.merge(&merge) };
        let merged = match merged {
            // All runs at once take more than there is: blocks of one entry, each as long as one may be.
            Err(Error::MemoryBudget(error)) => {
                let fewer = picked.with_fewer_runs().ok_or(error)?;
                return self.compact(fewer, urgency);
            }
            merged => merged?,
        };
        // `None` if it was given up: what was merged so far is gone, its inputs are not.
        let Some((added, bytes)) = merged else { return Ok(false) };
        let stays = |file: &&Arc<TableFile>| usize::from(file.meta().level) == picked.level;
        let merged_bytes: u64 = inputs.iter().filter(stays).map(|file| file.meta().file_bytes).sum();
        let input_bytes: u64 = inputs.iter().map(|file| file.meta().file_bytes).sum();
        let mut change = Change { removed: inputs, added, oldest_log: None };
        self.install_new(&mut change, |view, version| View { version, ..view.clone() })?;
        for input in &change.removed {
            retire_blobs(input.blobs(), &change.added);
            input.retire();
        }
        self.counters.compactions.add(1);
        self.counters.compaction_bytes_written.add(bytes);
        self.tell_tables(&change.removed, &change.added);
        self.tell_completed(picked, change.added.len(), bytes, begun);
        self.metrics.count_compaction(picked.level, input_bytes - merged_bytes, merged_bytes, bytes);
        Ok(true)
    }

    fn tell_begun(&self, picked: &Pick) {
        self.events.tell(|| EngineEvent::CompactionBegun {
            keyspace: picked.keyspace,
            level: picked.level,
            table_count: picked.inputs().count(),
            bytes: picked.inputs().map(|file| file.meta().file_bytes).sum(),
        });
    }

    fn tell_completed(&self, picked: &Pick, table_count: usize, bytes: u64, begun: Duration) {
        let took = self.environment.clock.now().saturating_sub(begun);
        let (keyspace, level) = (picked.keyspace, picked.level);
        self.events.tell(|| EngineEvent::CompactionCompleted { keyspace, level, table_count, bytes, took });
    }

    /// Tables that overlap nothing below only change their level.
    fn move_tables(&self, picked: &Pick) -> Result<(), Error> {
        let removed: Vec<Arc<TableFile>> = picked.inputs().cloned().collect();
        let added = removed.iter().map(|file| Arc::new(file.on_level(picked.level as u8))).collect();
        let mut change = Change { removed, added, oldest_log: None };
        self.install(&mut change, |view, version| View { version, ..view.clone() })?;
        self.counters.tables_moved.add(change.added.len() as u64);
        let bytes = change.added.iter().map(|file| file.meta().file_bytes).sum();
        self.tell_tables(&change.removed, &change.added);
        self.metrics.count_move(picked.level, bytes);
        Ok(())
    }

    /// Merges the inputs into new tables; `None` if it was given up.
    fn merge(self: &Arc<Self>, merge: &Arc<Merge>) -> Result<Option<Written>, Error> {
        if is_planted("compaction_holds_inputs") {
            let bytes = merge.picked.inputs().map(|file| file.meta().file_bytes as usize).sum();
            drop(self.plan.compaction.budget().reserve(bytes)?);
        }
        if let Some(merged) = self.try_merge_in_parts(merge)? {
            return Ok(merged);
        }
        self.merge_part(merge, Part::default(), &self.plan.compaction)
    }

    /// Merges what the inputs have of a part's keys, in `memory`.
    pub(super) fn merge_part(
        &self,
        merge: &Merge,
        part: Part<'_>,
        memory: &JobMemory,
    ) -> Result<Option<Written>, Error> {
        let Merge { picked, version, stripes, given_up_after, state } = merge;
        let budget = memory.budget();
        let blobs: Vec<_> = picked.inputs().flat_map(|file| file.blobs()).collect();
        let find_blob =
            |number| blobs.iter().find(|blob| blob.number() == number).map(|&blob| Arc::clone(blob));
        let new_number = || self.new_file_number();
        let entry_count = picked.inputs().map(|file| file.meta().entry_count).sum();
        let is_deep = picked.inputs().all(|file| file.meta().level > 0);
        let pace = JobPace::new(self, Lane::Compaction, entry_count, state).deep(is_deep);
        let pace = pace.given_up_after(*given_up_after);
        let place = self.workplace(memory, &new_number, &find_blob, &pace);
        let Some(tree) = version.tree(picked.keyspace) else { return Ok(Some((Vec::new(), 0))) };
        let file_bytes = self.table_bytes();
        let target = Target { keyspace: picked.keyspace, level: picked.level as u8, file_bytes };
        let mut output = TableOutput::new(place, target, merge.fragments(tree, part, budget)?);
        let mut retention = Retention::new(stripes.clone());
        let runs = part_of_runs(&picked.runs, part);
        // An error names a table by its number; the path is that number's.
        let damage = |error: TableError| self.table_error(error);
        let mut sources: Vec<Source<'_, NoMemtable, PooledBuffer<'_>>> = Vec::with_capacity(runs.len());
        for run in &runs {
            let mut cursor = RunCursor::from_source(run, memory.buffers().lend()?);
            cursor.set_read_ahead(ahead_bytes(budget, runs.len()));
            sources.push(Source::Run(cursor));
        }
        let mut cursor = MergingCursor::new(sources);
        let is_there = match part.lower {
            Some(lower) => cursor.seek(lower, SeqNo::MAX),
            None => cursor.seek_to_first(),
        };
        let is_there = is_there.map_err(damage)?;
        let (mut entries, mut ended) = (0_u64, Ok(()));
        let mut keep = |entry: EntryRef<'_>| {
            if part.upper.is_some_and(|upper| entry.key >= upper) {
                return Err(Ended::AtUpper);
            }
            entries += 1;
            if entries.is_multiple_of(LOOK_ENTRIES) && pace.is_over() {
                return Err(Ended::GivenUp);
            }
            let is_bottom = || !tree.reaches_below(picked.level, entry.key, Bound::Included(entry.key));
            if retention.keeps(entry, output.fragments(), is_bottom) {
                output.add(entry).map_err(Ended::Failed)?;
            }
            output.step();
            Ok(())
        };
        if is_there {
            cursor
                .walk(|entry| {
                    ended = keep(entry);
                    ended.is_ok()
                })
                .map_err(damage)?;
        }
        match ended {
            Ok(()) | Err(Ended::AtUpper) => output.finish().map(Some),
            Err(Ended::GivenUp) => Ok(None),
            Err(Ended::Failed(error)) => Err(error),
        }
    }
}

/// What all who merge parts of one compaction have in common.
pub(super) struct Merge {
    pub(super) picked: Pick,
    version: Arc<Version>,
    /// The same for all parts: what one of them leaves out is not missed by another.
    stripes: Stripes,
    /// Flushes that had ended when it began, if it is given up for the next one.
    given_up_after: Option<u64>,
    pub(super) state: JobState,
}

impl Merge {
    fn new<I: BlockIndex + 'static>(core: &Core<I>, picked: Pick, urgency: Urgency) -> Self {
        let version = Arc::clone(&core.view().version);
        let given_up_after = (urgency == Urgency::AtRest).then(|| core.counters.flushes.get());
        Self { picked, version, stripes: core.stripes(), given_up_after, state: JobState::default() }
    }

    /// The range tombstones of the inputs over the keys of a part.
    fn fragments(&self, tree: &Tree, part: Part<'_>, budget: &Budget) -> Result<RangeFragments, AllocError> {
        let mut fragments = FragmentsBuilder::new(budget)?;
        for file in self.picked.inputs() {
            let mut ranges = file.table().range_tombstones().iter().filter_map(|range| part.clip(range));
            ranges.try_for_each(|range| fragments.add(range))?;
        }
        let is_bottom =
            |start: &[u8], end: &[u8]| !tree.reaches_below(self.picked.level, start, Bound::Excluded(end));
        fragments.build(&self.stripes, is_bottom)
    }
}

/// Why a merge ended before all was read.
enum Ended {
    /// What comes is of the next part.
    AtUpper,
    GivenUp,
    Failed(Error),
}

/// What the cursor of one of `runs` may read ahead. It stays held: it must not take the room that a later block, or the output,
/// will need.
pub(super) fn ahead_bytes(budget: &Budget, runs: usize) -> u64 {
    let all = budget.ceiling() / AHEAD_SHARE * AHEAD_RUNS;
    ((all / runs.max(AHEAD_RUNS)) as u64).min(AHEAD_BYTES_MAX)
}

/// The tables that may have entries of a part, run by run.
fn part_of_runs(runs: &[Vec<Arc<TableFile>>], part: Part<'_>) -> Vec<Vec<Arc<Table>>> {
    // A run ends for its cursor where a table has no entry: such a one holds range tombstones only.
    let has_entries = |file: &&Arc<TableFile>| file.meta().entry_count > 0 && part.overlaps(file.meta());
    let tables_of = |run: &Vec<Arc<TableFile>>| {
        run.iter().filter(has_entries).map(|file| Arc::clone(file.table())).collect()
    };
    runs.iter().map(tables_of).filter(|tables: &Vec<Arc<Table>>| !tables.is_empty()).collect()
}

/// Whether the tables can go to their new level as they are: they are one run, and a merge would leave nothing out.
fn is_move(picked: &Pick) -> bool {
    let stays = |file: &Arc<TableFile>| usize::from(file.meta().level) == picked.level;
    let has_work = |file: &Arc<TableFile>| stays(file) || file.meta().has_garbage();
    !picked.drops && picked.runs.len() == 1 && !picked.inputs().any(has_work)
}
