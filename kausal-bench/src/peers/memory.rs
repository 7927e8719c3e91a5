//! What a store has resident at most, beside the budget that it was given.
//!
//! 1. A store of ten budgets is filled and settles. A snapshot is taken, and held to the end.
//! 2. Four threads look up, put, walk, and now and then put a value of up to 8 MiB.
//! 3. A thread samples what the process has resident, from before the store is opened. What it had then is its own, and taken off.
//!
//! No group of the table: `cargo xtask torture --memory` runs it beside the database that it judges.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::data::{Values, key};
use super::store::{Outcome, Store};
use super::usage;
use super::write::on_threads;

/// The name of the group.
pub const GROUP: &str = "memory";

const WORKLOAD: &str = "memory";

/// Bytes of a value: 4 million entries are more than ten times 64 MiB.
const VALUE_BYTES: usize = 160;

/// Bytes of the largest value.
const LARGE_BYTES: u64 = 8 << 20;

/// Every so many operations of a thread one is a large value, under one of so many keys.
const LARGE_EVERY: u64 = 4_000;
const LARGE_KEYS: u64 = 8;

const THREADS: usize = 4;
const WALK_ENTRIES: usize = 200;

/// So many times as long as other workloads may take.
const TIMES_AS_LONG: u32 = 3;

/// The most seen of the process, in bytes: its own memory, and pages of mapped files.
#[derive(Default)]
struct Most {
    own: AtomicU64,
    mapped: AtomicU64,
    has_ended: AtomicBool,
}

impl Most {
    fn sample(&self) {
        while !self.has_ended.load(Ordering::Relaxed) {
            self.own.fetch_max(usage::memory(), Ordering::Relaxed);
            self.mapped.fetch_max(usage::mapped(), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Tells the budget, the most that was resident, and operations in a second.
pub fn run(bench: &Bench) -> Outcome<()> {
    let values = Values::new(VALUE_BYTES, bench.options.seed);
    let large = vec![0xA5; LARGE_BYTES as usize];
    let (own, mapped) = (usage::memory(), usage::mapped());
    let most = Most::default();
    let (done, time) = thread::scope(|scope| {
        scope.spawn(|| most.sample());
        let worked = fill_and_work(bench, &values, &large);
        most.has_ended.store(true, Ordering::Relaxed);
        worked
    })?;
    let budget = bench.plan.writing().total() as f64;
    let more = |most: &AtomicU64, before: u64| most.load(Ordering::Relaxed).saturating_sub(before) as f64;
    bench.tell_lower(WORKLOAD, "budget", budget, "bytes")?;
    bench.tell_lower(WORKLOAD, "resident", more(&most.own, own), "bytes")?;
    bench.tell_lower(WORKLOAD, "mapped", more(&most.mapped, mapped), "bytes")?;
    bench.tell_rate(WORKLOAD, done, time)
}

fn fill_and_work(bench: &Bench, values: &Values, large: &[u8]) -> Outcome<(u64, Duration)> {
    let (_folder, store) = bench.fresh(bench.plan.writing())?;
    let mut numbers = bench.order.iter().peekable();
    while numbers.peek().is_some() {
        bench.put_batch(&*store, numbers.by_ref().take(1000), values)?;
    }
    store.settle()?;
    let mut worked = (0, Duration::ZERO);
    store.read(&mut |moment| {
        let (done, time) = on_threads(THREADS, |thread| operate(bench, &*store, values, large, thread))?;
        worked = (done.iter().sum(), time);
        // The snapshot is still that of before.
        for number in 0..100.min(bench.plan.entries) {
            let mut is_right = false;
            moment.get(&key(number), &mut |value| is_right = values.heads(number, value))?;
            if !is_right {
                return Err(format!("entry {number} is wrong in the snapshot").into());
            }
        }
        Ok(())
    })?;
    store.close()?;
    Ok(worked)
}

fn operate(bench: &Bench, store: &dyn Store, values: &Values, large: &[u8], thread: usize) -> Outcome<u64> {
    let mut random = fastrand::Rng::with_seed(bench.options.seed ^ thread as u64);
    let limit = Duration::from_secs(bench.plan.seconds_max) * TIMES_AS_LONG;
    let entries = bench.plan.entries;
    let (mut value, mut done, begun) = (Vec::new(), 0, Instant::now());
    while begun.elapsed() < limit {
        done += 1;
        let number = random.u64(0..entries);
        match random.u8(0..100) {
            _ if done % LARGE_EVERY == 0 => {
                let name = key(2 * entries + random.u64(0..LARGE_KEYS));
                store.put(&name, &large[..random.u64(1..=LARGE_BYTES) as usize])?;
            }
            0..2 => {
                // Not to where the large ones are.
                let first = number.min(entries.saturating_sub(WALK_ENTRIES as u64));
                store.read(&mut |view| view.scan(&key(first), WALK_ENTRIES, &mut |_, _| {}).map(|_| ()))?;
            }
            2..30 => {
                values.fill(number, 1, &mut value);
                store.put(&key(number), &value)?;
            }
            _ => {
                let mut is_right = false;
                store.get(&key(number), &mut |value| is_right = values.heads(number, value))?;
                if !is_right {
                    return Err(format!("entry {number} is wrong").into());
                }
            }
        }
    }
    Ok(done)
}
