//! Leveled compaction: which tables to merge next.
//!
//! Level 0 is due at a number of tables, a deeper level at a size: level 1 at that of the options, each further one at ten
//! times that. The level furthest above its size goes first. From level 0 the four oldest tables are taken, because each
//! costs the merge a block of memory; from a deeper one the table whose merge moves the fewest bytes below it.
//!
//! What nobody can see any more does not wait until a level is full: see `reclaim`.

use std::sync::Arc;

use kausal_index::SeqNo;

use crate::ids::KeyspaceId;
use crate::options::Options;
use crate::version::{LEVEL_COUNT, TableFile, Tree, Version};

/// How many times larger a level is than the one above.
const FAN_OUT: u64 = 10;

/// Tables of level 0 merged at once: what the memory plan has room for.
const LEVEL0_TABLES_MAX: usize = 4;

/// Tables to be merged into `level`.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) keyspace: KeyspaceId,
    /// The level that the outputs go to.
    pub(crate) level: usize,
    /// From the level above, newest first for level 0.
    pub(crate) upper: Vec<Arc<TableFile>>,
    /// Those of `level` that share keys with `upper`.
    pub(crate) lower: Vec<Arc<TableFile>>,
}

/// Size at which a deeper level is due.
fn level_bytes_max(level: usize, options: &Options, region_bytes: usize) -> u64 {
    let first = options.level1_bytes.unwrap_or(4 * region_bytes as u64).max(1);
    first.saturating_mul(FAN_OUT.saturating_pow(level as u32 - 1))
}

/// The most urgent compaction of any keyspace, if one is due. With `everything`, levels that are not due are merged downwards
/// too, until all tables of a keyspace are on one level.
pub(crate) fn pick(
    version: &Version,
    options: &Options,
    region_bytes: usize,
    oldest_snapshot: SeqNo,
    everything: bool,
) -> Option<Pick> {
    let urgency = |tree: &Tree, level: usize| match level {
        0 => tree.level(0).files().len() as f64 / options.level0_compaction_count.max(1) as f64,
        _ => tree.level(level).bytes() as f64 / level_bytes_max(level, options, region_bytes) as f64,
    };
    let levels = version
        .trees()
        .iter()
        .flat_map(|tree| (0..LEVEL_COUNT - 1).map(move |level| (urgency(tree, level), tree, level)));
    let (due, tree, level) = levels.max_by(|left, right| left.0.total_cmp(&right.0))?;
    if due >= 1.0 {
        return Some(pick_from(tree, level));
    }
    let reclaimed = version.trees().iter().find_map(|tree| reclaim(tree, oldest_snapshot));
    if reclaimed.is_some() || !everything {
        return reclaimed;
    }
    version.trees().iter().find_map(|tree| {
        let mut filled = (0..LEVEL_COUNT).filter(|&level| !tree.level(level).files().is_empty());
        let shallowest = filled.next()?;
        (shallowest == 0 || filled.next().is_some()).then(|| pick_from(tree, shallowest))
    })
}

/// A table from which space comes back, now that no snapshot tells its versions apart: one that is the last to speak of its
/// keys is written anew where it is, without tombstones and what they hid; one that is mostly tombstones, or has a range
/// tombstone, is merged with what it hides.
fn reclaim(tree: &Tree, oldest_snapshot: SeqNo) -> Option<Pick> {
    for level in 1..LEVEL_COUNT {
        for file in tree.level(level).files() {
            let meta = file.meta();
            if meta.seqno_max > oldest_snapshot || !meta.has_garbage() {
                continue;
            }
            if !tree.reaches_below(level, &meta.key_min, meta.upper()) {
                let (upper, lower) = (vec![Arc::clone(file)], Vec::new());
                return Some(Pick { keyspace: tree.keyspace(), level, upper, lower });
            }
            if meta.range_tombstone_count > 0 || 2 * meta.tombstone_count > meta.entry_count {
                return Some(with_lower(tree, level + 1, vec![Arc::clone(file)]));
            }
        }
    }
    None
}

fn pick_from(tree: &Tree, level: usize) -> Pick {
    let files = tree.level(level).files();
    if level == 0 {
        // Newest first, so the oldest are at the end; newer tables may stay above what is merged below them.
        let oldest = files.len().saturating_sub(LEVEL0_TABLES_MAX);
        return with_lower(tree, 1, files[oldest..].to_vec());
    }
    let below = |file: &&Arc<TableFile>| {
        let meta = file.meta();
        let deeper = tree.level(level + 1);
        let range = deeper.overlapping(&meta.key_min, meta.upper());
        deeper.files()[range].iter().map(|file| file.meta().file_bytes).sum::<u64>()
    };
    let cheapest = files.iter().min_by_key(below).cloned();
    with_lower(tree, level + 1, cheapest.into_iter().collect())
}

fn with_lower(tree: &Tree, level: usize, upper: Vec<Arc<TableFile>>) -> Pick {
    let lower_bound = upper.iter().map(|file| &file.meta().key_min).min();
    // Of equal keys one that is included reaches further.
    let ends = upper.iter().map(|file| (&file.meta().key_max, !file.meta().key_max_is_excluded, file.meta()));
    let upper_bound = ends.max_by_key(|&(key, is_included, _)| (key, is_included));
    let lower = match lower_bound.zip(upper_bound) {
        Some((lower, (_, _, last))) => {
            let deeper = tree.level(level);
            deeper.files()[deeper.overlapping(lower, last.upper())].to_vec()
        }
        None => Vec::new(),
    };
    Pick { keyspace: tree.keyspace(), level, upper, lower }
}
