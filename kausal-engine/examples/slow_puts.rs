//! The slowest of many puts, and how long writers waited for what.
//!
//! `cargo run --release -p kausal-engine --example slow_puts -- [FOLDER] [--puts N] [--budget MIB]`
//!
//! Keys of 16 bytes in random order, values of 100, as fast as one thread can. What a put took beside the waits that the
//! engine counts is files, page faults, and other threads that had its core: of each it is told how long its thread ran and
//! how long it could have run but had no core, as the kernel counts both for it and the few puts before it; the rest it slept.

#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kausal_engine::{Options, StorageEngine};

/// Puts that are told of.
const SHOWN: usize = 12;

/// The kernel's counts are read every so many puts, and after each slow one.
const COUNTED_EVERY: u64 = 64;

/// A put that took this long may be one of those that are told of.
const SLOW: Duration = Duration::from_millis(1);

/// How long this thread ran, and how long it waited for a core, so far.
fn counts() -> [Duration; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut nanos = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
    std::array::from_fn(|_| Duration::from_nanos(nanos.next().unwrap_or(0)))
}

/// A put, and what its thread did meanwhile.
struct Put {
    took: Duration,
    number: u64,
    ran: Duration,
    coreless: Duration,
}

struct Settings {
    folder: PathBuf,
    puts: u64,
    budget: usize,
}

impl Settings {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut settings = Self { folder: std::env::temp_dir(), puts: 200_000, budget: 16 << 20 };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a number"));
            match argument.as_str() {
                "--puts" => settings.puts = value()?.parse()?,
                "--budget" => settings.budget = value()?.parse::<usize>()? << 20,
                folder => settings.folder = folder.into(),
            }
        }
        Ok(settings)
    }
}

/// Puts `count` entries. Answers how long the slowest took, with their numbers.
fn put_all(engine: &StorageEngine, count: u64) -> Result<Vec<Put>, kausal_engine::Error> {
    let mut slowest: Vec<Put> = Vec::new();
    let mut before = counts();
    let mut begun = Instant::now();
    for number in 0..count {
        let mut key = *b"........usertabl";
        key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        engine.put(&key, &[number as u8; 100])?;
        let took = begun.elapsed();
        if took >= SLOW || number.is_multiple_of(COUNTED_EVERY) {
            let now = counts();
            let [ran, coreless] = [0, 1].map(|place| now[place].saturating_sub(before[place]));
            before = now;
            if slowest.len() < SHOWN || slowest.last().is_some_and(|last| last.took < took) {
                slowest.push(Put { took, number, ran, coreless });
                slowest.sort_by_key(|put| std::cmp::Reverse(put.took));
                slowest.truncate(SHOWN);
            }
        }
        begun = Instant::now();
    }
    Ok(slowest)
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse(std::env::args().skip(1))?;
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(settings.budget))?;
    let begun = Instant::now();
    let slowest = put_all(&engine, settings.puts)?;
    let rate = settings.puts as f64 / begun.elapsed().as_secs_f64() / 1e3;
    println!("{} puts, {rate:.0} thousand a second; the slowest:", settings.puts);
    for Put { took, number, ran, coreless } in slowest {
        println!("{took:>9.1?}  put {number:>8}, ran {ran:>8.1?}, without a core {coreless:>8.1?}");
    }
    for (reason, waits) in engine.metrics().stalls.iter().filter(|(_, waits)| waits.count > 0) {
        let (name, longest, total) = (reason.name(), waits.longest, waits.total);
        println!("{name}: {} waits, longest {longest:.1?}, {total:.1?} in all", waits.count);
    }
    engine.close()?;
    Ok(())
}
