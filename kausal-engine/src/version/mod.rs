//! Versions: which tables make up the database, level by level.
//!
//! A version is immutable. A flush or a compaction makes the next one from it; readers keep the one they began
//! with. Level 0 holds flushed memtables, newest first, whose key ranges may overlap; in each deeper level the
//! tables are in key order and no two share a key, so at most one table of a level can hold a given key.
//!
//! | room | what lives there |
//! |---|---|
//! | `table_file` | one table on disk with its metadata; removed when obsolete and unread |
//! | `mod` | a version and its look-ups |
//! | `set` | the current version and the manifest behind it |

mod set;
mod table_file;

use std::ops::Range;
use std::sync::Arc;

use kausal_sstable::Table;

pub(crate) use set::{Change, Place, VersionSet};
pub(crate) use table_file::{Source, TableFile};

/// Levels of a database. Level 6 of a tree with fan-out 10 above 16 MiB holds 160 TiB.
pub(crate) const LEVEL_COUNT: usize = 7;

/// The tables of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    files: Vec<Arc<TableFile>>,
    /// The same, as the merging cursors want them.
    tables: Vec<Arc<Table>>,
}

impl Level {
    fn new(files: Vec<Arc<TableFile>>) -> Self {
        let tables = files.iter().map(|file| Arc::clone(file.table())).collect();
        Self { files, tables }
    }

    pub(crate) fn files(&self) -> &[Arc<TableFile>] {
        &self.files
    }

    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.meta().file_bytes).sum()
    }

    /// Of a deeper level: the places of the tables that may hold a key in `lower..=upper`.
    pub(crate) fn overlapping(&self, lower: &[u8], upper: &[u8]) -> Range<usize> {
        let start = self.files.partition_point(|file| file.meta().key_max.as_slice() < lower);
        let end = self.files.partition_point(|file| file.meta().key_min.as_slice() <= upper);
        start..end.max(start)
    }
}

/// An immutable set of tables.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    levels: Vec<Level>,
}

impl Version {
    /// The version of these tables, in any order.
    pub(crate) fn of(files: impl IntoIterator<Item = Arc<TableFile>>) -> Self {
        let mut levels = vec![Vec::new(); LEVEL_COUNT];
        for file in files {
            levels[usize::from(file.meta().level)].push(file);
        }
        // File numbers only grow, so in level 0 the largest is the newest.
        levels[0].sort_by_key(|file| std::cmp::Reverse(file.meta().file));
        for level in &mut levels[1..] {
            level.sort_by(|left, right| left.meta().key_min.cmp(&right.meta().key_min));
        }
        Self { levels: levels.into_iter().map(Level::new).collect() }
    }

    /// The version after `removed` have gone and `added` have come.
    pub(crate) fn with(&self, removed: &[Arc<TableFile>], added: &[Arc<TableFile>]) -> Self {
        let kept = self.files().filter(|file| !removed.iter().any(|gone| Arc::ptr_eq(gone, file)));
        Self::of(kept.chain(added).cloned())
    }

    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    pub(crate) fn level(&self, level: usize) -> &Level {
        &self.levels[level]
    }

    /// Every table, from level 0 downwards.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.levels.iter().flat_map(|level| &level.files)
    }

    /// The tables that may hold `key`, those with the newer versions first.
    pub(crate) fn candidates<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Arc<TableFile>> {
        let (newest, deeper) = self.levels.split_first().expect("a version has its levels");
        let newest = newest.files.iter().filter(|file| file.meta().covers(key));
        let deeper = deeper.iter().filter_map(move |level| {
            let place = level.files.partition_point(|file| file.meta().key_max.as_slice() < key);
            level.files.get(place).filter(|file| file.meta().covers(key))
        });
        newest.chain(deeper)
    }

    /// Whether a level below `level` has a table that may hold `key`.
    pub(crate) fn reaches_below(&self, level: usize, key: &[u8]) -> bool {
        self.levels[level + 1..].iter().any(|deeper| !deeper.overlapping(key, key).is_empty())
    }
}
