//! One sample of one subject: filled, read in every way, given back; then filled and read by several threads.
//!
//! 1. Answers are checked before anything is timed, and the sum of what a timed loop found is checked after it.
//! 2. Times are wall clock. With several threads they count from the common start to the end of the last one, divided
//!    by the operations of all.
//! 3. What a subject cannot do (walk in order, write from two threads) has no sample.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use kausal_arena::RegionCoordinator;

use super::data::{Data, value};
use super::subject::{Subject, insert_share};
use crate::heap;
use crate::samples::{nanos, timed, wall};

/// Keys handed to one batched look-up.
const BATCH: usize = 32;

/// Entries of a short scan: the one sought and ten more.
const SHORT_SCAN: usize = 11;

/// Short scans made for one sample, at most.
const SHORT_SCANS_MAX: usize = 50_000;

/// Short scans timed at once.
const SHORT_SCANS_PORTION: usize = 500;

/// After so much time no further portion begins: some peers take milliseconds to seek.
const SHORT_SCANS_NANOS_MAX: f64 = 1e9;

/// A name and a number, `unit` as the name ends: `…_ns` or `…_bytes`.
pub type Sample = (&'static str, f64);

/// Everything, on `data`.
pub fn all<S: Subject>(regions: &RegionCoordinator, data: &Data) -> Vec<Sample> {
    let mut samples = alone::<S>(regions, data);
    if S::CONCURRENT {
        for (threads, insert, get) in [(2, "insert_2t_ns", "get_2t_ns"), (4, "insert_4t_ns", "get_4t_ns")] {
            samples.extend(together::<S>(regions, data, threads, insert, get));
        }
        samples.extend(beside_a_writer::<S>(regions, data));
    }
    samples
}

/// Inserts and point look-ups only.
pub fn growth<S: Subject>(regions: &RegionCoordinator, data: &Data) -> Vec<Sample> {
    let mut subject = S::create(regions);
    let insert = fill(&mut subject, data);
    vec![("insert_ns", insert / data.entries() as f64), ("get_hit_ns", hits(&subject, data))]
}

/// One thread.
fn alone<S: Subject>(regions: &RegionCoordinator, data: &Data) -> Vec<Sample> {
    let entries = data.entries() as f64;
    let heap_before = heap::bytes_in_use();
    let mut subject = S::create(regions);
    let insert = fill(&mut subject, data);
    check(&subject, data);
    let bytes = subject.bytes().or_else(|| Some(heap::bytes_in_use()?.saturating_sub(heap_before?)));
    let mut samples = vec![("insert_ns", insert / entries)];
    samples.push(("get_hit_ns", hits(&subject, data)));
    samples.push(("get_miss_ns", misses(&subject, data)));
    samples.push(("get_many_ns", batches(&subject, data)));
    if S::FREEZES {
        let mut pen = subject.pen();
        samples.push(("freeze_ns", timed(|| subject.freeze(&mut pen)) / entries));
    }
    if S::ORDERED {
        samples.push(("seek_10_ns", short_scans(&subject, data)));
        samples.push(("scan_ns", scan(&subject, data)));
    }
    if let Some(bytes) = bytes {
        samples.push(("overhead_bytes", (bytes as f64 - data.payload_bytes as f64) / entries));
    }
    samples.push(("release_ns", timed(|| drop(subject))));
    samples
}

/// Nanoseconds to insert everything with one thread.
fn fill<S: Subject>(subject: &mut S, data: &Data) -> f64 {
    let begun = Instant::now();
    let mut pen = subject.pen();
    for number in 0..data.entries() {
        subject.insert(&mut pen, number, data.keys.get(number), &value(number));
    }
    drop(pen);
    nanos(begun.elapsed())
}

/// # Panics
///
/// If a look-up answers wrongly.
fn check<S: Subject>(subject: &S, data: &Data) {
    for &place in data.probes.iter().take(1000) {
        assert_eq!(subject.get(data.keys.get(place)), Some(place), "a stored key");
    }
    for place in 0..data.misses.len().min(1000) {
        assert_eq!(subject.get(data.misses.get(place)), None, "a key that is not stored");
    }
}

fn hits<S: Subject>(subject: &S, data: &Data) -> f64 {
    let expected: usize = data.probes.iter().sum();
    let mut sum = 0;
    let time = timed(|| {
        sum = data.sought.iter().filter_map(|key| subject.get(key)).sum();
    });
    assert_eq!(sum, expected, "the numbers of all keys looked for");
    time / data.probes.len() as f64
}

fn misses<S: Subject>(subject: &S, data: &Data) -> f64 {
    let mut found = 0;
    let time = timed(|| {
        found = (0..data.misses.len()).filter(|&place| subject.get(data.misses.get(place)).is_some()).count();
    });
    assert_eq!(found, 0, "none of these keys was inserted");
    time / data.misses.len() as f64
}

fn batches<S: Subject>(subject: &S, data: &Data) -> f64 {
    let expected: usize = data.probes.iter().sum();
    let mut sum = 0;
    let mut batch: Vec<&[u8]> = Vec::with_capacity(BATCH);
    let time = timed(|| {
        for first in (0..data.sought.len()).step_by(BATCH) {
            let behind = (first + BATCH).min(data.sought.len());
            batch.clear();
            batch.extend((first..behind).map(|place| data.sought.get(place)));
            sum += subject.get_many(&batch);
        }
    });
    assert_eq!(sum, expected, "the numbers of all keys looked for");
    time / data.probes.len() as f64
}

/// Scans in portions until there are enough of them, or until a slow peer has taken its time.
fn short_scans<S: Subject>(subject: &S, data: &Data) -> f64 {
    let (mut scans, mut time) = (0, 0.0);
    while scans < data.sought.len().min(SHORT_SCANS_MAX) && time < SHORT_SCANS_NANOS_MAX {
        let portion = scans..data.sought.len().min(scans + SHORT_SCANS_PORTION);
        let count = portion.len();
        let mut seen = 0;
        time += timed(|| {
            seen = portion.map(|place| subject.scan_from(data.sought.get(place), SHORT_SCAN)).sum();
        });
        assert!(seen >= count && seen <= count * SHORT_SCAN, "each begins at a stored key");
        scans += count;
    }
    time / scans as f64
}

fn scan<S: Subject>(subject: &S, data: &Data) -> f64 {
    let mut seen = 0;
    let time = timed(|| seen = subject.scan());
    assert_eq!(seen, data.entries(), "each entry is met once");
    time / data.entries() as f64
}

/// `threads` threads insert, then as many read.
fn together<S: Subject>(
    regions: &RegionCoordinator,
    data: &Data,
    threads: usize,
    insert: &'static str,
    get: &'static str,
) -> [Sample; 2] {
    let subject = S::create(regions);
    let filled = wall(
        threads,
        |thread| thread,
        |&mut thread| insert_share(&subject, data, 0..data.entries(), thread, threads),
    );
    check(&subject, data);
    let read = wall(
        threads,
        |thread| thread,
        |&mut thread| {
            // Each thread begins elsewhere, so that they do not warm the cache for each other.
            let count = data.sought.len();
            let begin = thread * count / threads;
            let found =
                (begin..count).chain(0..begin).filter_map(|place| subject.get(data.sought.get(place)));
            assert_eq!(found.count(), count, "each key looked for is stored");
        },
    );
    [(insert, filled / data.entries() as f64), (get, read / (threads * data.probes.len()) as f64)]
}

/// One thread inserts the second half while another reads the first.
fn beside_a_writer<S: Subject>(regions: &RegionCoordinator, data: &Data) -> [Sample; 2] {
    let subject = S::create(regions);
    let half = data.entries() / 2;
    insert_share(&subject, data, 0..half, 0, 1);
    let readable: Vec<&[u8]> = data
        .sought
        .iter()
        .zip(&data.probes)
        .filter(|(_, place)| **place < half)
        .map(|(key, _)| key)
        .collect();
    let (mut reads, mut read_nanos, mut write_nanos) = (0, 0.0, 0.0);
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            start.wait();
            timed(|| insert_share(&subject, data, half..data.entries(), 0, 1))
        });
        start.wait();
        read_nanos = timed(|| {
            for keys in readable.chunks(256).cycle().take_while(|_| !writer.is_finished()) {
                for key in keys {
                    black_box(subject.get(key));
                }
                reads += keys.len();
            }
        });
        write_nanos = writer.join().expect("the writer ends well");
    });
    let writes = data.entries() - half;
    [
        ("get_beside_writer_ns", read_nanos / (reads.max(1)) as f64),
        ("insert_beside_reader_ns", write_nanos / writes as f64),
    ]
}
