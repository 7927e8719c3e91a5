//! Allocation by several threads from one arena: each of ours has a writer, a block of its own; the others share.
//!
//! All memory is warm. Time counts from the common start to the end of the last thread, per object of all threads.

use kausal_arena::{Arena, Budget, RegionPool, Retain};

use super::source::fill;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, wall};

/// Most bytes of one sample.
const SAMPLE_BYTES_MAX: usize = 256 << 20;

type Sample = Box<dyn FnMut() -> f64>;

/// Two and four threads, objects of 16, 64 and 256 bytes.
pub fn run(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for threads in [2, 4] {
        rows.extend(size::<2>(options, threads));
        rows.extend(size::<8>(options, threads));
        rows.extend(size::<32>(options, threads));
    }
    rows
}

fn size<const WORDS: usize>(options: &Options, threads: usize) -> Vec<Row> {
    let total = if options.quick { 100_000 } else { 1_000_000 };
    let workload = format!("threads/{threads}/{}", WORDS * 8);
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let each = total.min(SAMPLE_BYTES_MAX / (WORDS * 8)) / threads;
    let mut subjects = vec![region::<WORDS>(threads, each), arena::<WORDS>(threads, each)];
    subjects.extend(peers::all::<WORDS>(threads, each));
    for (_, sample) in &mut subjects {
        for _ in 0..3 {
            sample();
        }
    }
    let times = medians(subjects.len(), options.rounds.unwrap_or(15), |number| (subjects[number].1)());
    let row = |((name, _), time): (&(&'static str, Sample), &f64)| {
        Row::lower(&workload, name, "warm", time / (each * threads) as f64, "ns")
    };
    let own: Vec<Row> = subjects.iter().zip(&times).map(row).collect();
    let mut rows = own.clone();
    for (ours, target) in own.iter().zip([Some(1.0), None]) {
        rows.extend(own[2..].iter().map(|peer| ours.against(peer, target)));
    }
    rows
}

fn region<const WORDS: usize>(threads: usize, each: usize) -> (&'static str, Sample) {
    // Each thread may leave a block unfinished.
    let bytes = threads * (each * WORDS * 8 + (128 << 10));
    let pool = RegionPool::new(&Budget::unlimited("bench"), bytes, 1, || {}).expect("memory for a benchmark");
    let sample = move || {
        let region = pool.coordinator().take().expect("the last sample gave it back");
        wall(threads, |_| region.writer(), |writer| fill::<WORDS>(writer, each))
    };
    ("RegionPool", Box::new(sample))
}

fn arena<const WORDS: usize>(threads: usize, each: usize) -> (&'static str, Sample) {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    let sample = move || {
        let coordinator = arena.coordinator();
        let writer = |_| coordinator.writer().expect("the owner is here");
        let time = wall(threads, writer, |writer| fill::<WORDS>(writer, each));
        arena.reset(Retain::Capacity).expect("the writers are gone");
        time
    };
    ("Arena", Box::new(sample))
}

#[cfg(not(feature = "arena-peers"))]
mod peers {
    pub(super) fn all<const WORDS: usize>(
        _threads: usize,
        _each: usize,
    ) -> [(&'static str, super::Sample); 0] {
        []
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use blink_alloc::SyncBlinkAlloc;
    use bumpalo::Bump;
    use bumpalo_herd::Herd;
    use parking_lot::Mutex;

    use super::{Sample, fill, wall};

    pub(super) fn all<const WORDS: usize>(threads: usize, each: usize) -> [(&'static str, Sample); 4] {
        [
            ("blink-alloc sync", blink::<WORDS>(threads, each)),
            ("blink-alloc sync, local", blink_local::<WORDS>(threads, each)),
            ("Mutex<bumpalo>", mutex::<WORDS>(threads, each)),
            ("bumpalo-herd", herd::<WORDS>(threads, each)),
        ]
    }

    fn blink<const WORDS: usize>(threads: usize, each: usize) -> Sample {
        let mut shared = SyncBlinkAlloc::new();
        Box::new(move || {
            let time = wall(threads, |_| &shared, |source| fill::<WORDS>(*source, each));
            shared.reset();
            time
        })
    }

    fn blink_local<const WORDS: usize>(threads: usize, each: usize) -> Sample {
        let mut shared = SyncBlinkAlloc::new();
        Box::new(move || {
            let time = wall(threads, |_| shared.local(), |source| fill::<WORDS>(source, each));
            shared.reset();
            time
        })
    }

    fn mutex<const WORDS: usize>(threads: usize, each: usize) -> Sample {
        let mut shared = Mutex::new(Bump::new());
        Box::new(move || {
            let time = wall(threads, |_| &shared, |source| fill::<WORDS>(*source, each));
            shared.get_mut().reset();
            time
        })
    }

    fn herd<const WORDS: usize>(threads: usize, each: usize) -> Sample {
        let mut herd = Herd::new();
        Box::new(move || {
            let time = wall(threads, |_| herd.get(), |source| fill::<WORDS>(source, each));
            herd.reset();
            time
        })
    }
}
