//! Leveled compaction: which tables to merge next.
//!
//! Level 0 is due at a number of tables, a deeper level at a size: level 1 at four memtables, each further one at ten
//! times that. The level furthest above its size goes first. From level 0 the four oldest tables are taken, because each
//! costs the merge a block of memory; from a deeper one the table whose merge moves the fewest bytes below it.

use std::sync::Arc;

use crate::options::Options;
use crate::version::{LEVEL_COUNT, TableFile, Version};

/// How many times larger a level is than the one above.
const FAN_OUT: u64 = 10;

/// Tables of level 0 merged at once: what the memory plan has room for.
const LEVEL0_TABLES_MAX: usize = 4;

/// Tables to be merged into `level`.
#[derive(Debug)]
pub(crate) struct Pick {
    /// The level that the outputs go to.
    pub(crate) level: usize,
    /// From the level above, newest first for level 0.
    pub(crate) upper: Vec<Arc<TableFile>>,
    /// Those of `level` that share keys with `upper`.
    pub(crate) lower: Vec<Arc<TableFile>>,
}

/// Size at which a deeper level is due.
fn level_bytes_max(level: usize, region_bytes: usize) -> u64 {
    4 * region_bytes as u64 * FAN_OUT.saturating_pow(level as u32 - 1)
}

/// The most urgent compaction, if any is due. With `everything`, levels that are not due are merged downwards too, until
/// all tables are on one level.
pub(crate) fn pick(
    version: &Version,
    options: &Options,
    region_bytes: usize,
    everything: bool,
) -> Option<Pick> {
    let urgency = |level: usize| match level {
        0 => version.level(0).files().len() as f64 / options.level0_compaction_count.max(1) as f64,
        _ => version.level(level).bytes() as f64 / level_bytes_max(level, region_bytes) as f64,
    };
    let due = (0..LEVEL_COUNT - 1).max_by(|&left, &right| urgency(left).total_cmp(&urgency(right)))?;
    if urgency(due) >= 1.0 {
        return Some(pick_from(version, due));
    }
    if !everything {
        return None;
    }
    let deepest = (0..LEVEL_COUNT).rev().find(|&level| !version.level(level).files().is_empty())?;
    let shallowest = (0..LEVEL_COUNT).find(|&level| !version.level(level).files().is_empty())?;
    (shallowest < deepest || shallowest == 0).then(|| pick_from(version, shallowest))
}

fn pick_from(version: &Version, level: usize) -> Pick {
    let files = version.level(level).files();
    if level == 0 {
        // Newest first, so the oldest are at the end; newer tables may stay above what is merged below them.
        let oldest = files.len().saturating_sub(LEVEL0_TABLES_MAX);
        return with_lower(version, 1, files[oldest..].to_vec());
    }
    let below = |file: &&Arc<TableFile>| {
        let meta = file.meta();
        let deeper = version.level(level + 1);
        let range = deeper.overlapping(&meta.key_min, &meta.key_max);
        deeper.files()[range].iter().map(|file| file.meta().file_bytes).sum::<u64>()
    };
    let cheapest = files.iter().min_by_key(below).cloned();
    with_lower(version, level + 1, cheapest.into_iter().collect())
}

fn with_lower(version: &Version, level: usize, upper: Vec<Arc<TableFile>>) -> Pick {
    let lower_bound = upper.iter().map(|file| &file.meta().key_min).min();
    let upper_bound = upper.iter().map(|file| &file.meta().key_max).max();
    let lower = match lower_bound.zip(upper_bound) {
        Some((lower, upper)) => {
            let deeper = version.level(level);
            deeper.files()[deeper.overlapping(lower, upper)].to_vec()
        }
        None => Vec::new(),
    };
    Pick { level, upper, lower }
}
