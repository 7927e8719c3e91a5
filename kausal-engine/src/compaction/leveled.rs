//! Leveled compaction: each level below 0 one sorted run, ten times as large as the one above.
//!
//! Level 0 is due at a number of tables, a deeper level at a size. The level furthest above its size goes first. From level 0
//! the oldest tables are taken; from a deeper one the table whose merge moves the fewest bytes below it. When nobody writes the
//! tree is brought to fewer runs: see `settle`.

use crate::compaction::settle::settle;
use crate::compaction::{CompactionPolicy, Proposal, Step, TreeShape};

/// How many times larger a level is than the one above.
const FAN_OUT: u64 = 10;

/// See the file's first lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leveled;

impl CompactionPolicy for Leveled {
    fn name(&self) -> &'static str {
        "leveled"
    }

    fn propose(&self, tree: &TreeShape<'_>) -> Option<Proposal> {
        let urgency = |level: usize| match level {
            0 => tree.table_count(0) as f64 / tree.level0_due() as f64,
            _ => tree.level_bytes(level) as f64 / level_bytes_max(tree, level) as f64,
        };
        let levels = (0..tree.level_count() - 1).map(|level| (urgency(level), level));
        let (urgency, level) = levels.max_by(|left, right| left.0.total_cmp(&right.0))?;
        let step = match level {
            0 => Step::Runs { level0: tree.table_count(0), through: 0, target: 1 },
            _ => {
                let places = 0..tree.table_count(level);
                Step::Table {
                    level,
                    place: places.min_by_key(|&place| tree.overlapping_bytes(level, place))?,
                }
            }
        };
        Some(Proposal { urgency, step })
    }

    fn settle(&self, tree: &TreeShape<'_>) -> Option<Step> {
        settle(tree)
    }
}

/// What a level below 0 should not be larger than.
pub(super) fn level_bytes_max(tree: &TreeShape<'_>, level: usize) -> u64 {
    tree.level1_bytes().saturating_mul(FAN_OUT.saturating_pow(level as u32 - 1))
}
