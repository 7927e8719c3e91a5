//! Which logs an open has to read, and what is known of each before: from the manifest, from the log after it, from a clean close.

use std::collections::BTreeMap;
use std::path::Path;

use kausal_index::SeqNo;

use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::manifest::ManifestState;
use crate::wal::{Extent, LogScan, PreviousLog, Scanned};

/// A log to be replayed, as its header and the logs after it have it.
#[derive(Debug)]
pub(crate) struct LogPlan {
    pub(crate) number: FileNumber,
    pub(crate) extent: Extent,
    /// Where the log after it, or the manifest, says that this one ended.
    pub(crate) expected_end: Option<u64>,
    /// Tables hold its changes up to this one.
    pub(crate) flushed: SeqNo,
}

/// Which logs count.
#[derive(Debug)]
pub(crate) struct LogPlans {
    /// Oldest first.
    pub(crate) logs: Vec<LogPlan>,
    /// Logs that were synced and are not there, if that is let pass.
    pub(super) missing: Vec<FileNumber>,
}

/// Which logs count, and what is known of each. A chain that a missing log breaks ends before it.
pub(crate) fn plan_logs(
    directory: &Path,
    state: &ManifestState,
    files: &[FileKind],
    salvages: bool,
    scan: impl Fn(FileNumber, Extent) -> Result<LogScan, Error>,
) -> Result<LogPlans, Error> {
    let mut numbers: Vec<FileNumber> = files
        .iter()
        .filter_map(|kind| match kind {
            // Behind the last log of a clean close there is only what an open left that crashed.
            FileKind::Log(number) if state.current.clean_log.is_some_and(|log| *number > log.number) => None,
            FileKind::Log(number) if state.needs_log(*number) => Some(*number),
            _ => None,
        })
        .collect();
    numbers.sort();
    let mut plans: BTreeMap<FileNumber, LogPlan> = BTreeMap::new();
    let mut is_synced = state.current.clean_log.is_some();
    let mut trusted = state.current.clean_log.map_or(0, |log| log.len);
    let mut missing = Vec::new();
    let mut miss = |number| {
        missing.push(number);
        let path = file_path(directory, FileKind::Log(number));
        if salvages { Ok(()) } else { Err(Error::corruption(&path, 0, Damage::LogMissing)) }
    };
    if let Some(log) = state.current.clean_log
        && numbers.last() != Some(&log.number)
    {
        miss(log.number)?;
    }
    let mut expected_end = None;
    for (place, &number) in numbers.iter().enumerate().rev() {
        let recovered = state.recovered_logs.iter().find(|log| log.number == number);
        let extent = Extent {
            trusted: recovered.map_or(0, |log| log.synced).max(trusted),
            limit: recovered.map(|log| log.len),
        };
        let flushed = recovered.map_or(SeqNo::ZERO, |log| log.flushed);
        plans.insert(number, LogPlan { number, extent, expected_end, flushed });
        let mut log = scan(number, extent)?;
        let previous = previous_of(state, number, numbers.get(place.wrapping_sub(1)), &log);
        if place == 0 && previous.is_none() {
            // Nothing comes before it: the replay reads it.
            break;
        }
        while let Scanned::Batch(_) = log.next()? {}
        is_synced |= log.synced_through() > 0;
        (trusted, expected_end) = (0, None);
        let Some(previous) = previous else { continue };
        let is_recovered = state.recovered_logs.iter().any(|log| log.number == previous.number);
        if numbers.contains(&previous.number) {
            trusted = if is_synced { previous.len } else { 0 };
            expected_end = Some(previous.len);
        } else {
            // The name of a recovered log is durable.
            if is_synced || is_recovered {
                miss(previous.number)?;
            }
            // A hole: this log and all later ones come after something that is lost.
            plans.retain(|&kept, _| kept < number);
        }
    }
    Ok(LogPlans { logs: plans.into_values().collect(), missing })
}

/// The log before the one that is being scanned, whose number comes behind `before` among those that are there: as the manifest has
/// it if that one was recovered, else as the header has it.
fn previous_of(
    state: &ManifestState,
    number: FileNumber,
    before: Option<&FileNumber>,
    log: &LogScan,
) -> Option<PreviousLog> {
    if number < state.oldest_log || before.is_none_or(|&before| before < state.oldest_log) {
        let mut recovered = state.recovered_logs.iter().rev();
        if let Some(last) = recovered.find(|log| log.number < number) {
            return Some(PreviousLog { number: last.number, len: last.len });
        }
    }
    log.previous().filter(|previous| previous.number >= state.oldest_log)
}
