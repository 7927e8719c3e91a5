//! Reads the logs that count, one after the other, and gathers their changes until there is no room.
//!
//! A batch that is gathered in part is read again: the next part begins behind the last change that was taken.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::SeqNo;

use super::gathered::Gathered;
use super::plan::{LogPlan, plan_logs};
use crate::batch::ChangeRef;
use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::{FileNumber, KeyspaceId};
use crate::manifest::ManifestState;
use crate::planted::is_planted;
use crate::recovery::{RecoveryReport, Salvaged};
use crate::vfs::{OpenMode, Vfs};
use crate::wal::{Extent, LogScan, RecoveredLog, Scanned, WINDOW_BYTES};

/// Where logs are read from, and with whose memory.
#[derive(Debug)]
pub(crate) struct LogSource {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) directory: PathBuf,
    pub(crate) database_id: u64,
    pub(crate) salvages: bool,
    /// Pays for windows.
    pub(crate) wal: Budget,
    /// Pays for what is gathered.
    pub(crate) compaction: Budget,
}

impl LogSource {
    fn open(&self, number: FileNumber, extent: Extent) -> Result<LogScan, Error> {
        let path = self.path(number);
        let file = self.vfs.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
        let charge = self.wal.reserve(WINDOW_BYTES)?;
        LogScan::open(file, &path, number, self.database_id, extent, self.salvages, charge)
    }

    fn path(&self, number: FileNumber) -> PathBuf {
        file_path(&self.directory, FileKind::Log(number))
    }
}

/// What was read of the logs.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The logs, with the last sequence number of each.
    pub(crate) logs: Vec<(RecoveredLog, SeqNo)>,
    pub(crate) last_seqno: SeqNo,
    /// Length of the longest frame.
    pub(crate) frame_bytes_max: u64,
    pub(crate) report: RecoveryReport,
}

/// Why gathering has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is more.
    Full,
    /// The next change has no room even where there is nothing else.
    TooLarge,
    /// That was all.
    End,
}

/// A log that is being read.
#[derive(Debug)]
struct Current {
    plan: LogPlan,
    scan: LogScan,
    /// The last number of the batches that were read whole.
    last: SeqNo,
    /// The last number that was taken of the next batch, if some was.
    taken: SeqNo,
}

/// Reads logs.
#[derive(Debug)]
pub(crate) struct LogReader {
    source: LogSource,
    plans: VecDeque<LogPlan>,
    current: Option<Current>,
    keyspaces: BTreeSet<KeyspaceId>,
    next_keyspace: KeyspaceId,
    replayed: Replayed,
}

impl LogReader {
    /// Finds out which logs count.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::NewerFormat`].
    pub(crate) fn new(source: LogSource, state: &ManifestState, files: &[FileKind]) -> Result<Self, Error> {
        let scan = |number, extent| source.open(number, extent);
        let plans = plan_logs(&source.directory, state, files, source.salvages, scan)?;
        let mut replayed = Replayed::default();
        let missing = plans.missing.into_iter();
        replayed.report.salvaged =
            missing.map(|number| Salvaged { file: source.path(number), offset: 0 }).collect();
        Ok(Self {
            source,
            plans: plans.logs.into(),
            current: None,
            keyspaces: state.keyspaces.keys().copied().chain([KeyspaceId::DEFAULT]).collect(),
            next_keyspace: state.next_keyspace,
            replayed,
        })
    }

    /// Gathers changes until there is no room for the next one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`Error::ChangeTooLarge`].
    pub(crate) fn fill(&mut self, gathered: &mut Gathered) -> Result<Filled, Error> {
        let is_all = self.take(|change, seqno| Ok(gathered.add(change, seqno)))?;
        Ok(match gathered.len() {
            _ if is_all => Filled::End,
            0 => Filled::TooLarge,
            _ => Filled::Full,
        })
    }

    /// Shows the next change to `work`.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill), and those of `work`.
    pub(crate) fn one(
        &mut self,
        work: impl FnOnce(ChangeRef<'_>, SeqNo) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut work = Some(work);
        self.take(|change, seqno| work.take().map_or(Ok(false), |work| work(change, seqno).map(|()| true)))?;
        Ok(())
    }

    /// What was read.
    pub(crate) fn end(self) -> Replayed {
        self.replayed
    }

    /// Shows changes to `work`, those of dropped keyspaces left out, until it takes one no more. Answers whether it took all.
    fn take(
        &mut self,
        mut work: impl FnMut(ChangeRef<'_>, SeqNo) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => match self.plans.pop_front() {
                    Some(plan) => {
                        self.replayed.report.log_count += 1;
                        let scan = self.source.open(plan.number, plan.extent)?;
                        Current { plan, scan, last: SeqNo::ZERO, taken: SeqNo::ZERO }
                    }
                    None => return Ok(true),
                },
            };
            let Some((end, dropped)) = self.take_from(&mut current, &mut work)? else {
                self.current = Some(current);
                return Ok(false);
            };
            self.end_log(&current, end, dropped);
        }
    }

    /// The same for one log. Answers where it ends and how many bytes are dropped behind it, or nothing if there is more.
    fn take_from(
        &mut self,
        current: &mut Current,
        work: &mut impl FnMut(ChangeRef<'_>, SeqNo) -> Result<bool, Error>,
    ) -> Result<Option<(u64, u64)>, Error> {
        loop {
            let offset = current.scan.offset();
            let batch = match current.scan.next()? {
                Scanned::Batch(batch) => batch,
                Scanned::End { end, dropped } => return Ok(Some((end, dropped))),
            };
            if is_planted("replay_holds_the_log") && current.taken == SeqNo::ZERO {
                let values = batch.changes().map(|(_, change)| change.value.len());
                std::mem::forget(self.source.compaction.reserve(values.sum())?);
            }
            let skipped = current.plan.flushed.max(current.taken);
            let mut is_whole = true;
            for (seqno, change) in batch.changes().filter(|(seqno, _)| *seqno > skipped) {
                if change.keyspace >= self.next_keyspace {
                    let what = Damage::Keyspace(change.keyspace);
                    return Err(Error::corruption(&self.source.path(current.plan.number), offset, what));
                }
                // A change of a keyspace that was dropped later is gone with it.
                is_whole = !self.keyspaces.contains(&change.keyspace) || work(change, seqno)?;
                if !is_whole {
                    break;
                }
                current.taken = seqno;
            }
            let last = batch.last();
            if !is_whole {
                current.scan.go_back(offset);
                return Ok(None);
            }
            (current.last, current.taken) = (current.last.max(last), SeqNo::ZERO);
            self.replayed.report.batch_count += 1;
            let bytes = current.scan.offset() - offset;
            self.replayed.frame_bytes_max = self.replayed.frame_bytes_max.max(bytes);
        }
    }

    fn end_log(&mut self, current: &Current, end: u64, dropped: u64) {
        let Current { plan, scan, last, .. } = current;
        let replayed = &mut self.replayed;
        replayed.report.dropped_bytes += dropped;
        replayed.last_seqno = replayed.last_seqno.max(*last);
        let synced = plan.extent.trusted.max(scan.synced_through()).min(end);
        let log = RecoveredLog { number: plan.number, len: end, synced, flushed: plan.flushed };
        replayed.logs.push((log, *last));
        if let Some(offset) = scan.damaged() {
            let file = self.source.path(plan.number);
            replayed.report.salvaged.push(Salvaged { file, offset });
        }
        if plan.expected_end.is_some_and(|expected| expected != end) {
            replayed.report.dropped_log_count = self.plans.len();
            self.plans.clear();
        }
    }
}
