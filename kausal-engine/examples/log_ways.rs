//! How a log's records reach the kernel, and what each way costs: the measurement behind docs/decisions/0010.
//!
//! `cargo run --release -p kausal-engine --example log_ways [FOLDER]`
//!
//! Every way stores the same records of 132 bytes, first without a sync, then, behind those, each with one. The rounds of all ways are
//! interleaved; the medians are printed.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kausal_engine::vfs::{LogFile, OpenMode, StdVfs, Vfs};

const RECORD: usize = 132;
const UNSYNCED: u64 = 100_000;
const SYNCED: u64 = 500;
const ROUNDS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Way {
    /// A call per record into a file that grows.
    Written,
    /// The same into a file whose blocks are there.
    Reserved,
    /// The same into a file that has its length too.
    Extended,
    /// The same into a file whose blocks hold zeros.
    Zeroed,
    /// Into a mapping.
    Mapped,
}

const WAYS: [Way; 5] = [Way::Written, Way::Reserved, Way::Extended, Way::Zeroed, Way::Mapped];

fn open(folder: &Path, way: Way, bytes: u64) -> std::io::Result<Arc<dyn LogFile>> {
    let path = folder.join("log");
    let _ = StdVfs.remove(&path);
    let log = StdVfs.open_log(&path, OpenMode::CreateNew)?;
    match way {
        Way::Written | Way::Mapped => {}
        Way::Reserved => log.reserve(bytes)?,
        Way::Extended => {
            log.truncate(bytes)?;
            log.reserve(bytes)?;
        }
        Way::Zeroed => {
            log.store(0, &vec![0; bytes as usize])?;
            log.sync_to(bytes)?;
        }
    }
    Ok(log)
}

fn store(log: &dyn LogFile, way: Way, place: u64, record: &[u8; RECORD]) -> std::io::Result<()> {
    let offset = place * RECORD as u64;
    if matches!(way, Way::Mapped) && log.fill(offset, RECORD, &mut |bytes| bytes.copy_from_slice(record))? {
        return Ok(());
    }
    log.store(offset, record)
}

/// Nanoseconds per record without syncs, and the median of those with one.
fn round(folder: &Path, way: Way) -> std::io::Result<(f64, f64)> {
    let record = [0xA5; RECORD];
    let log = open(folder, way, (UNSYNCED + SYNCED) * RECORD as u64)?;
    let begin = Instant::now();
    for place in 0..UNSYNCED {
        store(&*log, way, place, &record)?;
    }
    let unsynced = begin.elapsed().as_nanos() as f64 / UNSYNCED as f64;
    log.sync_to(UNSYNCED * RECORD as u64)?;
    let mut synced = Vec::new();
    for place in UNSYNCED..UNSYNCED + SYNCED {
        let begin = Instant::now();
        store(&*log, way, place, &record)?;
        log.sync_to((place + 1) * RECORD as u64)?;
        synced.push(begin.elapsed().as_nanos() as f64);
    }
    Ok((unsynced, median(&mut synced)))
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> std::io::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    let mut rounds = vec![(Vec::new(), Vec::new()); WAYS.len()];
    for _ in 0..ROUNDS {
        for (place, &way) in WAYS.iter().enumerate() {
            let (unsynced, synced) = round(&folder, way)?;
            rounds[place].0.push(unsynced);
            rounds[place].1.push(synced);
        }
    }
    println!("{:10} {:>12} {:>16}", "way", "ns a record", "µs with a sync");
    for (way, (unsynced, synced)) in WAYS.iter().zip(&mut rounds) {
        println!("{:10} {:12.0} {:16.1}", format!("{way:?}"), median(unsynced), median(synced) / 1000.0);
    }
    Ok(())
}
