//! Three things that are larger than the memory there is, each inside the budget: a log that is replayed, tables that are
//! compacted, a batch that is written.
//!
//! 1. `recovery`: a log of more than ten memtables, left behind by a process with a larger budget that ended without closing.
//! 2. `compaction`: so many MiB, by default 4,096, merged by one job with a sixteenth of a GiB as the budget and a quarter of
//!    that as the job's limit; by one thread, or so many.
//! 3. `batch`: one of more than the budget. The batch itself is its caller's memory, and taken off what is resident.
//!
//! Each works in a process of its own, checks what can be read afterwards, fails if the books or what is resident (anonymous
//! and shared) go beyond the limit, and prints its figures.
//!
//! Usage: `large_memory FOLDER [recovery | compaction [MIB [THREADS]] | batch]`

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kausal_engine::{EngineEvent, EventListener, Options, StorageEngine, WriteBatch, WriteOptions};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const MIB: usize = 1 << 20;
const BUDGET: usize = 64 * MIB;

/// A memtable of this budget: 3/16 of it.
const MEMTABLE: usize = BUDGET / 16 * 3;

/// What a process may have beside its budget and a tenth of it.
const ALLOWANCE: usize = 16 * MIB;

/// What the log is written with, so that all of it stays a log.
const LOG_WRITER_BUDGET: usize = 2048 * MIB;
const LOG_ENTRIES: u64 = 160_000;
const BATCH_ENTRIES: u64 = 80_000;
const SMALL_BYTES: usize = 1_000;
const LARGE_BYTES: usize = 4_096;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [folder] => {
            for step in ["recovery", "compaction", "batch"] {
                let status = Command::new(std::env::current_exe()?).args([folder, step]).status()?;
                if !status.success() {
                    return Err(format!("{step}: {status}").into());
                }
            }
            Ok(())
        }
        [folder, "recovery"] => recovery(&Path::new(folder).join("recovery")),
        [folder, "log"] => write_log(Path::new(folder)),
        [folder, "compaction", numbers @ ..] if numbers.len() <= 2 => {
            let mib = numbers.first().map_or(Ok(4_096), |mib| mib.parse())?;
            let threads = numbers.get(1).map_or(Ok(1), |threads| threads.parse())?;
            compaction(&Path::new(folder).join("compaction"), mib, threads)
        }
        [folder, "batch"] => batch(&Path::new(folder).join("batch")),
        _ => Err("usage: large_memory FOLDER [recovery | compaction [MIB [THREADS]] | batch]".into()),
    }
}

/// Keys in no order, each once: an odd factor permutes the numbers (Knuth, volume 3, 6.4).
fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

/// Bytes that follow from the number, and do not compress.
fn fill(number: u64, len: usize, value: &mut Vec<u8>) {
    value.clear();
    let mut word = number ^ 0x5DEE_CE66_D1CE_4E5B;
    while value.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        value.extend_from_slice(&word.to_le_bytes());
    }
    value.truncate(len);
}

fn check(engine: &StorageEngine, numbers: impl Iterator<Item = u64>, len: usize) -> Outcome<()> {
    let mut expected = Vec::new();
    for number in numbers {
        fill(number, len, &mut expected);
        if engine.get(&key(number))?.as_ref() != Some(&expected) {
            return Err(format!("entry {number} is wrong or missing").into());
        }
    }
    Ok(())
}

fn options() -> Options {
    Options::new().memory_budget(BUDGET)
}

/// KiB of the process that are anonymous or shared.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<usize>().ok()
    };
    1024 * (field("RssAnon:").unwrap_or(0) + field("RssShmem:").unwrap_or(0))
}

/// What `work` answers, how long it took, and the most that was resident meanwhile.
fn watched<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration, usize)> {
    let (most, has_ended) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                most.fetch_max(resident() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let begun = Instant::now();
        let worked = work();
        let took = begun.elapsed();
        has_ended.store(true, Ordering::Relaxed);
        Ok((worked?, took, most.load(Ordering::Relaxed) as usize))
    })
}

/// Fails if the engine took more than it may; prints what it took, and `what` was done.
fn judge(engine: &StorageEngine, resident: usize, what: &str) -> Outcome<()> {
    let report = engine.memory_report();
    let mib = |bytes: usize| bytes as f64 / MIB as f64;
    let (peak, resident_max) = (report.root().used_max, BUDGET + BUDGET / 10 + ALLOWANCE);
    println!("{what}");
    println!("  accounted for at most {:.1} MiB of {:.0}", mib(peak), mib(BUDGET));
    println!("  resident at most      {:.1} MiB of {:.1}", mib(resident), mib(resident_max));
    for node in report
        .nodes()
        .iter()
        .filter(|node| ["compaction", "compaction parts", "flush", "memtables"].contains(&&*node.name))
    {
        println!("  {:21} {:.1} MiB of {:.1}", node.name, mib(node.used_max), mib(node.limit));
    }
    let is_inside = peak <= BUDGET && resident <= resident_max;
    if is_inside { Ok(()) } else { Err("it took more than it may".into()) }
}

/// Writes a log and ends as if killed.
fn write_log(folder: &Path) -> Outcome<()> {
    let engine = StorageEngine::open(folder, Options::new().memory_budget(LOG_WRITER_BUDGET))?;
    let mut value = Vec::new();
    for number in 0..LOG_ENTRIES {
        fill(number, SMALL_BYTES, &mut value);
        engine.put(&key(number), &value)?;
    }
    std::process::exit(0);
}

fn recovery(folder: &Path) -> Outcome<()> {
    let status = Command::new(std::env::current_exe()?).arg(folder).arg("log").status()?;
    if !status.success() {
        return Err(format!("the process that writes the log: {status}").into());
    }
    let logs = std::fs::read_dir(folder)?.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_log = entry.path().extension().is_some_and(|extension| extension == "wal");
        is_log.then(|| entry.metadata().map_or(0, |metadata| metadata.len()))
    });
    let log_bytes = logs.sum::<u64>() as usize;
    if log_bytes < 10 * MEMTABLE {
        return Err(format!("{log_bytes} bytes of log are too few").into());
    }
    let (engine, took, resident) = watched(|| Ok(StorageEngine::open(folder, options())?))?;
    let report = engine.recovery_report();
    if report.batch_count != LOG_ENTRIES || report.was_clean {
        return Err(format!("not what was left behind: {report:?}").into());
    }
    let what = format!(
        "recovery of {} MiB of log, {:.1} memtables of {} MiB, in {took:.2?}",
        log_bytes / MIB,
        log_bytes as f64 / MEMTABLE as f64,
        MEMTABLE / MIB,
    );
    judge(&engine, resident, &what)?;
    check(&engine, 0..LOG_ENTRIES, SMALL_BYTES)?;
    engine.close()?;
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The largest compaction: bytes of its inputs and of its outputs, and how long it took.
#[derive(Debug, Default)]
struct Largest(Mutex<(u64, u64, Duration)>);

impl EventListener for Largest {
    fn event(&self, event: &EngineEvent) {
        let mut largest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            EngineEvent::CompactionBegun { bytes, .. } => largest.0 = largest.0.max(*bytes),
            EngineEvent::CompactionCompleted { bytes, took, .. } if *bytes > largest.1 => {
                (largest.1, largest.2) = (*bytes, *took);
            }
            _ => {}
        }
    }
}

fn compaction(folder: &Path, mib: u64, threads: usize) -> Outcome<()> {
    let largest = Arc::new(Largest::default());
    // All in one level: what goes down from one to the next goes table by table, and would be many jobs.
    let options = options().level1_bytes(1 << 40).compaction_threads(threads);
    let engine: StorageEngine =
        kausal_engine::Builder::new(folder, options).listener(Arc::clone(&largest)).open()?;
    // A little more than is asked for, as what is on its way is not in the level yet.
    let count = (mib + mib.div_ceil(32)) * MIB as u64 / LARGE_BYTES as u64;
    let (stats, took, resident) = watched(|| {
        let mut value = Vec::new();
        let mut put = |number: u64| -> Outcome<()> {
            fill(number, LARGE_BYTES, &mut value);
            Ok(engine.put(&number.to_be_bytes(), &value)?)
        };
        // The odd ones over the even ones, each in order, so that filling costs little and everything overlaps. Then the
        // ends: a table of both overlaps all others.
        (0..count).step_by(2).chain((1..count).step_by(2)).try_for_each(&mut put)?;
        [0, count - 1].into_iter().try_for_each(&mut put)?;
        engine.flush()?;
        engine.compact()?;
        Ok(engine.stats())
    })?;
    let (job, _, job_took) = *largest.0.lock().unwrap_or_else(PoisonError::into_inner);
    let what = format!(
        "compaction of {} MiB by one job in {job_took:.2?} and {} parts, of {} MiB by {} jobs, {took:.0?} with the filling",
        job / MIB as u64,
        stats.compaction_parts,
        stats.compaction_bytes_written / MIB as u64,
        stats.compactions,
    );
    judge(&engine, resident, &what)?;
    if job < mib * MIB as u64 {
        return Err("no job was as large as was wanted".into());
    }
    let mut expected = Vec::new();
    for number in (0..count).step_by(101) {
        fill(number, LARGE_BYTES, &mut expected);
        if engine.get(&number.to_be_bytes())?.as_ref() != Some(&expected) {
            return Err(format!("entry {number} is wrong or missing").into());
        }
    }
    engine.close()?;
    Ok(std::fs::remove_dir_all(folder)?)
}

fn batch(folder: &Path) -> Outcome<()> {
    let engine = StorageEngine::open(folder, options())?;
    let (mut batch, mut value) = (WriteBatch::new(), Vec::new());
    for number in 0..BATCH_ENTRIES {
        fill(number, SMALL_BYTES, &mut value);
        batch.put(&key(number), &value)?;
    }
    // Regions that were not written to yet are not resident yet: what is taken off is the caller's alone.
    let callers = resident();
    let bytes = BATCH_ENTRIES as usize * (SMALL_BYTES + 16);
    let ((), took, most) = watched(|| Ok(engine.write(&batch, WriteOptions::default())?))?;
    let what = format!(
        "a batch of {} MiB, {:.1} memtables, in {took:.2?}",
        bytes / MIB,
        bytes as f64 / MEMTABLE as f64
    );
    judge(&engine, most.saturating_sub(callers), &what)?;
    drop(batch);
    check(&engine, 0..BATCH_ENTRIES, SMALL_BYTES)?;
    engine.close()?;
    Ok(std::fs::remove_dir_all(folder)?)
}
