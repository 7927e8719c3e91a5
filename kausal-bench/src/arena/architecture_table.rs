//! The memory architecture's own table, as it is here: a thousand allocations, giving them back, what is left unusable.
//!
//! | | the document says | measured as |
//! |---|---|---|
//! | malloc, allocate | 45 µs | `allocate_1000` of the allocator that is named |
//! | malloc, free | 38 µs | `give_back_1000`: freed in the order of allocation |
//! | malloc, fragmentation | 15 to 30 % | `fragmentation`, see [`fragmentation`](super::fragmentation) |
//! | arena, allocate | 12 µs | `allocate_1000` of an arena that was reset before |
//! | arena, reset | below 1 µs | `give_back_1000`: one reset, see [`reset_nanos`] |
//! | arena, fragmentation | 0 % | `fragmentation`: the slack; `dead` is what replaced objects hold until the reset |
//! | arena, overhead | 16 bytes | `overhead`: the coordinator, which is what a child embeds |
//!
//! The document does not say how large its objects are. Here they have 16 to 256 bytes, the same for all subjects, wholly
//! initialised.

use std::alloc::{GlobalAlloc, System};

use fastrand::Rng;
use kausal_arena::{Arena, ArenaCoordinator, Budget, Retain};

use super::fragmentation::{bytes, of_allocator, of_arena};
use super::malloc_table::{reset_nanos, resets, rounds};
use super::source::push;
use crate::heap::Blocks;
use crate::machine;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median, timed};

const COUNT: usize = 1000;

/// What the document claims of an arena and does not depend much on the machine: a reset in nanoseconds, an overhead in bytes.
/// Its 12 µs for a thousand allocations stand in the table above, beside whatever comes out here.
const RESET_TARGET: f64 = 1_000.0;
const OVERHEAD_TARGET: f64 = 16.0;

/// Nanoseconds: to allocate, to give back.
type Sample = [f64; 2];

/// A subject: its name, its samples, its fragmentation in percent.
struct Subject {
    name: String,
    sample: Box<dyn FnMut() -> Sample>,
    fragmentation: f64,
}

/// The table.
pub fn run(options: &Options) -> Vec<Row> {
    let workload = "architecture_table";
    if !options.wants(workload) {
        return Vec::new();
    }
    options.progress(workload, "all");
    let mut rng = Rng::with_seed(options.seed);
    let sizes: Vec<usize> = (0..COUNT).map(|_| bytes(&mut rng)).collect();
    let rounds = rounds(options);
    let arena_bytes = of_arena(options.seed);
    let mut subjects = vec![
        Subject {
            name: "Arena".into(),
            sample: arena(sizes.clone(), resets(options)),
            fragmentation: arena_bytes.fragmentation_percent(),
        },
        heap(machine::libc_name(), System, &sizes, options.seed),
    ];
    subjects.extend(peers::all(&sizes, options.seed));
    for subject in &mut subjects {
        (subject.sample)();
    }
    let samples = interleaved(subjects.len(), rounds, |number| (subjects[number].sample)());
    let mut rows = Vec::new();
    for (place, metric) in ["allocate_1000", "give_back_1000"].into_iter().enumerate() {
        let own = subjects.iter().zip(&samples).map(|(subject, taken)| {
            let time = median(&mut taken.iter().map(|sample| sample[place]).collect::<Vec<_>>());
            Row::lower(workload, &subject.name, metric, time, "ns")
        });
        let own: Vec<Row> = own.collect();
        rows.push(if place == 0 { own[0].clone() } else { own[0].clone().with_target(RESET_TARGET) });
        rows.extend_from_slice(&own[1..]);
        rows.extend(own[1..].iter().map(|peer| own[0].against(peer, None)));
    }
    let fragmentation = |subject: &Subject| {
        Row::lower(workload, &subject.name, "fragmentation", subject.fragmentation, "percent")
    };
    rows.extend(subjects.iter().map(fragmentation));
    let of_arena = |metric: &str, bytes: usize| Row::lower(workload, "Arena", metric, bytes as f64, "bytes");
    rows.extend([
        of_arena("live", arena_bytes.live),
        of_arena("dead", arena_bytes.dead),
        of_arena("slack", arena_bytes.slack),
        of_arena("used_after_reset", arena_bytes.used_after_reset).with_target(0.0),
        of_arena("overhead", size_of::<ArenaCoordinator>()).with_target(OVERHEAD_TARGET),
    ]);
    rows
}

fn arena(sizes: Vec<usize>, resets: usize) -> Box<dyn FnMut() -> Sample> {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    Box::new(move || {
        let writer = arena.coordinator().writer().expect("the owner is here");
        let allocate = timed(|| sizes.iter().for_each(|&bytes| push(&writer, bytes)));
        drop(writer);
        arena.reset(Retain::Capacity).expect("the pen is gone");
        [allocate, reset_nanos(&mut arena, resets)]
    })
}

fn heap<A: GlobalAlloc + 'static>(name: String, allocator: A, sizes: &[usize], seed: u64) -> Subject {
    let allocator: &'static A = Box::leak(Box::new(allocator));
    let sizes = sizes.to_vec();
    let mut blocks = Blocks::new(allocator, COUNT);
    let sample = move || {
        let allocate = timed(|| sizes.iter().for_each(|&bytes| blocks.push(bytes)));
        [allocate, timed(|| blocks.free_all())]
    };
    Subject { name, sample: Box::new(sample), fragmentation: of_allocator(allocator, seed) }
}

#[cfg(not(feature = "arena-peers"))]
mod peers {
    use super::Subject;

    pub(super) fn all(_sizes: &[usize], _seed: u64) -> [Subject; 0] {
        []
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use super::{Subject, heap};

    pub(super) fn all(sizes: &[usize], seed: u64) -> [Subject; 2] {
        [
            heap("jemalloc".into(), tikv_jemallocator::Jemalloc, sizes, seed),
            heap("mimalloc".into(), mimalloc::MiMalloc, sizes, seed),
        ]
    }
}
