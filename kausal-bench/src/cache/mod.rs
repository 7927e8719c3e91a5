//! `bench cache`: the block cache against the field's caches, and the merging cursor against a heap.
//!
//! | workload | what is measured |
//! |---|---|
//! | `hit/THREADS` | a look-up of a resident block, with eight bytes of it read and the block let go: ours peeks at it, as the engine's look-ups do, and, `pinned`, keeps it as the others do |
//! | `miss/MIB` | a look-up that misses and the insert after it, a copy of the block included, into a full cache |
//! | `zipf/MIB`, `scan/MIB` | share of accesses that hit, at equal bytes, ours also where it is asked before it is filled; time of an access; bytes held |
//! | `drift/MIB`, `round/MIB` | the same where what is popular changes, and for a loop over a fifth more blocks than fit |
//! | `merge/SOURCES`, `merge_runs/SOURCES` | a step of a merge of so many sorted lists, with keys dealt out one by one or in runs |
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

/// Size of the caches whose misses are timed, in MiB.
const MISS_MEBIBYTES: usize = 64;

/// Sizes of the caches whose hits are counted, in MiB.
const MEBIBYTES: [usize; 2] = [16, 64];

/// Ours, with each block kept: takes part where hits are timed.
const PINNED: &str = "BlockCache, pinned";

/// Ours, filled as look-ups and walks do: takes part where hits are counted.
const ASKING: &str = "BlockCache, asking";

/// Makes a trace for a cache of so many bytes from a seed.
type MakeTrace = fn(usize, u64) -> Trace;

/// A trace by name, and whether its hits have a target. Those that have none show what the policy is not made for, and are
/// replayed in the smaller size only.
const TRACES: [(&str, MakeTrace, bool); 4] = [
    ("zipf", Trace::zipf, true),
    ("scan", Trace::scan, true),
    ("drift", Trace::drift, false),
    ("round", Trace::round, false),
];

/// A cache by name.
struct Candidate {
    name: &'static str,
    hit: fn(&[u32], usize) -> f64,
    miss: fn(usize, u32) -> f64,
    replay: fn(&Trace, usize) -> measure::Replay,
    targets: Targets,
}

/// Least ratios of ours to a peer's that are good enough.
#[derive(Clone, Copy, Default)]
struct Targets {
    /// Nanoseconds of a hit.
    hit: Option<f64>,
    /// Nanoseconds of a miss and an insert.
    miss: Option<f64>,
    /// Share of hits at equal bytes.
    hit_ratio: Option<f64>,
}

impl Candidate {
    fn new<S: Subject>(name: &'static str, targets: Targets) -> Self {
        let (hit, miss, replay) = (measure::hit::<S>, measure::miss::<S>, measure::replay::<S>);
        Self { name, hit, miss, replay, targets }
    }
}

/// The field's caches; and the same by another count of bytes, of which only the hits are of interest.
#[cfg(not(feature = "cache-peers"))]
fn peers() -> [Vec<Candidate>; 2] {
    [Vec::new(), Vec::new()]
}

/// The field's caches; and the same by another count of bytes, of which only the hits are of interest.
#[cfg(feature = "cache-peers")]
fn peers() -> [Vec<Candidate>; 2] {
    use peers::{Flattered, Moka, Quick};
    let of_quick = Targets { hit: Some(1.0), miss: Some(1.0), hit_ratio: Some(1.0) };
    let of_moka = Targets { hit_ratio: Some(0.99), ..Targets::default() };
    let equals =
        vec![Candidate::new::<Quick>("quick_cache", of_quick), Candidate::new::<Moka>("moka", of_moka)];
    let flattered = vec![
        Candidate::new::<Flattered<Quick>>("quick_cache by blocks", Targets::default()),
        Candidate::new::<Flattered<Moka>>("moka by blocks", Targets::default()),
    ];
    [equals, flattered]
}

/// Measures what `options` ask for.
pub fn run(options: &Options) -> Vec<Row> {
    let ours = Candidate::new::<subject::Ours>("BlockCache", Targets::default());
    let [equals, flattered] = peers();
    let wanted = |candidate: &Candidate| options.wants_subject(candidate.name);
    let mut candidates: Vec<Candidate> = std::iter::once(ours).chain(equals).filter(wanted).collect();
    let mut rows = Vec::new();
    let pinned = Candidate::new::<subject::OursPinned>(PINNED, Targets::default());
    candidates.extend(Some(pinned).filter(wanted));
    for threads in [1, 2] {
        let workload = format!("hit/{threads}");
        if options.wants(&workload) {
            rows.extend(hits(options, &candidates, &workload, threads));
        }
    }
    candidates.retain(|candidate| candidate.name != PINNED);
    let workload = format!("miss/{MISS_MEBIBYTES}");
    if options.wants(&workload) {
        rows.extend(misses(options, &candidates, &workload));
    }
    let asking = Candidate::new::<subject::OursAsking>(ASKING, Targets::default());
    candidates.extend(Some(asking).into_iter().chain(flattered).filter(wanted));
    for mebibytes in MEBIBYTES {
        for (name, trace, has_target) in TRACES {
            let workload = format!("{name}/{mebibytes}");
            let is_small = mebibytes == MEBIBYTES[0];
            if options.wants(&workload) && (is_small || has_target && !options.quick) {
                let trace = trace(mebibytes << 20, options.seed);
                rows.extend(replays(options, &candidates, &workload, (&trace, has_target), mebibytes << 20));
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
    compared(candidates, &own, |candidate| candidate.targets.hit)
}

fn misses(options: &Options, candidates: &[Candidate], workload: &str) -> Vec<Row> {
    let count = if options.quick { 20_000 } else { 200_000 };
    let mut samples = interleaved(candidates.len(), options.rounds.unwrap_or(9), |number| {
        options.progress(workload, candidates[number].name);
        (candidates[number].miss)(MISS_MEBIBYTES << 20, count)
    });
    let own: Vec<Row> = candidates
        .iter()
        .zip(&mut samples)
        .map(|(candidate, samples)| {
            Row::lower(workload, candidate.name, "miss_insert", median(samples), "ns")
        })
        .collect();
    compared(candidates, &own, |candidate| candidate.targets.miss)
}

fn replays(
    options: &Options,
    candidates: &[Candidate],
    workload: &str,
    (trace, has_target): (&Trace, bool),
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
    let warm_ups = own("warm_up", "ns", |replay| replay.warm_up_nanos);
    let mut rows =
        compared(candidates, &hits, |candidate| candidate.targets.hit_ratio.filter(|_| has_target));
    rows.extend(compared(candidates, &times, |_| None));
    rows.extend(compared(candidates, &warm_ups, |_| None));
    for (number, candidate) in candidates.iter().enumerate() {
        let held = of(number, |replay| replay.held_max as f64);
        let row = Row::lower(workload, candidate.name, "held", held, "bytes");
        rows.push(if candidate.name == "BlockCache" { row.with_target(bytes as f64) } else { row });
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
