//! Page faults and time of 64 MiB filled for the first time, and filled again after a reset that kept them.
//!
//! Faults are those the kernel counts for this process without reading a disk (`getrusage`, `ru_minflt`). Each
//! sample is a new region or arena.

use kausal_arena::{Arena, Budget, RegionPool, Retain, Writer};
use nix::sys::resource::{UsageWho, getrusage};

use super::source::fill;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median, timed};

const BYTES: usize = 64 << 20;

/// Objects of 4 KiB.
const WORDS: usize = 512;

/// Faults and milliseconds, first and second time.
pub fn run(options: &Options) -> Vec<Row> {
    let workload = "faults/64MiB";
    if !options.wants(workload) {
        return Vec::new();
    }
    options.progress(workload, "all");
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 7 });
    let samples = interleaved(2, rounds, |number| if number == 0 { region() } else { growing() });
    let names = ["RegionPool", "Arena"].into_iter();
    names.zip(&samples).flat_map(|(subject, samples)| of(workload, subject, samples)).collect()
}

/// Faults and nanoseconds.
type Cost = (f64, f64);

fn of(workload: &str, subject: &str, samples: &[(Cost, Cost)]) -> Vec<Row> {
    let median = |of: fn(&(Cost, Cost)) -> f64| median(&mut samples.iter().map(of).collect::<Vec<_>>());
    vec![
        Row::lower(workload, subject, "faults_fresh", median(|sample| sample.0.0), "count"),
        Row::lower(workload, subject, "faults_refilled", median(|sample| sample.1.0), "count")
            .with_target(0.0),
        Row::lower(workload, subject, "fill_fresh", median(|sample| sample.0.1) / 1e6, "ms"),
        Row::lower(workload, subject, "fill_again", median(|sample| sample.1.1) / 1e6, "ms"),
    ]
}

fn region() -> (Cost, Cost) {
    let bytes = BYTES + (128 << 10);
    let pool = RegionPool::new(&Budget::unlimited("bench"), bytes, 1, || {}).expect("memory for a benchmark");
    let sample = || {
        let region = pool.coordinator().take().expect("the last sample gave it back");
        cost(&region.writer())
    };
    (sample(), sample())
}

fn growing() -> (Cost, Cost) {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    let mut sample = || {
        let cost = cost(&arena.coordinator().writer().expect("the owner is here"));
        arena.reset(Retain::Capacity).expect("the pen is gone");
        cost
    };
    (sample(), sample())
}

fn cost(writer: &Writer) -> Cost {
    let before = faults();
    let time = timed(|| fill::<WORDS>(writer, BYTES / (WORDS * 8)));
    (faults() - before, time)
}

fn faults() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| usage.minor_page_faults() as f64)
}
