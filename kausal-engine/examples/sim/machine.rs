//! The database on its simulated machine: opened in all ways, with settings that a seed draws anew each time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::sim::{self, SimRandom, SimScheduler, SimVfs};
use kausal_engine::{Builder, Compaction, Durability, Error, MEMORY_BUDGET_MIN, Options, StorageEngine};

use crate::reads;
use crate::script::Flavour;

pub(crate) const FOLDER: &str = "/db";

/// What is wrong, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Settings of the n-th time that a database is opened.
fn options(seed: u64, opening: u64) -> Options {
    let random = SimRandom::new(seed.wrapping_mul(31).wrapping_add(opening));
    Options::new()
        .memory_budget(if Flavour::of(seed).is_large { 12 << 20 } else { MEMORY_BUDGET_MIN })
        .level0_compaction_count(2 + random.below(3) as usize)
        .level0_stall_count(6)
        .block_bytes([256, 512, 4096][random.below(3) as usize])
        .filter_bits_per_key([4, 10][random.below(2) as usize])
        .direct_reads(random.below(2) == 0)
        .compaction([Compaction::Leveled, Compaction::LazyLeveling][random.below(2) as usize])
        .table_bytes([2_000, 8_000, 1 << 20][random.below(3) as usize])
        .level1_bytes([4_000, 1 << 20][random.below(2) as usize])
        .stall_timeout(Duration::from_secs(1))
        // Time passes at once here, so a tree that may settle is always settled.
        .settle_after([None, Some(Duration::from_millis(50))][random.below(2) as usize])
        .open_tables_max([1, 3, 512][random.below(3) as usize])
        .compaction_threads([1, 1, 2, 4][random.below(4) as usize])
        // There is nothing to map here: this is to fall back to reads.
        .mapped_tables(random.below(2) == 0)
        .durability(if is_power(seed, opening) { Durability::Power } else { Durability::Process })
}

/// Whether the `opening`-th open is by one who syncs what he writes, and so may act on what it shows.
pub(crate) fn is_power(seed: u64, opening: u64) -> bool {
    SimRandom::new(seed ^ opening.rotate_left(32)).below(2) == 0
}

/// Opens the database for the `opening`-th time.
pub(crate) fn open(
    vfs: &SimVfs,
    seed: u64,
    opening: u64,
) -> (Result<StorageEngine, Error>, Arc<SimScheduler>) {
    let (environment, scheduler) = sim::environment(vfs, seed.wrapping_add(opening << 32));
    (Builder::new(FOLDER, options(seed, opening)).environment(environment).open(), scheduler)
}

/// Opens a database only to read it.
pub(crate) fn open_read_only(vfs: &SimVfs, folder: &Path, seed: u64) -> Result<StorageEngine, Error> {
    let (environment, _scheduler) = sim::environment(vfs, seed);
    Builder::new(folder, options(seed, 0).read_only(true)).environment(environment).open()
}

/// Accounted bytes stay within the budget, and every byte has an owner.
pub(crate) fn check_memory(engine: &StorageEngine) -> Outcome {
    let report = engine.memory_report();
    let (root, leaves) = (report.root(), report.leaves_used());
    if root.used != leaves || root.used_max > root.limit {
        return Err(format!("memory: {} bytes in use, {leaves} by the leaves\n{report}", root.used));
    }
    Ok(())
}

/// A second database: it is there from this call on, whatever happens.
pub(crate) struct Checkpoint {
    pub(crate) folder: PathBuf,
    pub(crate) call: u64,
    pub(crate) digest: u64,
}

impl Checkpoint {
    /// The outer error is a violation, the inner one what the engine answered.
    pub(crate) fn compare(&self, vfs: &SimVfs, seed: u64) -> Outcome<Result<(), Error>> {
        let opened = open_read_only(vfs, &self.folder, seed);
        match opened.and_then(|engine| reads::digest_all(&engine)) {
            Ok(digest) if digest != self.digest => {
                Err(format!("{} shows another state", self.folder.display()))
            }
            Ok(_) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        }
    }
}
