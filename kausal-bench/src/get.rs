//! `bench get`: the read path of the engine, and what publishes its view.
//!
//! | workload | what is measured |
//! |---|---|
//! | `view/THREADS` | reading a value that is replaced now and then: reader slots against a lock around a count, and arc-swap |
//! | `get/PLACE/THREADS` | a get of a database in memory: into a new vector, into the caller's, and pinned |
//! | `multi_get/PLACE` | 32 random keys at once, against as many gets |
//! | `walk/scan/PLACE`, `walk/seek_10/PLACE`, `walk/all/PLACE` | up to 100 entries by a new cursor, eleven by an old one, everything: walks that lend, against cursors that step |
//!
//! The places of walks are `tables`, and `mixed`, of which half is in the memtable.
//!
//! Times are wall time of all threads together by the reads of one. Every value that is read is checked.

mod walks;

use std::sync::Arc;
use std::time::Instant;

use kausal_arena::Published;
use kausal_engine::{Options as EngineOptions, StorageEngine};
use parking_lot::RwLock;

use self::walks::Stretch;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, try_medians, wall};

/// Threads that read at once.
const THREADS: [usize; 3] = [1, 2, 4];

/// Keys of a place.
const KEYS: u32 = 20_000;

/// Keys of a place that are asked for many at once: more than the processor's caches hold.
const MANY_KEYS: u32 = 300_000;

/// So many at once.
const AT_ONCE: usize = 32;

/// What a view is like: some words behind a pointer.
type View = [u64; 8];

/// Sums one word of each reading.
type Read = dyn Fn(usize) -> u64 + Sync;

/// Measures what `options` ask for.
///
/// # Errors
///
/// What the engine answers, or the folder for it.
pub fn run(options: &Options) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for threads in THREADS {
        let workload = format!("view/{threads}");
        if options.wants(&workload) {
            rows.extend(views(options, &workload, threads));
        }
    }
    let folder = tempfile::tempdir()?;
    let engine = filled(folder.path(), 64 << 20, KEYS)?;
    let places = [("table", 0..KEYS), ("memtable", KEYS..2 * KEYS), ("nowhere", 2 * KEYS..3 * KEYS)];
    for (place, keys) in places {
        for threads in THREADS {
            let workload = format!("get/{place}/{threads}");
            if options.wants(&workload) {
                rows.extend(gets(options, &workload, &engine, keys.clone(), threads)?);
            }
        }
    }
    drop(engine);
    rows.extend(many_and_walks(options)?);
    Ok(rows)
}

/// What is measured with a database that is larger than the processor's caches.
fn many_and_walks(options: &Options) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let lots = [("multi_get/table", 0), ("multi_get/memtable", MANY_KEYS)];
    let stretches = [("scan", Stretch::Scan), ("seek_10", Stretch::Seek), ("all", Stretch::All)];
    let walks_in = |place: &str| stretches.map(|(name, stretch)| (format!("walk/{name}/{place}"), stretch));
    let (mixed, tables) = (walks_in("mixed"), walks_in("tables"));
    let walks = mixed.iter().chain(&tables).map(|(workload, _)| workload.as_str());
    let mut rows = Vec::new();
    if !lots.iter().map(|&(workload, _)| workload).chain(walks).any(|workload| options.wants(workload)) {
        return Ok(rows);
    }
    let folder = tempfile::tempdir()?;
    let engine = filled(folder.path(), 512 << 20, MANY_KEYS)?;
    for (workload, first) in lots {
        if options.wants(workload) {
            rows.extend(many(options, workload, &engine, first)?);
        }
    }
    let mut walk_all = |walks: &[(String, Stretch)]| {
        for (workload, stretch) in walks.iter().filter(|(workload, _)| options.wants(workload)) {
            rows.extend(walks::walks(options, workload, &engine, *stretch)?);
        }
        Ok::<_, kausal_engine::Error>(())
    };
    walk_all(&mixed)?;
    engine.compact()?;
    walk_all(&tables)?;
    Ok(rows)
}

#[cfg(not(feature = "read-peers"))]
fn swapped(_value: View) -> Option<(&'static str, Box<Read>)> {
    None
}

#[cfg(feature = "read-peers")]
fn swapped(value: View) -> Option<(&'static str, Box<Read>)> {
    let swapped = arc_swap::ArcSwap::from_pointee(value);
    Some(("arc-swap", Box::new(move |count| (0..count).map(|_| swapped.load()[3]).sum())))
}

/// Our slots first, then the others.
fn views(options: &Options, workload: &str, threads: usize) -> Vec<Row> {
    let value: View = [1; 8];
    let slots = Published::new(value);
    let locked = RwLock::new(Arc::new(value));
    let by_slots = move |count| (0..count).map(|_| slots.read(|view| view[3])).sum();
    let by_lock = move |count| {
        let view = || Arc::clone(&locked.read());
        (0..count).map(|_| view()[3]).sum()
    };
    let mut subjects: Vec<(&str, Box<Read>)> =
        vec![("Published", Box::new(by_slots)), ("RwLock<Arc>", Box::new(by_lock))];
    subjects.extend(swapped(value));
    let count = if options.quick { 200_000 } else { 2_000_000 };
    let nanos = medians(subjects.len(), options.rounds.unwrap_or(9), |number| {
        let (name, read) = &subjects[number];
        options.progress(workload, name);
        let check = |_: &mut ()| assert_eq!(read(count), count as u64, "each reading sees the value");
        wall(threads, |_| (), check) / count as f64
    });
    let rows: Vec<Row> = subjects
        .iter()
        .zip(nanos)
        .map(|((name, _), nanos)| Row::lower(workload, name, "read", nanos, "ns"))
        .collect();
    let against = rows[1..].iter().map(|peer| rows[0].against(peer, None));
    rows.iter().cloned().chain(against).collect()
}

fn key(number: u32) -> [u8; 16] {
    let mut key = *b"........bench/16";
    key[..8].copy_from_slice(&u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

/// A database of which half lies in tables, and in the cache, and the other half in the memtable, `keys` each.
fn filled(folder: &std::path::Path, memory: usize, keys: u32) -> Result<StorageEngine, kausal_engine::Error> {
    let engine = StorageEngine::open(folder, EngineOptions::new().memory_budget(memory))?;
    let put = |number: u32| engine.put(&key(number), &[number as u8; 100]);
    (0..keys).try_for_each(put)?;
    engine.compact()?;
    (keys..2 * keys).try_for_each(put)?;
    Ok(engine)
}

/// Keys from `first` on, in no order, many at once and one by one.
fn many(
    options: &Options,
    workload: &str,
    engine: &StorageEngine,
    first: u32,
) -> Result<Vec<Row>, kausal_engine::Error> {
    let lots: u32 = if options.quick { 500 } else { 5_000 };
    let names = ["multi_get", "get"];
    let nanos = try_medians(names.len(), options.rounds.unwrap_or(9), |subject| {
        options.progress(workload, names[subject]);
        let begun = Instant::now();
        for lot in 0..lots {
            let place = |at: usize| (lot * AT_ONCE as u32 + at as u32).wrapping_mul(0x9E37_79B1) % MANY_KEYS;
            let numbers: [u32; AT_ONCE] = std::array::from_fn(|at| first + place(at));
            let keys = numbers.map(key);
            let keys: [&[u8]; AT_ONCE] = std::array::from_fn(|at| &keys[at][..]);
            let values = match subject {
                0 => engine.multi_get(&keys)?,
                _ => keys.iter().map(|key| engine.get(key)).collect::<Result<_, _>>()?,
            };
            let is_right = |(value, number): (&Option<Vec<u8>>, &u32)| {
                value.as_ref().is_some_and(|value| value[0] == *number as u8)
            };
            assert!(values.iter().zip(&numbers).all(is_right), "the values that were put");
        }
        Ok::<_, kausal_engine::Error>(begun.elapsed().as_nanos() as f64 / (f64::from(lots) * AT_ONCE as f64))
    })?;
    Ok(first_against_second(workload, "key", names, &nanos))
}

/// Rows of two subjects, and of the first against the second.
fn first_against_second(workload: &str, metric: &str, names: [&str; 2], nanos: &[f64]) -> Vec<Row> {
    let row = |place: usize| Row::lower(workload, names[place], metric, nanos[place], "ns");
    let (first, second) = (row(0), row(1));
    let ratio = first.against(&second, None);
    vec![first, second, ratio]
}

/// How a value is asked for. Answers its first byte.
type Get = fn(&StorageEngine, &[u8], &mut Vec<u8>) -> Result<Option<u8>, kausal_engine::Error>;

const GETS: [(&str, Get); 3] = [
    ("get_into", |engine, key, value| Ok(engine.get_into(key, value)?.then(|| value[0]))),
    ("get", |engine, key, _| Ok(engine.get(key)?.map(|value| value[0]))),
    ("get_pinned", |engine, key, _| Ok(engine.get_pinned(key)?.map(|value| value[0]))),
];

fn gets(
    options: &Options,
    workload: &str,
    engine: &StorageEngine,
    keys: std::ops::Range<u32>,
    threads: usize,
) -> Result<Vec<Row>, kausal_engine::Error> {
    let passes = if options.quick { 2 } else { 10 };
    let pass = |get: Get, value: &mut Vec<u8>, start: u32| {
        for place in 0..keys.len() as u32 {
            // Far from the one before, and each thread elsewhere.
            let number = keys.start + (start + place.wrapping_mul(7919)) % KEYS;
            let expected = (number < 2 * KEYS).then_some(number as u8);
            assert_eq!(get(engine, &key(number), value)?, expected, "the value that was put");
        }
        Ok::<_, kausal_engine::Error>(())
    };
    let nanos = try_medians(GETS.len(), options.rounds.unwrap_or(9), |number| {
        let (name, get) = GETS[number];
        options.progress(workload, name);
        pass(get, &mut Vec::new(), 0)?;
        let failed = parking_lot::Mutex::new(None);
        let work = |(value, start): &mut (Vec<u8>, u32)| {
            if let Err(error) = (0..passes).try_for_each(|_| pass(get, value, *start)) {
                *failed.lock() = Some(error);
            }
        };
        let nanos = wall(threads, |thread| (Vec::new(), thread as u32 * 1000), work);
        failed.into_inner().map_or(Ok(nanos / f64::from(passes * KEYS)), Err)
    })?;
    let row = |(&(name, _), nanos): (&(&str, Get), f64)| Row::lower(workload, name, "get", nanos, "ns");
    Ok(GETS.iter().zip(nanos).map(row).collect())
}
