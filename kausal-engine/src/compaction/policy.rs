//! What a compaction policy sees of a tree, and what it may propose.

use std::fmt;
use std::sync::Arc;

use crate::compaction::fifo::Fifo;
use crate::compaction::lazy_leveling::LazyLeveling;
use crate::compaction::leveled::Leveled;
use crate::level0::Level0Limits;
use crate::options::Options;
use crate::version::{LEVEL_COUNT, Tree};

/// The policies that come with the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compaction {
    /// Each level below 0 is one sorted run, ten times as large as the one above (O'Neil et al. 1996; LevelDB). A key is in few
    /// places; each byte is written about ten times per level.
    #[default]
    Leveled,
    /// Runs of similar size are merged with each other, and only the last level is kept as one run (Dostoevsky, Dayan and Idreos
    /// 2018). A fraction of the bytes written, at the price of more runs to look into.
    LazyLeveling,
    /// Nothing is merged. When the tables have more than this many bytes the oldest go, whatever they hold: for data that is
    /// worth less with every day.
    Fifo {
        /// Bytes of tables from which on the oldest are dropped.
        bytes_max: u64,
    },
}

impl Compaction {
    pub(crate) fn policy(self) -> Arc<dyn CompactionPolicy> {
        match self {
            Self::Leveled => Arc::new(Leveled),
            Self::LazyLeveling => Arc::new(LazyLeveling),
            Self::Fifo { bytes_max } => Arc::new(Fifo { bytes_max }),
        }
    }
}

/// Decides what is compacted when. It is asked for one keyspace at a time and keeps no state: whatever it proposes, the engine
/// only takes steps that lose nothing.
///
/// # Examples
///
/// ```
/// use kausal_engine::{CompactionPolicy, Proposal, Step, TreeShape};
///
/// /// One run, always: every flush is merged with all there is.
/// #[derive(Debug)]
/// struct OneRun;
///
/// impl CompactionPolicy for OneRun {
///     fn name(&self) -> &'static str {
///         "one run"
///     }
///
///     fn propose(&self, tree: &TreeShape<'_>) -> Option<Proposal> {
///         let tables = tree.table_count(0);
///         let step = Step::Runs { level0: tables, through: 0, target: tree.level_count() - 1 };
///         (tables > 0).then_some(Proposal { urgency: tables as f64, step })
///     }
/// }
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// # use kausal_engine::{Builder, Options, StorageEngine};
/// let options = Options::new().memory_budget(16 << 20);
/// let engine: StorageEngine = Builder::new(folder.path(), options).compaction(OneRun).open()?;
/// # Ok::<(), kausal_engine::Error>(())
/// ```
pub trait CompactionPolicy: Send + Sync + fmt::Debug {
    /// A name for reports.
    fn name(&self) -> &'static str;

    /// The most urgent step, if there is one. With an urgency below 1 it is not taken.
    fn propose(&self, tree: &TreeShape<'_>) -> Option<Proposal>;

    /// A step that is worth its bytes when nobody writes, for the sake of readers: asked once nothing is due and nothing was written
    /// for [`Options::settle_after`], again and again until there is none. It is given up when a memtable is full meanwhile.
    /// Default none.
    fn settle(&self, tree: &TreeShape<'_>) -> Option<Step> {
        let _ = tree;
        None
    }

    /// Whether tables are merged at all. If not, they are not merged either to get rid of what nobody sees any more, nor because
    /// somebody asks for everything to be compacted, and no writer waits for level 0. Default `true`.
    fn merges(&self) -> bool {
        true
    }
}

/// A step, and how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Compared between keyspaces, and with 1: how many times larger something is than it should be.
    pub urgency: f64,
    /// What to do.
    pub step: Step,
}

/// What a compaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Merges the oldest `level0` tables of level 0, all of the levels from 1 to `through`, and what overlaps them of `target`,
    /// into `target`. If something lies between them and `target`, that is the target instead. At most so many runs are taken
    /// as the compaction's memory has room for.
    Runs {
        /// Tables of level 0.
        level0: usize,
        /// The last level that is taken whole; 0 for none.
        through: usize,
        /// Where the result goes.
        target: usize,
    },
    /// Merges one table of a level below 0 with what overlaps it of the next level, into that.
    Table {
        /// Its level.
        level: usize,
        /// Its place in the level.
        place: usize,
    },
    /// Drops the oldest tables of level 0 with all they hold.
    DropOldest {
        /// How many.
        tables: usize,
    },
}

/// What a policy sees of the tables of one keyspace.
#[derive(Debug)]
pub struct TreeShape<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) setting: Setting<'a>,
}

/// What a policy sees beside the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) options: &'a Options,
    pub(crate) memtable_bytes: u64,
    pub(crate) level0: Level0Limits,
}

impl TreeShape<'_> {
    /// Levels of a tree, level 0 included.
    pub fn level_count(&self) -> usize {
        LEVEL_COUNT
    }

    /// Tables of a level.
    pub fn table_count(&self, level: usize) -> usize {
        self.tree.level(level).files().len()
    }

    /// Bytes of all tables of a level.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.tree.level(level).bytes()
    }

    /// Entries of all tables of a level, every version and tombstone counted.
    pub fn level_entries(&self, level: usize) -> u64 {
        self.tree.level(level).files().iter().map(|file| file.meta().entry_count).sum()
    }

    /// Bytes of one table. Those of level 0 stand newest first, those of the others in order of their keys.
    pub fn table_bytes(&self, level: usize, place: usize) -> u64 {
        self.tree.level(level).files()[place].meta().file_bytes
    }

    /// Bytes of the tables of the level below that a table overlaps.
    pub fn overlapping_bytes(&self, level: usize, place: usize) -> u64 {
        let meta = self.tree.level(level).files()[place].meta();
        let below = self.tree.level(level + 1);
        let range = below.overlapping(&meta.key_min, meta.upper());
        below.files()[range].iter().map(|file| file.meta().file_bytes).sum()
    }

    /// Bytes of a memtable: about what a table of level 0 holds.
    pub fn memtable_bytes(&self) -> u64 {
        self.setting.memtable_bytes
    }

    /// Tables of level 0 from which on they shall be compacted: what the user set, or fewer where tables are read than where they
    /// are only written.
    pub fn level0_due(&self) -> usize {
        self.setting.level0.due
    }

    /// Bytes of level 0, if it is due, and what each deeper level but the last has beyond ten times the one above.
    pub(crate) fn pending_bytes(&self) -> u64 {
        let due = self.table_count(0) >= self.level0_due();
        let fresh = if due { self.level_bytes(0) } else { 0 };
        let sizes = std::iter::successors(Some(self.level1_bytes()), |bytes| Some(bytes.saturating_mul(10)));
        let deeper = (1..self.level_count() - 1).zip(sizes);
        fresh + deeper.map(|(level, size)| self.level_bytes(level).saturating_sub(size)).sum::<u64>()
    }

    /// Size of level 1 that the user asked for, else the memory budget, of which a memtable is 3/16.
    pub fn level1_bytes(&self) -> u64 {
        self.setting.options.level1_bytes.unwrap_or(16 * self.memtable_bytes() / 3).max(1)
    }
}
