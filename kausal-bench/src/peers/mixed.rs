//! One store, filled in random order: its memory, then everything that reads it, alone and beside writers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::bench::Bench;
use super::data::{ZIPF, Zipf, key, missing};
use super::plan::{KEY_BYTES, MEMORY_AT, VALUE_BYTES};
use super::store::{Memory, Outcome, Store, View};
use super::usage;

/// Looks at the memory during a fill; every one of [`TOLD`] is told.
const SAMPLES: u64 = 64;
const TOLD: u64 = 4;

/// Keys after a seek, db_bench's own.
const NEXT: usize = 10;

/// Keys of the longest scan of YCSB E.
const SCAN_MAX: usize = 100;

/// Puts in a second beside a reader, in bursts at each tick.
const WRITES: u64 = 20_000;
const TICK: Duration = Duration::from_millis(1);

/// The version of values that overwrite.
const OVERWRITTEN: u8 = 2;

/// The whole group.
pub fn run(bench: &Bench) -> Outcome<()> {
    let before = usage::memory();
    let (folder, store) = bench.fresh(bench.plan.writing())?;
    fillrandom(bench, &*store, folder.path(), before)?;
    bench.check(&*store, 0..bench.plan.entries, |number, value| bench.values.is(number, 0, value))?;
    store.close()?;
    read_only(bench, folder.path())?;
    let store = bench.open(folder.path(), bench.plan.writing())?;
    if bench.wants("readwhilewriting") {
        read_while_writing(bench, &*store)?;
    }
    for (workload, reads) in [("ycsb_a", 50), ("ycsb_b", 95)] {
        if bench.wants(workload) {
            read_and_update(bench, &*store, workload, reads)?;
        }
    }
    if bench.wants("overwrite") {
        let count = bench.plan.entries;
        bench.filled("overwrite", &*store, count, VALUE_BYTES, || {
            bench.put_all(&*store, bench.other_order.iter(), OVERWRITTEN)
        })?;
        bench.check(&*store, 0..count, |number, value| bench.values.is(number, OVERWRITTEN, value))?;
    }
    if bench.wants("ycsb_e") {
        let inserted = scan_and_insert(bench, &*store)?;
        let count = bench.plan.entries + inserted;
        bench.check(&*store, 0..count, |number, value| bench.values.heads(number, value))?;
    }
    store.close()
}

fn fillrandom(bench: &Bench, store: &dyn Store, folder: &Path, before: u64) -> Outcome<()> {
    let plan = &bench.plan;
    let (mut peak, mut mapped) = (0, 0);
    let mut course = Vec::with_capacity(SAMPLES as usize);
    bench.filled("fillrandom", store, plan.entries, VALUE_BYTES, || {
        for sample in 0..SAMPLES {
            let place = |sample: u64| plan.entries * sample / SAMPLES;
            let share = bench.order.iter().skip(place(sample) as usize);
            bench.put_all(store, share.take((place(sample + 1) - place(sample)) as usize), 0)?;
            let memory = usage::memory();
            course.push(memory.saturating_sub(before) as f64 / plan.memory as f64);
            peak = peak.max(memory);
            mapped = mapped.max(usage::mapped());
        }
        Ok(())
    })?;
    let own = peak.saturating_sub(before) as f64;
    bench.tell_lower("fillrandom", "memory", own / plan.memory as f64, "of budget")?;
    for (sample, memory) in course.iter().enumerate().skip(TOLD as usize - 1).step_by(TOLD as usize) {
        let percent = (sample as f64 + 1.0) * 100.0 / SAMPLES as f64;
        bench.tell_lower("fillrandom", &format!("{MEMORY_AT}{percent}"), *memory, "of budget")?;
    }
    bench.tell_lower("fillrandom", "mapped_files", mapped as f64 / f64::from(1 << 20), "MiB")?;
    let user_bytes = plan.entries as f64 * (KEY_BYTES + VALUE_BYTES) as f64;
    bench.tell_lower("fillrandom", "disk", usage::disk(folder)? as f64 / user_bytes, "x")
}

/// What only reads, at one moment, with much and with little cache.
fn read_only(bench: &Bench, folder: &Path) -> Outcome<()> {
    let cached = ["readrandom/cached", "readmissing", "seekrandom", "readseq"];
    if cached.into_iter().any(|workload| bench.wants(workload)) {
        reading(bench, folder, bench.plan.cached(), &mut |view| {
            let get = |view: &mut dyn View| read_random(bench, view, "readrandom/cached");
            if_wanted(bench, "readrandom/cached", view, get)?;
            if_wanted(bench, "readmissing", view, |view| read_missing(bench, view))?;
            if_wanted(bench, "seekrandom", view, |view| seek_random(bench, view))?;
            if_wanted(bench, "readseq", view, |view| read_all(bench, view))
        })?;
    }
    if bench.wants("readrandom/quarter") {
        reading(bench, folder, bench.plan.quarter(), &mut |view| {
            read_random(bench, view, "readrandom/quarter")
        })?;
    }
    Ok(())
}

fn if_wanted(
    bench: &Bench,
    workload: &str,
    view: &mut dyn View,
    work: impl FnOnce(&mut dyn View) -> Outcome<()>,
) -> Outcome<()> {
    if bench.wants(workload) { work(view) } else { Ok(()) }
}

/// Opens the store with this memory, reads all of it once and some of it at random, and then does `work`.
fn reading(
    bench: &Bench,
    folder: &Path,
    memory: Memory,
    work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>,
) -> Outcome<()> {
    let store = bench.open(folder, memory)?;
    store.read(&mut |view| {
        view.scan(&key(0), usize::MAX, &mut |_, _| {})?;
        bench.repeated(bench.plan.entries, |place| {
            view.get(&key(bench.order.at(place)), &mut |_| {})?;
            Ok(())
        })?;
        work(view)
    })?;
    store.close()
}

fn read_random(bench: &Bench, view: &mut dyn View, workload: &str) -> Outcome<()> {
    let mut right = 0;
    let (done, time) = bench.repeated(bench.plan.entries, |place| {
        let number = bench.other_order.at(place);
        view.get(&key(number), &mut |value| right += u64::from(bench.values.heads(number, value)))?;
        Ok(())
    })?;
    expect(right, done, "values")?;
    bench.tell_rate(workload, done, time)
}

fn read_missing(bench: &Bench, view: &mut dyn View) -> Outcome<()> {
    let mut found = 0;
    let (done, time) = bench.repeated(bench.plan.entries, |place| {
        found += u64::from(view.get(&missing(bench.other_order.at(place)), &mut |_| {})?);
        Ok(())
    })?;
    expect(found, 0, "keys that are not there")?;
    bench.tell_rate("readmissing", done, time)
}

fn seek_random(bench: &Bench, view: &mut dyn View) -> Outcome<()> {
    let (mut right, mut wanted) = (0, 0);
    let (done, time) = bench.repeated(bench.plan.entries, |place| {
        let first = bench.other_order.at(place);
        wanted += (bench.plan.entries - first).min(1 + NEXT as u64);
        let mut number = first;
        view.scan(&key(first), 1 + NEXT, &mut |_, value| {
            right += u64::from(bench.values.heads(number, value));
            number += 1;
        })?;
        Ok(())
    })?;
    expect(right, wanted, "values after a seek")?;
    bench.tell_rate("seekrandom", done, time)
}

/// Walks over everything, several times where that is quick.
fn read_all(bench: &Bench, view: &mut dyn View) -> Outcome<()> {
    let mut right = 0;
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 5 && (rounds == 0 || begun.elapsed() < Duration::from_secs(bench.plan.seconds_max)) {
        let mut number = 0;
        view.scan(&key(0), usize::MAX, &mut |_, value| {
            right += u64::from(bench.values.heads(number, value));
            number += 1;
        })?;
        rounds += 1;
    }
    let time = begun.elapsed();
    expect(right, rounds * bench.plan.entries, "values of a scan")?;
    bench.tell_rate("readseq", right, time)
}

fn expect(found: u64, wanted: u64, what: &str) -> Outcome<()> {
    if found == wanted { Ok(()) } else { Err(format!("{found} {what} were found, not {wanted}").into()) }
}

/// One reader at the present, and a writer at a pace that is the same for everybody.
fn read_while_writing(bench: &Bench, store: &dyn Store) -> Outcome<()> {
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = thread::scope(|scope| {
        let writer = scope.spawn(|| overwrite_until(bench, store, &is_over, &written));
        let mut right = 0;
        let read = bench.repeated(bench.plan.entries, |place| {
            let number = bench.other_order.at(place);
            store.get(&key(number), &mut |value| right += u64::from(bench.values.heads(number, value)))?;
            Ok(())
        });
        // Relaxed: the writer only has to see it some time; joining it orders the rest.
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("a writer reports its errors")?;
        let read = read?;
        expect(right, read.0, "values")?;
        Outcome::Ok(read)
    })?;
    bench.tell_rate("readwhilewriting", read.0, read.1)?;
    let writes = written.load(Ordering::Relaxed) as f64 / read.1.as_secs_f64();
    bench.tell_higher("readwhilewriting", "writes", writes, "/s")
}

fn overwrite_until(
    bench: &Bench,
    store: &dyn Store,
    is_over: &AtomicBool,
    written: &AtomicU64,
) -> Outcome<()> {
    let mut value = Vec::new();
    let begun = Instant::now();
    let mut count = 0;
    // Relaxed: a flag without data behind it.
    while !is_over.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * WRITES as f64) as u64;
        while count < due && !is_over.load(Ordering::Relaxed) {
            let number = bench.order.at(count);
            bench.values.fill(number, 1, &mut value);
            store.put(&key(number), &value)?;
            count += 1;
        }
        // Relaxed: read after this thread has been joined.
        written.store(count, Ordering::Relaxed);
        thread::sleep(TICK);
    }
    Ok(())
}

/// YCSB A and B: `reads` of a hundred operations read, the others update; keys by Zipf's law.
fn read_and_update(bench: &Bench, store: &dyn Store, workload: &str, reads: u8) -> Outcome<()> {
    let zipf = Zipf::new(bench.plan.entries, ZIPF);
    let mut rng = Rng::with_seed(bench.options.seed);
    let (mut value, mut right, mut read) = (Vec::new(), 0, 0);
    let (done, time) = bench.repeated(bench.plan.entries, |_| {
        let number = bench.other_order.at(zipf.draw(&mut rng));
        if rng.u8(..100) < reads {
            read += 1;
            store.get(&key(number), &mut |value| right += u64::from(bench.values.heads(number, value)))?;
        } else {
            bench.values.fill(number, 1, &mut value);
            store.put(&key(number), &value)?;
        }
        Ok(())
    })?;
    expect(right, read, "values")?;
    bench.tell_rate(workload, done, time)
}

/// YCSB E: 95 of a hundred operations scan up to [`SCAN_MAX`] keys from one by Zipf's law, the others insert a new key. Answers
/// how many were inserted.
fn scan_and_insert(bench: &Bench, store: &dyn Store) -> Outcome<u64> {
    let zipf = Zipf::new(bench.plan.entries, ZIPF);
    let mut rng = Rng::with_seed(bench.options.seed);
    let (mut value, mut inserted) = (Vec::new(), 0);
    let (mut right, mut wanted) = (0, 0);
    let (done, time) = bench.repeated(bench.plan.entries, |_| {
        let first = bench.other_order.at(zipf.draw(&mut rng));
        if rng.u8(..100) < 95 {
            let limit = rng.usize(1..=SCAN_MAX);
            wanted += (bench.plan.entries + inserted - first).min(limit as u64);
            let mut number = first;
            store.read(&mut |view| {
                view.scan(&key(first), limit, &mut |_, value| {
                    right += u64::from(bench.values.heads(number, value));
                    number += 1;
                })?;
                Ok(())
            })?;
        } else {
            let number = bench.plan.entries + inserted;
            bench.values.fill(number, 0, &mut value);
            store.put(&key(number), &value)?;
            inserted += 1;
        }
        Ok(())
    })?;
    expect(right, wanted, "values of scans")?;
    bench.tell_rate("ycsb_e", done, time)?;
    Ok(inserted)
}
