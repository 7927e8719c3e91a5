//! Allocation by one thread: objects of one size, into memory that is warm or fresh.
//!
//! Warm: the subject has been filled and reset before, so its memory is there and its pages are in. Fresh: a new subject
//! for each sample, whose first chunks and page faults count. The pen is taken before the clock starts, as a long-lived
//! writer's would be; obtaining it is measured by [`malloc_table`](super::malloc_table).

use kausal_arena::{Arena, Budget, RegionPool, Retain, Writer};

use super::source::{Source, fill};
use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, timed};

/// Most bytes of one sample, so that all warm subjects together fit a machine of 8 GiB.
const SAMPLE_BYTES_MAX: usize = 256 << 20;

/// Object sizes in words and counts, as rows.
pub fn run(options: &Options) -> Vec<Row> {
    let many = if options.quick { 100_000 } else { 1_000_000 };
    [1000, many]
        .into_iter()
        .flat_map(|count| {
            [
                size::<1>(options, count),
                size::<2>(options, count),
                size::<8>(options, count),
                size::<32>(options, count),
                size::<512>(options, count),
            ]
        })
        .flatten()
        .collect()
}

/// A subject that stays from sample to sample.
struct Subject<'a> {
    name: &'static str,
    /// Nanoseconds to fill it, warm or fresh; what it holds is given back afterwards, outside the clock.
    warm: Box<dyn FnMut() -> f64 + 'a>,
    fresh: Box<dyn FnMut() -> f64 + 'a>,
}

fn size<const WORDS: usize>(options: &Options, count: usize) -> Vec<Row> {
    let bytes = WORDS * 8;
    let count = count.min(SAMPLE_BYTES_MAX / bytes);
    let workload = format!("allocate/{bytes}/{count}");
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let mut subjects = subjects::<WORDS>(count);
    for subject in &mut subjects {
        // The first fills grow a doubling arena to its final shape.
        for _ in 0..3 {
            (subject.warm)();
        }
    }
    let rounds = options.rounds.unwrap_or(if count > 10_000 { 9 } else { 301 });
    let fresh_rounds = options.rounds.unwrap_or(if count > 10_000 { 3 } else { 101 });
    let warm = medians(subjects.len(), rounds, |number| (subjects[number].warm)());
    let fresh = medians(subjects.len(), fresh_rounds, |number| (subjects[number].fresh)());
    let own = |metric: &str, times: &[f64]| -> Vec<Row> {
        let row = |(subject, time): (&Subject<'_>, &f64)| {
            Row::lower(&workload, subject.name, metric, time / count as f64, "ns")
        };
        subjects.iter().zip(times).map(row).collect()
    };
    let mut rows = compared(&own("warm", &warm), true);
    rows.extend(compared(&own("fresh", &fresh), false));
    rows
}

/// Our two subjects, the first ones, against all others; the targets are for warm memory.
fn compared(own: &[Row], has_targets: bool) -> Vec<Row> {
    let mut rows = own.to_vec();
    // Our time is to be at most 1.10 and 1.5 times bumpalo's.
    for (ours, target) in own.iter().zip([1.0 / 1.10, 1.0 / 1.5]) {
        for peer in &own[2..] {
            let target = (has_targets && peer.subject == "bumpalo").then_some(target);
            rows.push(ours.against(peer, target));
        }
    }
    rows
}

fn subjects<const WORDS: usize>(count: usize) -> Vec<Subject<'static>> {
    let ours = [arena::<WORDS>(count), region::<WORDS>(count)];
    ours.into_iter().chain(peers::all::<WORDS>(count)).collect()
}

fn arena<const WORDS: usize>(count: usize) -> Subject<'static> {
    let budget = Budget::unlimited("bench");
    let mut warm = Arena::growing(&budget);
    Subject {
        name: "Arena",
        warm: Box::new(move || {
            let time = fill_timed::<WORDS>(&pen(&warm), count);
            warm.reset(Retain::Capacity).expect("the writer is gone");
            time
        }),
        fresh: Box::new(move || {
            let arena = Arena::growing(&budget);
            fill_timed::<WORDS>(&pen(&arena), count)
        }),
    }
}

fn region<const WORDS: usize>(count: usize) -> Subject<'static> {
    let budget = Budget::unlimited("bench");
    let bytes = count * WORDS * 8 + (128 << 10);
    let pool = move || RegionPool::new(&budget, bytes, 1, || {}).expect("memory for a benchmark");
    let warm = pool();
    Subject {
        name: "RegionPool",
        warm: Box::new(move || {
            let region = warm.coordinator().take().expect("the last sample gave it back");
            fill_timed::<WORDS>(&region.writer(), count)
        }),
        fresh: Box::new(move || {
            let pool = pool();
            let region = pool.coordinator().take().expect("a new pool has its region");
            fill_timed::<WORDS>(&region.writer(), count)
        }),
    }
}

fn fill_timed<const WORDS: usize>(source: &impl Source, count: usize) -> f64 {
    timed(|| fill::<WORDS>(source, count))
}

fn pen(arena: &Arena) -> Writer {
    arena.coordinator().writer().expect("the owner is here")
}

#[cfg(not(feature = "arena-peers"))]
mod peers {
    use super::Subject;

    pub(super) fn all<const WORDS: usize>(_count: usize) -> [Subject<'static>; 0] {
        []
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use std::hint::black_box;

    use blink_alloc::BlinkAlloc;
    use bumpalo::Bump;

    use super::{Subject, fill_timed};
    use crate::samples::timed;

    pub(super) fn all<const WORDS: usize>(count: usize) -> [Subject<'static>; 3] {
        [bumpalo::<WORDS>(count), blink::<WORDS>(count), typed::<WORDS>(count)]
    }

    fn bumpalo<const WORDS: usize>(count: usize) -> Subject<'static> {
        let mut warm = Bump::new();
        Subject {
            name: "bumpalo",
            warm: Box::new(move || {
                let time = fill_timed::<WORDS>(&warm, count);
                warm.reset();
                time
            }),
            fresh: Box::new(move || fill_timed::<WORDS>(&Bump::new(), count)),
        }
    }

    fn blink<const WORDS: usize>(count: usize) -> Subject<'static> {
        let mut warm = BlinkAlloc::new();
        Subject {
            name: "blink-alloc",
            warm: Box::new(move || {
                let time = fill_timed::<WORDS>(&warm, count);
                warm.reset();
                time
            }),
            fresh: Box::new(move || fill_timed::<WORDS>(&BlinkAlloc::new(), count)),
        }
    }

    /// It cannot be reset: warm means sized for all objects beforehand, its pages still to be faulted in.
    fn typed<const WORDS: usize>(count: usize) -> Subject<'static> {
        let fill = move |arena: &typed_arena::Arena<[u64; WORDS]>| {
            timed(|| {
                for number in 0..count as u64 {
                    let mut object = [0x0707_0707_0707_0707; WORDS];
                    object[0] = number;
                    black_box(arena.alloc(object));
                }
            })
        };
        Subject {
            name: "typed-arena",
            warm: Box::new(move || fill(&typed_arena::Arena::with_capacity(count))),
            fresh: Box::new(move || fill(&typed_arena::Arena::new())),
        }
    }
}
