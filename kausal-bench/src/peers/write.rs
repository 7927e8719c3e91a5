//! Workloads that only write.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::bench::Bench;
use super::data::{Values, key};
use super::plan::VALUE_BYTES;
use super::store::{Outcome, Store};

/// Entries of a commit of `fillbatch`.
const BATCH: usize = 100;

/// Bytes of a large value.
const LARGE_BYTES: usize = 1024;

/// Puts in a second of the paced workload: about half of what the slowest store can do for long.
const PACE: u64 = 10_000;

/// Threads of the workloads with several.
const THREADS: [usize; 2] = [2, 4];
const SYNC_THREADS: [usize; 3] = [1, 4, 16];

/// In the order of keys.
pub fn fillseq(bench: &Bench) -> Outcome<()> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    let count = bench.plan.entries;
    bench.filled("fillseq", &*store, count, VALUE_BYTES, || bench.put_all(&*store, 0..count, 0))?;
    bench.check(&*store, 0..count, |number, value| bench.values.is(number, 0, value))?;
    store.close()
}

/// A hundred at a time, in random order.
pub fn fillbatch(bench: &Bench) -> Outcome<()> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    let count = bench.plan.entries;
    bench.filled("fillbatch", &*store, count, VALUE_BYTES, || {
        let mut numbers = bench.order.iter().peekable();
        while numbers.peek().is_some() {
            bench.put_batch(&*store, numbers.by_ref().take(BATCH), &bench.values)?;
        }
        Ok(())
    })?;
    bench.check(&*store, 0..count, |number, value| bench.values.is(number, 0, value))?;
    store.close()
}

/// Values of a kibibyte, in random order.
pub fn fill1k(bench: &Bench) -> Outcome<()> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    let count = bench.plan.large_entries();
    let values = Values::new(LARGE_BYTES, bench.options.seed);
    bench.filled("fill1k", &*store, count, LARGE_BYTES, || {
        let mut value = Vec::new();
        for number in bench.order.iter().filter(|&number| number < count) {
            values.fill(number, 0, &mut value);
            store.put(&key(number), &value)?;
        }
        Ok(())
    })?;
    bench.check(&*store, 0..count, |number, value| values.is(number, 0, value))?;
    store.close()
}

/// Sorted, by the way that the store has for that.
pub fn load(bench: &Bench) -> Outcome<()> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    let count = bench.plan.entries;
    bench.filled("load", &*store, count, VALUE_BYTES, || {
        store.load(&mut |sink| {
            let mut value = Vec::new();
            for number in 0..count {
                bench.values.fill(number, 0, &mut value);
                sink(&key(number), &value)?;
            }
            Ok(())
        })
    })?;
    bench.check(&*store, 0..count, |number, value| bench.values.is(number, 0, value))?;
    store.close()
}

/// Every entry, in random order, from a store that has settled.
pub fn delete(bench: &Bench) -> Outcome<()> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    bench.prepare(&*store)?;
    let count = bench.plan.entries;
    bench.filled("deleterandom", &*store, count, VALUE_BYTES, || {
        bench.other_order.iter().try_for_each(|number| store.delete(&key(number)))
    })?;
    bench.check(&*store, 0..0, |_, _| false)?;
    store.close()
}

/// Several threads, each with its share of the keys.
pub fn put(bench: &Bench) -> Outcome<()> {
    for threads in THREADS {
        let workload = format!("put/{threads}");
        if !bench.wants(&workload) {
            continue;
        }
        let (_folder, store) = bench.fresh(bench.plan.writing())?;
        bench.filled(&workload, &*store, bench.plan.entries, VALUE_BYTES, || {
            on_threads(threads, |thread| bench.put_all(&*store, bench.order.share(thread, threads), 0))
                .map(|_| ())
        })?;
        bench.check(&*store, 0..bench.plan.entries, |number, value| bench.values.is(number, 0, value))?;
        store.close()?;
    }
    Ok(())
}

/// Each commit on the disk before it returns.
pub fn fillsync(bench: &Bench) -> Outcome<()> {
    for threads in SYNC_THREADS {
        let workload = format!("fillsync/{threads}");
        if !bench.wants(&workload) {
            continue;
        }
        let (_folder, store) = bench.fresh(bench.plan.writing())?;
        let first = |thread: usize| thread as u64 * bench.plan.synced;
        let (done, time) = on_threads(threads, |thread| {
            let mut value = Vec::new();
            let limit = Duration::from_secs(bench.plan.seconds_max);
            let (begun, mut done) = (Instant::now(), 0);
            while done < bench.plan.synced && begun.elapsed() < limit {
                let number = first(thread) + done;
                bench.values.fill(number, 0, &mut value);
                store.put_sync(&key(number), &value)?;
                done += 1;
            }
            Ok(done)
        })?;
        bench.tell_rate(&workload, done.iter().sum(), time)?;
        let numbers = done.iter().enumerate().flat_map(|(thread, done)| first(thread)..first(thread) + done);
        bench.check(&*store, numbers, |number, value| bench.values.is(number, 0, value))?;
        store.close()?;
    }
    Ok(())
}

/// What `work` answers on each of as many threads, and how long it takes, from their common start to the end of the last.
pub(super) fn on_threads<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Outcome<T> + Sync,
) -> Outcome<(Vec<T>, Duration)> {
    let (start, work) = (&Barrier::new(threads + 1), &work);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        let done: Outcome<Vec<T>> =
            handles.into_iter().map(|handle| handle.join().expect("a workload reports its errors")).collect();
        Ok((done?, begun.elapsed()))
    })
}

/// How long single puts take: as fast as it goes, and at a given pace.
pub fn latency(bench: &Bench) -> Outcome<()> {
    if bench.wants("latency/put") {
        let (_folder, store) = bench.fresh(bench.plan.writing())?;
        let histogram = timed_puts(bench, &*store)?;
        tell_latencies(bench, "latency/put", &histogram)?;
        store.close()?;
    }
    if bench.wants("latency/paced") {
        let (_folder, store) = bench.fresh(bench.plan.writing())?;
        let histogram = paced_puts(bench, &*store)?;
        tell_latencies(bench, "latency/paced", &histogram)?;
        store.close()?;
    }
    Ok(())
}

/// Nanoseconds of each of all puts. The clock is asked once for each: one begins when the one before ended.
fn timed_puts(bench: &Bench, store: &dyn Store) -> Outcome<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    let mut value = Vec::new();
    let mut before = Instant::now();
    for number in bench.order.iter() {
        bench.values.fill(number, 0, &mut value);
        store.put(&key(number), &value)?;
        let now = Instant::now();
        histogram.record((now - before).as_nanos() as u64)?;
        before = now;
    }
    Ok(histogram)
}

/// Nanoseconds from when each put was due to its end: a put that has to begin late, because the one before took long, has waited
/// (Tene's coordinated omission).
fn paced_puts(bench: &Bench, store: &dyn Store) -> Outcome<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    let mut value = Vec::new();
    let count = bench.plan.entries.min(PACE * 2 * bench.plan.seconds_max);
    let begun = Instant::now();
    for (place, number) in (0..count).zip(bench.order.iter()) {
        let due = begun + Duration::from_nanos(place * 1_000_000_000 / PACE);
        bench.values.fill(number, 0, &mut value);
        while Instant::now() < due {
            thread::yield_now();
        }
        store.put(&key(number), &value)?;
        histogram.record((Instant::now() - due).as_nanos() as u64)?;
    }
    Ok(histogram)
}

fn tell_latencies(bench: &Bench, workload: &str, histogram: &Histogram<u64>) -> Outcome<()> {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    bench.tell_lower(workload, "p50", micros(histogram.value_at_quantile(0.5)), "us")?;
    bench.tell_lower(workload, "p99", micros(histogram.value_at_quantile(0.99)), "us")?;
    bench.tell_lower(workload, "p99_9", micros(histogram.value_at_quantile(0.999)), "us")?;
    bench.tell_lower(workload, "slowest", micros(histogram.max()), "us")
}
