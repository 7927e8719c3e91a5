//! `bench cache`: the block cache against the field's caches, and the merging cursor against a heap.
//!
//! | workload | what is measured |
//! |---|---|
//! | `hit/THREADS` | a look-up of a resident block, with one byte of it read and the block let go |
//! | `zipf/MIB`, `scan/MIB` | share of accesses that hit, at equal bytes; time of an access; bytes held at most |
//! | `merge/SOURCES` | a step of a merge of so many sorted lists |
//!
//! | room | what lives there |
//! |---|---|
//! | [`trace`] | which blocks are asked for |
//! | [`subject`], `peers` | ours and the others behind one trait |
//! | [`measure`] | the samples |
//! | [`merge`] | merges |

pub mod measure;
pub mod merge;
#[cfg(feature = "cache-peers")]
pub mod peers;
pub mod subject;
pub mod trace;

use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median};
use subject::Subject;
use trace::Trace;

/// Sizes of the caches whose hits are counted, in MiB.
const MEBIBYTES: [usize; 2] = [16, 64];

/// A cache by name.
struct Candidate {
    name: &'static str,
    hit: fn(&[u32], usize) -> f64,
    replay: fn(&Trace, usize) -> measure::Replay,
    /// Least ratios of ours to it that are good enough: nanoseconds of a hit, hits.
    targets: (Option<f64>, Option<f64>),
}

impl Candidate {
    fn new<S: Subject>(name: &'static str, targets: (Option<f64>, Option<f64>)) -> Self {
        Self { name, hit: measure::hit::<S>, replay: measure::replay::<S>, targets }
    }
}

#[cfg(not(feature = "cache-peers"))]
fn peers() -> Vec<Candidate> {
    Vec::new()
}

#[cfg(feature = "cache-peers")]
fn peers() -> Vec<Candidate> {
    vec![
        Candidate::new::<peers::Quick>("quick_cache", (Some(1.0), Some(1.0))),
        Candidate::new::<peers::Moka>("moka", (None, Some(0.99))),
    ]
}

/// Measures what `options` ask for.
pub fn run(options: &Options) -> Vec<Row> {
    let ours = Candidate::new::<subject::Ours>("BlockCache", (None, None));
    let candidates: Vec<Candidate> = std::iter::once(ours)
        .chain(peers())
        .filter(|candidate| options.wants_subject(candidate.name))
        .collect();
    let mut rows = Vec::new();
    for threads in [1, 2] {
        let workload = format!("hit/{threads}");
        if options.wants(&workload) {
            rows.extend(hits(options, &candidates, &workload, threads));
        }
    }
    for mebibytes in MEBIBYTES {
        for (name, trace) in [("zipf", Trace::zipf as fn(_, _) -> Trace), ("scan", Trace::scan)] {
            let workload = format!("{name}/{mebibytes}");
            if options.wants(&workload) && !(options.quick && mebibytes > MEBIBYTES[0]) {
                let trace = trace(mebibytes << 20, options.seed);
                rows.extend(replays(options, &candidates, &workload, &trace, mebibytes << 20));
            }
        }
    }
    rows.extend(merge::run(options));
    rows
}

fn hits(options: &Options, candidates: &[Candidate], workload: &str, threads: usize) -> Vec<Row> {
    let probes = trace::probes(options.seed, if options.quick { 100_000 } else { 1_000_000 });
    let mut samples = interleaved(candidates.len(), options.rounds.unwrap_or(9), |number| {
        options.progress(workload, candidates[number].name);
        (candidates[number].hit)(&probes, threads)
    });
    let own: Vec<Row> = candidates
        .iter()
        .zip(&mut samples)
        .map(|(candidate, samples)| Row::lower(workload, candidate.name, "hit", median(samples), "ns"))
        .collect();
    compared(candidates, &own, |candidate| candidate.targets.0)
}

fn replays(
    options: &Options,
    candidates: &[Candidate],
    workload: &str,
    trace: &Trace,
    bytes: usize,
) -> Vec<Row> {
    let samples = interleaved(candidates.len(), options.rounds.unwrap_or(3), |number| {
        options.progress(workload, candidates[number].name);
        (candidates[number].replay)(trace, bytes)
    });
    let of = |number: usize, field: fn(&measure::Replay) -> f64| {
        median(&mut samples[number].iter().map(field).collect::<Vec<_>>())
    };
    let own = |metric: &str, unit: &str, field: fn(&measure::Replay) -> f64| -> Vec<Row> {
        let row = |number: usize| match unit {
            "percent" => Row::higher(workload, candidates[number].name, metric, of(number, field), unit),
            _ => Row::lower(workload, candidates[number].name, metric, of(number, field), unit),
        };
        (0..candidates.len()).map(row).collect()
    };
    let hits = own("hit_ratio", "percent", |replay| replay.hit_percent);
    let times = own("access", "ns", |replay| replay.access_nanos);
    let mut rows = compared(candidates, &hits, |candidate| candidate.targets.1);
    rows.extend(compared(candidates, &times, |_| None));
    if candidates.first().is_some_and(|first| first.name == "BlockCache") {
        let held = of(0, |replay| replay.held_max as f64);
        rows.push(Row::lower(workload, "BlockCache", "held_max", held, "bytes").with_target(bytes as f64));
    }
    rows
}

/// The rows, and the first, if it is ours, against each of the others.
fn compared(candidates: &[Candidate], own: &[Row], target: impl Fn(&Candidate) -> Option<f64>) -> Vec<Row> {
    let mut rows = own.to_vec();
    if let Some((ours, peers)) = own.split_first()
        && ours.subject == "BlockCache"
    {
        let against = peers.iter().zip(&candidates[1..]).map(|(row, peer)| ours.against(row, target(peer)));
        rows.extend(against);
    }
    rows
}
