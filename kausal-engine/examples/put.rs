//! Puts per second by threads and durability, and what the log's mapping brings.
//!
//! `cargo run --release -p kausal-engine --example put [FOLDER] [--process N] [--power N] [--rounds N] [--threads N]`
//!
//! Keys of 16 bytes in random order, values of 100. The memtables are large enough that nothing is flushed: this is the write
//! path alone. Every round opens a fresh database for each line, in turn; the medians are printed, of rates and of how many writes the
//! log took in one group, and one in a thousand keys is read back.

#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Instant;

use kausal_engine::{Durability, Options, StorageEngine, WriteBatch, WriteOptions};

const LINES: [(Durability, u64); 7] = [
    (Durability::Process, 1),
    (Durability::Process, 2),
    (Durability::Process, 4),
    (Durability::Power, 1),
    (Durability::Power, 2),
    (Durability::Power, 4),
    (Durability::Power, 16),
];

struct Settings {
    folder: std::path::PathBuf,
    process: u64,
    power: u64,
    rounds: usize,
    /// Only lines with so many threads.
    threads: Option<u64>,
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"........usertabl";
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

/// Thousands of puts per second, and writes in a group of the log, if there were groups.
fn round(folder: &Path, durability: Durability, threads: u64, count: u64) -> (f64, Option<f64>) {
    let folder = tempfile::tempdir_in(folder).expect("a folder for the database");
    let options = Options::new().memory_budget(1 << 30).durability(durability);
    let engine = StorageEngine::open(folder.path(), options).expect("an empty folder");
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let engine = &engine;
            scope.spawn(move || {
                for number in (thread..count).step_by(threads as usize) {
                    engine.put(&key(number), &[number as u8; 100]).expect("room for a put");
                }
            });
        }
    });
    let rate = count as f64 / begin.elapsed().as_secs_f64() / 1000.0;
    let writes = engine.metrics().writes;
    let per_group = (writes.groups > 0).then(|| writes.group_writes as f64 / writes.groups as f64);
    for number in (0..count).step_by(1000) {
        let value = engine.get(&key(number)).expect("a read").expect("the key was put");
        assert_eq!(value, [number as u8; 100]);
    }
    let mut batch = WriteBatch::new();
    batch.delete(b"end").expect("a short key");
    engine.write(&batch, WriteOptions::default()).expect("room for a delete");
    (rate, per_group)
}

fn settings() -> Settings {
    let mut settings =
        Settings { folder: std::env::temp_dir(), process: 400_000, power: 4000, rounds: 5, threads: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
        match argument.as_str() {
            "--process" => settings.process = number(),
            "--power" => settings.power = number(),
            "--threads" => settings.threads = Some(number()),
            "--rounds" => settings.rounds = number() as usize,
            folder => settings.folder = folder.into(),
        }
    }
    settings
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn main() {
    let settings = settings();
    let mut rounds = vec![Vec::new(); LINES.len()];
    for _ in 0..settings.rounds {
        for (place, &(durability, threads)) in LINES.iter().enumerate() {
            let count = if durability == Durability::Power { settings.power } else { settings.process };
            if count > 0 && settings.threads.is_none_or(|wanted| wanted == threads) {
                rounds[place].push(round(&settings.folder, durability, threads, count));
            }
        }
    }
    for ((durability, threads), rounds) in LINES.iter().zip(rounds) {
        let (rates, groups): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        if let Some(rate) = median(rates) {
            let durability = format!("{durability:?}");
            print!("{durability:8} {threads:2} threads {rate:9.1} thousand puts/s");
            match median(groups.into_iter().flatten().collect()) {
                Some(writes) => println!(", {writes:.1} writes a group"),
                None => println!(),
            }
        }
    }
}
