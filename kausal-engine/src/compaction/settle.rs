//! What a tree at rest is brought to: as few runs as are worth their merge.
//!
//! Leveled compaction leaves a few tables on level 0, and a level or two above the last one, for what comes next. Where nothing
//! comes, every walk and every look-up pays for them. So, when nobody has written for a while:
//!
//! 1. All that lies above a level is merged into it, if that is at least a quarter of the level: a byte that goes down so costs
//!    five written ones at most, where a level that is full gives eleven for it. Or if it has a quarter of the level's entries: so
//!    many tombstones are few bytes, but the space of what they hide comes back.
//! 2. What would make the last level larger than it should be goes one further down, so that compaction does not begin again.
//! 3. A tree of less than a memtable is left alone.
//!
//! That background work belongs where the load is low is SILK's (Balmau et al., ATC 2019).

use crate::compaction::leveled::level_bytes_max;
use crate::compaction::{Step, TreeShape};

/// What lies above a level is merged into it from this part of its bytes, or of its entries, on.
const PART_MIN: u64 = 4;

/// The step that leaves `tree` with fewer runs, if there is one that is worth it.
pub(super) fn settle(tree: &TreeShape<'_>) -> Option<Step> {
    let fresh = tree.table_count(0);
    let deepest = (1..tree.level_count()).rev().find(|&level| tree.table_count(level) > 0).unwrap_or(0);
    if deepest == 0 {
        let is_worth_it = fresh > 1 && tree.level_bytes(0) >= tree.memtable_bytes();
        return is_worth_it.then_some(Step::Runs { level0: fresh, through: 0, target: 1 });
    }
    (1..=deepest).rev().find_map(|level| {
        let above: u64 = (0..level).map(|level| tree.level_bytes(level)).sum();
        let bytes = tree.level_bytes(level);
        if above == 0 || bytes == 0 || above + bytes < tree.memtable_bytes() {
            return None;
        }
        let entries_above: u64 = (0..level).map(|level| tree.level_entries(level)).sum();
        let is_part = |above: u64, all: u64| above.saturating_mul(PART_MIN) >= all;
        if !is_part(above, bytes) && !is_part(entries_above, tree.level_entries(level)) {
            return None;
        }
        let is_last = level + 1 >= tree.level_count();
        let fits = is_last || level < deepest || above + bytes <= level_bytes_max(tree, level);
        let (through, target) = if fits { (level - 1, level) } else { (level, level + 1) };
        Some(Step::Runs { level0: fresh, through, target })
    })
}
