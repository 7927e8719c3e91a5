//! Lazy leveling: runs of similar size are merged with each other; only the last level is kept as one run that everything is
//! merged into (Dayan and Idreos, SIGMOD 2018).
//!
//! 1. A table of level 0 is a run, and each level below is one: the older, the deeper.
//! 2. From the newest run on, runs are taken together as long as the next one is not much larger than all before it. Of two and
//!    more the result goes where the oldest of them was, or to the deepest free level.
//! 3. When everything above the last level is a good part of it, all of it is merged into the last level: so few bytes are
//!    written there for each byte that comes.

use crate::compaction::{CompactionPolicy, Proposal, Step, TreeShape};

/// The upper runs are merged into the last level when they have this many times its bytes: the space that may be wasted. Half
/// of what RocksDB allows its universal compaction.
const UPPER_SHARE_MAX: f64 = 1.0;

/// A run is merged with newer ones whose bytes are at least this share of its own.
const SIMILAR_SHARE: f64 = 0.75;

/// See the file's first lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LazyLeveling;

/// A run above the last level: its bytes, and its level.
type Run = (u64, usize);

impl CompactionPolicy for LazyLeveling {
    fn name(&self) -> &'static str {
        "lazy leveling"
    }

    fn propose(&self, tree: &TreeShape<'_>) -> Option<Proposal> {
        let last = tree.level_count() - 1;
        let runs = upper_runs(tree);
        let fresh = tree.table_count(0);
        let urgency = fresh as f64 / tree.level0_due() as f64;
        if urgency < 1.0 {
            return None;
        }
        let upper: u64 = runs.iter().map(|run| run.0).sum();
        let deepest = (1..last).rev().find(|&level| tree.table_count(level) > 0).unwrap_or(0);
        let is_full = upper as f64 >= UPPER_SHARE_MAX * tree.level_bytes(last) as f64;
        if is_full && tree.level_bytes(last) > 0 || upper > 16 * tree.level1_bytes() && deepest > 0 {
            return Some(Proposal {
                urgency,
                step: Step::Runs { level0: fresh, through: deepest, target: last },
            });
        }
        let through = similar(&runs, fresh);
        // The deepest free level above the oldest run that stays.
        let next = (through + 1..last).find(|&level| tree.table_count(level) > 0).unwrap_or(last);
        let step = match next - 1 {
            // No level is free: the next run comes with them.
            free if free == through && through == 0 => Step::Runs { level0: fresh, through: 1, target: 1 },
            free => Step::Runs { level0: fresh, through, target: free },
        };
        Some(Proposal { urgency, step })
    }
}

/// All runs above the last level, newest first.
fn upper_runs(tree: &TreeShape<'_>) -> Vec<Run> {
    let fresh = (0..tree.table_count(0)).map(|place| (tree.table_bytes(0, place), 0));
    let levels = (1..tree.level_count() - 1).map(|level| (tree.level_bytes(level), level));
    fresh.chain(levels.filter(|run| run.0 > 0)).collect()
}

/// The deepest level whose run is similar to what is above it, all of level 0 taken together; 0 if there is none.
fn similar(runs: &[Run], fresh: usize) -> usize {
    let mut above: u64 = runs[..fresh].iter().map(|run| run.0).sum();
    let mut through = 0;
    for &(bytes, level) in &runs[fresh..] {
        if (above as f64) < SIMILAR_SHARE * bytes as f64 {
            break;
        }
        above += bytes;
        through = level;
    }
    through
}
