//! What each compaction policy writes, keeps and looks into, and whether deleted space comes back.
//!
//! 1. *Policies*: two loads on the same entries, for each policy that comes with the engine. Overwriting: every key four times over, in
//!    random order. Reading: as many look-ups as that, of which one in twenty overwrites instead.
//! 2. *Deleting*: so many MiB, by default 1,024, are written, deleted key by key, and compacted.
//!
//! Prints a table, and ends with an error if lazy leveling compacts more than 0.7 of the bytes that leveled does, or if more than a
//! twentieth of the disk's peak is left.
//!
//! Usage: `amplification FOLDER [MIB]`

use std::error::Error;
use std::fs;
use std::path::Path;

use kausal_engine::{Compaction, Options, StorageEngine};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: u64 = 1 << 20;
const BUDGET: usize = 8 << 20;
const KEYS: u64 = 400_000;
const VALUE_BYTES: usize = 400;
const OPERATIONS: u64 = 4 * KEYS;
/// Of the last load: one in so many writes.
const READS_PER_WRITE: u64 = 20;
/// Between two looks at the disk.
const LOOK_KEYS: u64 = 20_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, mib) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [folder] => (folder.to_owned(), 1_024),
        [folder, mib] => (folder.to_owned(), mib.parse()?),
        _ => return Err("usage: amplification FOLDER [MIB]".into()),
    };
    let folder = Path::new(&folder);
    println!(
        "| load | policy | bytes of tables written for each of the user's | of the disk for each alive | runs at worst | blocks read in a look-up |"
    );
    println!("|---|---|---|---|---|---|");
    let policies = [
        ("leveled", Compaction::Leveled),
        ("lazy leveling", Compaction::LazyLeveling),
        ("first in first out", Compaction::Fifo { bytes_max: u64::MAX }),
    ];
    let mut compacted = Vec::new();
    for (load, writes_of) in [("overwriting", 1), ("reading", READS_PER_WRITE)] {
        for (name, policy) in policies {
            let figures = Figures::of(&folder.join("policies"), policy, writes_of)?;
            println!("| {load} | {name} | {figures}");
            compacted.push(figures.compacted);
        }
    }
    let share = compacted[1] as f64 / compacted[0] as f64;
    println!("\noverwriting, lazy leveling compacts {share:.2} of the bytes that leveled does");
    if share > 0.7 {
        return Err("that is more than 0.7".into());
    }
    delete(&folder.join("deleting"), mib)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

/// Bytes of all files of a database, which may go while they are looked at.
fn on_disk(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        match entry?.metadata() {
            Ok(file) => bytes += file.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

fn value_of(number: u64, value: &mut [u8; VALUE_BYTES]) {
    // Random: compressed it would tell of the compression.
    for (place, word) in value.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&mix(number ^ (place as u64) << 40).to_le_bytes());
    }
}

/// What a policy did under a load.
struct Figures {
    write: f64,
    space: f64,
    runs: usize,
    blocks: Option<f64>,
    compacted: u64,
}

impl Figures {
    /// Of a new database whose keys were written once, then of as many operations as the load has: one in `writes_of` writes.
    fn of(folder: &Path, policy: Compaction, writes_of: u64) -> Outcome<Self> {
        let options = Options::new().memory_budget(BUDGET).compaction(policy);
        let engine = StorageEngine::open(folder, options)?;
        let mut value = [0; VALUE_BYTES];
        for key in 0..KEYS {
            value_of(key, &mut value);
            engine.put(&mix(key).to_be_bytes(), &value)?;
        }
        let (before, mut gets) = (engine.stats(), 0_u64);
        for operation in 0..OPERATIONS {
            let key = mix(mix(operation) % KEYS).to_be_bytes();
            if operation.is_multiple_of(writes_of) {
                value_of(operation, &mut value);
                engine.put(&key, &value)?;
            } else {
                gets += 1;
                engine.get(&key)?.ok_or("a key is missing")?;
            }
        }
        engine.flush()?;
        let (stats, metrics) = (engine.stats(), engine.metrics());
        let tables = stats.flush_bytes_written + stats.compaction_bytes_written;
        let tables_before = before.flush_bytes_written + before.compaction_bytes_written;
        let misses = stats.block_cache_misses - before.block_cache_misses;
        let figures = Self {
            write: (tables - tables_before) as f64
                / (stats.user_bytes_written - before.user_bytes_written) as f64,
            space: on_disk(folder)? as f64 / (KEYS * (8 + VALUE_BYTES as u64)) as f64,
            runs: metrics.read_amplification(),
            blocks: (gets > 0).then(|| misses as f64 / gets as f64),
            compacted: stats.compaction_bytes_written - before.compaction_bytes_written,
        };
        engine.close()?;
        fs::remove_dir_all(folder)?;
        Ok(figures)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.1} | {:.2} | {} | ", self.write, self.space, self.runs)?;
        match self.blocks {
            Some(blocks) => write!(out, "{blocks:.2} |"),
            None => write!(out, "none looked up |"),
        }
    }
}

/// Writes so many MiB, deletes all of it and compacts.
fn delete(folder: &Path, mib: u64) -> Outcome<()> {
    let engine = StorageEngine::open(folder, Options::new().memory_budget(8 * BUDGET))?;
    let (keys, mut value) = (mib * MIB / VALUE_BYTES as u64, [0; VALUE_BYTES]);
    let mut peak = 0;
    for key in 0..keys {
        value_of(key, &mut value);
        engine.put(&mix(key).to_be_bytes(), &value)?;
        if key.is_multiple_of(LOOK_KEYS) {
            peak = peak.max(on_disk(folder)?);
        }
    }
    for key in 0..keys {
        engine.delete(&mix(key).to_be_bytes())?;
        if key.is_multiple_of(LOOK_KEYS) {
            peak = peak.max(on_disk(folder)?);
        }
    }
    engine.compact()?;
    if engine.get(&mix(1).to_be_bytes())?.is_some() {
        return Err("a key that was deleted is there".into());
    }
    engine.close()?;
    let left = on_disk(folder)?;
    let share = 100.0 * left as f64 / peak as f64;
    println!("of {} MiB, the most that the disk held, {left} bytes are left: {share:.3} %", peak / MIB);
    fs::remove_dir_all(folder)?;
    if 20 * left > peak { Err("that is more than a twentieth".into()) } else { Ok(()) }
}
