//! The levels of one keyspace, and which of their tables may hold a key.

use std::ops::{Bound, Range};
use std::sync::Arc;

use kausal_arena::{AllocError, Budget, Reservation};
use kausal_index::SeqNo;
use kausal_sstable::Table;

use crate::ids::KeyspaceId;
use crate::version::fences::{Fences, Side};
use crate::version::{DEFAULT_NAME, TableFile};

/// Levels of a tree. Level 6 of a tree with fan-out 10 above 16 MiB holds 160 TiB.
pub(crate) const LEVEL_COUNT: usize = 7;

/// The tables of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    /// Those of `files` that have entries, as the merging cursors want them: a table may hold range tombstones only. Dropped first:
    /// the last holder of a file has nobody beside him who could read it.
    tables: Vec<Arc<Table>>,
    files: Vec<Arc<TableFile>>,
    has_range_tombstones: bool,
    /// Of `files`.
    fences: Fences,
}

impl Level {
    fn new(files: Vec<Arc<TableFile>>) -> Self {
        let with_entries = files.iter().filter(|file| file.meta().entry_count > 0);
        let tables = with_entries.map(|file| Arc::clone(file.table())).collect();
        let has_range_tombstones = files.iter().any(|file| file.meta().range_tombstone_count > 0);
        let fences = Fences::of(files.iter().map(|file| file.meta()));
        Self { files, tables, has_range_tombstones, fences }
    }

    pub(crate) fn files(&self) -> &[Arc<TableFile>] {
        &self.files
    }

    /// The tables that have entries, in order.
    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.meta().file_bytes).sum()
    }

    /// Whether any table of the level has a range tombstone.
    pub(crate) fn has_range_tombstones(&self) -> bool {
        self.has_range_tombstones
    }

    /// Of a deeper level: the places of the tables that may hold a key from `lower` to `upper`.
    pub(crate) fn overlapping(&self, lower: &[u8], upper: Bound<&[u8]>) -> Range<usize> {
        let start = self.files.partition_point(|file| file.meta().ends_before(lower));
        let end = self.files.partition_point(|file| file.meta().begins_within(upper));
        start..end.max(start)
    }

    /// Of a deeper level: the table that may hold `key`.
    #[inline]
    fn file_of(&self, key: &[u8]) -> Option<&Arc<TableFile>> {
        if self.files.is_empty() {
            return None;
        }
        let head = self.fences.head(key);
        let place = self.fences.first(head);
        if place == self.files.len() {
            return None;
        }
        match self.fences.side(place, head) {
            Side::Inside => self.files.get(place),
            Side::Outside => None,
            Side::Unknown => self.file_of_whole_key(key),
        }
    }

    /// The same, where heads are not enough.
    #[inline(never)]
    fn file_of_whole_key(&self, key: &[u8]) -> Option<&Arc<TableFile>> {
        let place = self.files.partition_point(|file| file.meta().ends_before(key));
        self.files.get(place).filter(|file| file.meta().covers(key))
    }

    /// Of level 0: the tables that may hold `key`.
    #[inline]
    fn files_over<'a, 'k>(&'a self, key: &'k [u8]) -> impl Iterator<Item = &'a Arc<TableFile>> + use<'a, 'k> {
        let head = self.fences.head(key);
        let may_hold = move |(place, file): &(usize, &Arc<TableFile>)| match self.fences.side(*place, head) {
            Side::Inside => true,
            Side::Outside => false,
            Side::Unknown => file.meta().covers(key),
        };
        self.files.iter().enumerate().filter(may_hold).map(|(_, file)| file)
    }

    /// Of a deeper level: the newest range tombstone at or below `at` that covers `key`.
    pub(crate) fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        self.file_of(key)?.table().range_tombstones().covering(key, at)
    }
}

/// A keyspace's name, and the charge for what is kept of a keyspace beside its tables. Its trees of one version after the other
/// share it.
#[derive(Debug)]
pub(crate) struct KeyspaceName {
    text: Box<str>,
    _charge: Reservation,
}

/// Bytes kept for a keyspace beside its name and its tables: its tree, and its places in lists.
const KEYSPACE_BYTES: usize =
    size_of::<Tree>() + LEVEL_COUNT * size_of::<Level>() + size_of::<KeyspaceName>() + 128;

impl KeyspaceName {
    /// The name of a keyspace that somebody created, charged to `budget`.
    pub(crate) fn charged(name: &str, budget: &Budget) -> Result<Arc<Self>, AllocError> {
        let charge = budget.reserve(KEYSPACE_BYTES + name.len())?;
        Ok(Arc::new(Self { text: name.into(), _charge: charge }))
    }

    /// That of the keyspace which every database has.
    pub(crate) fn default_of(budget: &Budget) -> Arc<Self> {
        Arc::new(Self { text: DEFAULT_NAME.into(), _charge: Reservation::empty(budget) })
    }
}

/// All tables of one keyspace.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    keyspace: KeyspaceId,
    name: Arc<KeyspaceName>,
    levels: Vec<Level>,
    /// Those below level 0 that have tables: most trees have two or three, and every look-up asks.
    deeper: Box<[u8]>,
}

impl Tree {
    /// The tree of these tables, in any order.
    pub(crate) fn of(keyspace: KeyspaceId, name: Arc<KeyspaceName>, files: Vec<Arc<TableFile>>) -> Self {
        let mut levels = vec![Vec::new(); LEVEL_COUNT];
        for file in files {
            levels[usize::from(file.meta().level)].push(file);
        }
        // File numbers only grow, so in level 0 the largest is the newest.
        levels[0].sort_by_key(|file| std::cmp::Reverse(file.meta().file));
        for level in &mut levels[1..] {
            level.sort_by(|left, right| left.meta().key_min.cmp(&right.meta().key_min));
        }
        let levels: Vec<Level> = levels.into_iter().map(Level::new).collect();
        let deeper = (1..LEVEL_COUNT).filter(|&level| !levels[level].files.is_empty());
        let deeper = deeper.map(|level| level as u8).collect();
        Self { keyspace, name, levels, deeper }
    }

    pub(crate) fn keyspace(&self) -> KeyspaceId {
        self.keyspace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name.text
    }

    /// The tree of the same keyspace with other tables.
    pub(super) fn with(&self, files: Vec<Arc<TableFile>>) -> Self {
        Self::of(self.keyspace, Arc::clone(&self.name), files)
    }

    pub(crate) fn level(&self, level: usize) -> &Level {
        &self.levels[level]
    }

    /// Every table, from level 0 downwards.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.levels.iter().flat_map(|level| &level.files)
    }

    /// The levels below level 0 that have tables.
    #[inline]
    pub(crate) fn deeper(&self) -> impl Iterator<Item = &Level> {
        self.deeper.iter().map(|&level| &self.levels[usize::from(level)])
    }

    /// Shows `ask` the tables that may hold `key` or a range tombstone over it, those with the newer versions first, until it
    /// answers something.
    #[inline]
    pub(crate) fn find_in_candidates<'t, T>(
        &'t self,
        key: &[u8],
        mut ask: impl FnMut(&'t TableFile) -> Option<T>,
    ) -> Option<T> {
        // Two loops, and not one over a chain: that costs more than the levels themselves.
        if !self.levels[0].files.is_empty() {
            for file in self.levels[0].files_over(key) {
                let answer = ask(file);
                if answer.is_some() {
                    return answer;
                }
            }
        }
        for level in self.deeper() {
            let answer = level.file_of(key).and_then(|file| ask(file));
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// The deepest level that a new table of keys from `lower` to `upper` may go to: no table there, or above it, may hold one of
    /// them. Level 0 always may.
    pub(crate) fn deepest_free(&self, lower: &[u8], upper: Bound<&[u8]>) -> usize {
        let (fresh, deeper) = self.levels.split_first().expect("a tree has its levels");
        // Level 0 is in order of age: each of its tables is asked.
        let is_above =
            |file: &Arc<TableFile>| !file.meta().ends_before(lower) && file.meta().begins_within(upper);
        if fresh.files.iter().any(is_above) {
            return 0;
        }
        deeper.iter().take_while(|level| level.overlapping(lower, upper).is_empty()).count()
    }

    /// Whether a level below `level` has a table that may hold a key from `lower` to `upper`.
    pub(crate) fn reaches_below(&self, level: usize, lower: &[u8], upper: Bound<&[u8]>) -> bool {
        self.levels[level + 1..].iter().any(|deeper| !deeper.overlapping(lower, upper).is_empty())
    }
}
