//! From a policy's step to the tables that are merged, so that no older version ever comes to lie above a newer one.
//!
//! What nobody can see any more does not wait until a policy finds its level full: see `reclaim`. Nor does it when the user asks
//! for everything to be compacted.

use std::ops::Bound;
use std::sync::Arc;

use kausal_index::SeqNo;

use crate::compaction::{CompactionPolicy, Setting, Step, TreeShape};
use crate::ids::KeyspaceId;
use crate::planted::is_planted;
use crate::version::{LEVEL_COUNT, TableFile, Tree, Version};

/// Runs merged at once, at most: a level 0 that is due where nobody reads, and the level below. With the longest values the
/// memory plan has not room for all of them; then it is half as many.
const RUNS_MAX: usize = 13;

/// How many times as large as level 0 a level is that level 0 is not merged with at once.
const IN_PARTS_FROM: u64 = 4;

/// What is asked of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Whatever is due.
    Due,
    /// Whatever is due, and beyond that what the policy finds worth doing when nobody writes.
    Settled,
    /// Whatever is due, and all that was written up to this number on one level of each keyspace. What comes later is not waited
    /// for: beside a writer there would be no end.
    Everything(SeqNo),
}

/// Tables to be merged into `level`.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) keyspace: KeyspaceId,
    /// The level that the outputs go to.
    pub(crate) level: usize,
    /// Newest first. Each is a table of level 0, or tables of another level in order of their keys.
    pub(crate) runs: Vec<Vec<Arc<TableFile>>>,
    /// Whether the tables are dropped rather than merged.
    pub(crate) drops: bool,
}

impl Pick {
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.runs.iter().flatten()
    }

    /// The same for about half of the runs, the oldest, if that is still a merge: what is left out is newer and stays above.
    pub(super) fn with_fewer_runs(&self) -> Option<Self> {
        let kept = self.runs.len().div_ceil(2).max(2);
        let spare = self.runs.len().checked_sub(kept).filter(|&spare| spare > 0)?;
        let Self { keyspace, level, drops, .. } = *self;
        Some(Self { keyspace, level, runs: self.runs[spare..].to_vec(), drops })
    }
}

/// The most urgent compaction of any keyspace, if one is due or asked for.
pub(crate) fn pick(
    version: &Version,
    policy: &dyn CompactionPolicy,
    setting: Setting<'_>,
    oldest_snapshot: SeqNo,
    goal: Goal,
) -> Option<Pick> {
    let proposals = version.trees().iter().filter_map(|tree| {
        let proposal = policy.propose(&TreeShape { tree, setting })?;
        Some((proposal.urgency, tree, proposal.step))
    });
    let due = proposals.filter(|due| due.0 >= 1.0).max_by(|left, right| left.0.total_cmp(&right.0));
    if let Some(picked) = due.and_then(|(_, tree, step)| take(tree, step)) {
        return Some(picked);
    }
    if !policy.merges() {
        return None;
    }
    let mut trees = version.trees().iter();
    let reclaimed = trees.find_map(|tree| reclaim(tree, oldest_snapshot));
    if reclaimed.is_some() || goal == Goal::Due {
        return reclaimed;
    }
    if goal == Goal::Settled {
        let mut steps = version.trees().iter().filter_map(|tree| {
            let step = policy.settle(&TreeShape { tree, setting })?;
            take(tree, step)
        });
        return steps.next();
    }
    let Goal::Everything(through) = goal else { return None };
    version.trees().iter().find_map(|tree| downwards(tree, through))
}

/// A step towards all of `tree` that was written up to `through` being on one level.
///
/// Level 0 goes down whole, deeper levels table by table: what becomes due meanwhile comes in between.
fn downwards(tree: &Tree, through: SeqNo) -> Option<Pick> {
    let is_old = |file: &Arc<TableFile>| file.meta().seqno_min <= through;
    let below = |level: usize| (level + 1..LEVEL_COUNT).find(|&level| !tree.level(level).files().is_empty());
    let level0 = level0_from(tree, is_old);
    if level0 > 0 {
        let target = match below(0) {
            // All of a large level in one merge would let level 0 wait for too long: sorted it goes down in parts.
            Some(level) if tree.level(level).bytes() > IN_PARTS_FROM * tree.level(0).bytes() => 1,
            below => below.unwrap_or(LEVEL_COUNT - 1),
        };
        return take(tree, Step::Runs { level0, through: 0, target });
    }
    let (level, file) = (1..LEVEL_COUNT)
        .find_map(|level| Some((level, tree.level(level).files().iter().find(|&file| is_old(file))?)))?;
    Some(with_lower(tree, below(level)?, vec![vec![Arc::clone(file)]]))
}

/// Tables of level 0 from the newest on that is asked for: the older ones lie behind it.
pub(super) fn level0_from(tree: &Tree, is_asked_for: impl Fn(&Arc<TableFile>) -> bool) -> usize {
    let files = tree.level(0).files();
    files.iter().position(is_asked_for).map_or(0, |newest| files.len() - newest)
}

/// The tables of a step, if it is one.
pub(super) fn take(tree: &Tree, step: Step) -> Option<Pick> {
    match step {
        Step::Runs { level0, through, target } => take_runs(tree, level0, through, target),
        Step::Table { level, place } => {
            let file =
                tree.level(level).files().get(place).filter(|_| level > 0 && level + 1 < LEVEL_COUNT)?;
            Some(with_lower(tree, level + 1, vec![vec![Arc::clone(file)]]))
        }
        Step::DropOldest { tables } => {
            let files = tree.level(0).files();
            let oldest = files.len().saturating_sub(tables);
            let runs: Vec<_> = files[oldest..].iter().map(|file| vec![Arc::clone(file)]).collect();
            (!runs.is_empty()).then(|| Pick { keyspace: tree.keyspace(), level: 0, runs, drops: true })
        }
    }
}

fn take_runs(tree: &Tree, level0: usize, through: usize, target: usize) -> Option<Pick> {
    let through = through.min(LEVEL_COUNT - 1);
    let fresh = tree.level(0).files();
    // The oldest are at the end; newer ones stay above what becomes of these.
    let mut runs: Vec<Vec<_>> =
        fresh[fresh.len().saturating_sub(level0)..].iter().map(|file| vec![Arc::clone(file)]).collect();
    let deeper = (1..=through).map(|level| tree.level(level).files().to_vec());
    runs.extend(deeper.filter(|files| !files.is_empty()));
    // Nothing may be passed that is older: what lies between is the target.
    let between = (through + 1..LEVEL_COUNT).find(|&level| !tree.level(level).files().is_empty());
    let target = target.clamp(through.max(1), between.unwrap_or(LEVEL_COUNT - 1).max(through.max(1)));
    let overlaps = usize::from(between == Some(target) && target > through);
    if runs.is_empty() {
        return None;
    }
    // Rising keys leave tables that overlap nothing, not even each other: they may move without being read.
    if let Some(run) = as_one_run(&runs).filter(|_| target > through) {
        runs = vec![run];
    }
    // Too many for one merge: the oldest first.
    let spare = runs.len().saturating_sub(RUNS_MAX - overlaps);
    runs.drain(..spare);
    if target == through {
        let is_one = runs.len() == 1;
        return (!is_one).then(|| Pick { keyspace: tree.keyspace(), level: target, runs, drops: false });
    }
    Some(with_lower(tree, target, runs))
}

/// The tables of `runs` in order of their keys, if there are several and no two of them share a key.
fn as_one_run(runs: &[Vec<Arc<TableFile>>]) -> Option<Vec<Arc<TableFile>>> {
    if runs.len() < 2 {
        return None;
    }
    let mut files: Vec<_> = runs.iter().flatten().cloned().collect();
    files.sort_by(|left, right| left.meta().key_min.cmp(&right.meta().key_min));
    let are_apart = files.windows(2).all(|pair| pair[0].meta().ends_before(&pair[1].meta().key_min));
    are_apart.then_some(files)
}

/// A table from which space comes back, now that no snapshot tells its versions apart: one that is the last to speak of its
/// keys is written anew where it is, without tombstones and what they hid; one that is mostly tombstones, or has a range
/// tombstone, is merged with what it hides.
fn reclaim(tree: &Tree, oldest_snapshot: SeqNo) -> Option<Pick> {
    if is_planted("no_reclaim") || is_planted("keep_every_version") {
        return None;
    }
    for level in 1..LEVEL_COUNT {
        for file in tree.level(level).files() {
            let meta = file.meta();
            if meta.seqno_max > oldest_snapshot || !meta.has_garbage() {
                continue;
            }
            let runs = vec![vec![Arc::clone(file)]];
            if !tree.reaches_below(level, &meta.key_min, meta.upper()) {
                return Some(Pick { keyspace: tree.keyspace(), level, runs, drops: false });
            }
            if meta.range_tombstone_count > 0 || 2 * meta.tombstone_count > meta.entry_count {
                return Some(with_lower(tree, level + 1, runs));
            }
        }
    }
    None
}

/// Adds what `runs` overlap of `level`, which is below them.
pub(super) fn with_lower(tree: &Tree, level: usize, mut runs: Vec<Vec<Arc<TableFile>>>) -> Pick {
    let files = || runs.iter().flatten();
    let lower_bound = files().map(|file| &file.meta().key_min).min();
    // Of equal keys one that is included reaches further.
    let ends = files().map(|file| (&file.meta().key_max, !file.meta().key_max_is_excluded, file.meta()));
    let upper_bound = ends.max_by_key(|&(key, is_included, _)| (key, is_included));
    let deeper = tree.level(level);
    let range = match lower_bound.zip(upper_bound) {
        Some((lower, (_, _, last))) => deeper.overlapping(lower, last.upper()),
        None => deeper.overlapping(b"", Bound::Excluded(b"")),
    };
    let lower = deeper.files()[range].to_vec();
    if !lower.is_empty() {
        runs.push(lower);
    }
    Pick { keyspace: tree.keyspace(), level, runs, drops: false }
}
