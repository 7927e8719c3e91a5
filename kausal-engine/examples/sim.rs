//! The simulation driver: crashes the engine at every call of a seeded script, and holds what it recovers against a
//! model.
//!
//! 1. A seed makes a script of operations. Run once without a crash, it tells how many calls there are to crash at.
//! 2. For each of them the script runs again on a fresh disk up to the crash; of what was not durable the disk keeps
//!    nothing, everything, or any part. For one crash in four, recovery crashes too, at a seeded call.
//! 3. What the engine recovers must be the state after some prefix of the script's operations: at least up to the last
//!    one acknowledged within its durability, at most up to the one that was under way. `check` must find nothing.
//!
//! `cargo xtask sim [--seed N] [--seeds M] [--points P]`

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use kausal_engine::sim::{self, CrashMode, SimRandom, SimScheduler, SimVfs};
use kausal_engine::vfs::Vfs;
use kausal_engine::{
    Builder, Durability, Error, KeyRange, MEMORY_BUDGET_MIN, Options, StorageEngine, WriteBatch, WriteOptions,
};

const FOLDER: &str = "/db";

type State = BTreeMap<Vec<u8>, Vec<u8>>;

enum Op {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>, Durability),
    Flush,
    Compact,
    Reopen,
    RunJob,
}

/// How far a run came.
#[derive(Default)]
struct Progress {
    /// Writes that were begun.
    begun: usize,
    /// Writes that a kill must not lose.
    killed_floor: usize,
    /// Writes that a loss of power must not lose.
    power_floor: usize,
}

#[derive(Default)]
struct Totals {
    points: u64,
    nested: u64,
    recovered_writes: u64,
}

fn options() -> Options {
    Options::new().memory_budget(MEMORY_BUDGET_MIN).level0_compaction_count(2).block_bytes(256)
}

fn open(vfs: &SimVfs, seed: u64) -> (Result<StorageEngine, Error>, Arc<SimScheduler>) {
    let (environment, scheduler) = sim::environment(vfs, seed);
    (Builder::new(FOLDER, options()).environment(environment).open(), scheduler)
}

fn script(seed: u64) -> Vec<Op> {
    let random = SimRandom::new(seed);
    let change = || {
        let key = format!("key{:02}", random.below(24)).into_bytes();
        let len = if random.below(60) == 0 { 300_000 } else { random.below(200) };
        let byte = random.next() as u8;
        let value = (random.below(4) > 0).then(|| (0..len).map(|place| byte ^ place as u8).collect());
        (key, value)
    };
    (0..60)
        .map(|_| match random.below(16) {
            0 => Op::Flush,
            1 => Op::Compact,
            2 => Op::Reopen,
            3 | 4 => Op::RunJob,
            kind => {
                let durability = match random.below(4) {
                    0 => Durability::Power,
                    1 => Durability::Buffered,
                    _ => Durability::Process,
                };
                let count = if kind < 8 { 1 + random.below(6) } else { 1 };
                Op::Write((0..count).map(|_| change()).collect(), durability)
            }
        })
        .collect()
}

/// The states after each write of the script.
fn states(script: &[Op]) -> Vec<State> {
    let mut states = vec![State::new()];
    for op in script {
        if let Op::Write(changes, _) = op {
            let mut state = states[states.len() - 1].clone();
            for (key, value) in changes {
                match value {
                    Some(value) => state.insert(key.clone(), value.clone()),
                    None => state.remove(key),
                };
            }
            states.push(state);
        }
    }
    states
}

/// Runs the script until its end or the first error.
fn run(vfs: &SimVfs, script: &[Op], seed: u64) -> (Progress, Result<(), Error>) {
    let mut progress = Progress::default();
    let answer = run_counted(vfs, script, seed, &mut progress);
    (progress, answer)
}

fn run_counted(vfs: &SimVfs, script: &[Op], seed: u64, progress: &mut Progress) -> Result<(), Error> {
    let (engine, mut scheduler) = open(vfs, seed);
    let mut engine = engine?;
    for op in script {
        match op {
            Op::Write(changes, durability) => {
                let mut batch = WriteBatch::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => batch.put(key, value)?,
                        None => batch.delete(key)?,
                    }
                }
                progress.begun += 1;
                engine.write(&batch, WriteOptions::durable(*durability))?;
                // A record that is durable, or in the kernel's hands, stands behind all earlier ones.
                if *durability != Durability::Buffered {
                    progress.killed_floor = progress.begun;
                }
                if *durability == Durability::Power {
                    progress.power_floor = progress.begun;
                }
            }
            Op::Flush | Op::Compact => {
                if matches!(op, Op::Flush) {
                    engine.flush()?
                } else {
                    engine.compact()?
                };
                (progress.killed_floor, progress.power_floor) = (progress.begun, progress.begun);
            }
            Op::Reopen => {
                engine.close()?;
                (progress.killed_floor, progress.power_floor) = (progress.begun, progress.begun);
                let opened = open(vfs, seed);
                (engine, scheduler) = (opened.0?, opened.1);
            }
            Op::RunJob => {
                scheduler.run_one();
            }
        }
    }
    engine.close()
}

fn read_all(engine: &StorageEngine) -> Result<State, Error> {
    let mut state = State::new();
    let mut cursor = engine.cursor(KeyRange::all())?;
    let mut more = cursor.seek_to_first()?;
    while more {
        let key = cursor.key().unwrap_or_default().to_vec();
        let mut value = Vec::new();
        if let Err(error) = cursor.value_reader()?.read_to_end(&mut value) {
            return Err(error.downcast::<Error>().unwrap_or(Error::Closed));
        }
        state.insert(key, value);
        more = cursor.next()?;
    }
    Ok(state)
}

/// Crashes at call `point`, recovers, and compares. Answers what is wrong, if anything is.
fn crash_point(
    seed: u64,
    script: &[Op],
    states: &[State],
    point: u64,
    totals: &mut Totals,
) -> Result<(), String> {
    let random = SimRandom::new(seed.rotate_left(32) ^ point);
    let mode =
        [CrashMode::DropUnsynced, CrashMode::KeepUnsynced, CrashMode::Random][random.below(3) as usize];
    let vfs = SimVfs::new();
    vfs.crash_after(point);
    let (progress, _) = run(&vfs, script, seed);
    let floor = if mode == CrashMode::KeepUnsynced { progress.killed_floor } else { progress.power_floor };
    let mut vfs = vfs.crash(mode, random.next());
    totals.points += 1;
    if random.below(4) == 0 {
        vfs.crash_after(random.below(60));
        drop(open(&vfs, seed));
        vfs = vfs.crash(mode, random.next());
        totals.nested += 1;
    }
    let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let describe = |what: &str, error: &Error| format!("{mode:?}: {what}: {error}");
    match kausal_engine::check(&shared, FOLDER.as_ref(), 64 << 20) {
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(describe("check before recovery", &error)),
    }
    let (engine, _scheduler) = open(&vfs, seed);
    let engine = engine.map_err(|error| describe("recovery", &error))?;
    let found = read_all(&engine).map_err(|error| describe("reading", &error))?;
    let matching = (floor..=progress.begun).find(|&count| states[count] == found);
    let Some(matching) = matching else {
        let earlier = states.iter().rposition(|state| *state == found);
        return Err(format!(
            "{mode:?}: recovered the state after {earlier:?} writes; {floor} were safe, {} begun",
            progress.begun
        ));
    };
    totals.recovered_writes += matching as u64;
    engine.put(b"after", b"crash").map_err(|error| describe("writing", &error))?;
    engine.close().map_err(|error| describe("closing", &error))?;
    let report = kausal_engine::check(&shared, FOLDER.as_ref(), 64 << 20);
    report.map(|_| ()).map_err(|error| describe("check after recovery", &error))
}

/// The value of a numeric option.
fn option(arguments: &[String], name: &str, default: u64) -> Result<u64, String> {
    match arguments.iter().position(|argument| argument == name) {
        None => Ok(default),
        Some(place) => arguments
            .get(place + 1)
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("{name} takes a number")),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = option(&arguments, "--seed", 1).and_then(|seed| {
        Ok((seed, option(&arguments, "--seeds", 8)?, option(&arguments, "--points", u64::MAX)?))
    });
    let (first, seeds, points) = match numbers {
        Ok(numbers) => numbers,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::from(2);
        }
    };
    let mut totals = Totals::default();
    let mut violations = 0;
    for seed in first..first.saturating_add(seeds) {
        let script = script(seed);
        let states = states(&script);
        let whole = SimVfs::new();
        if let (_, Err(error)) = run(&whole, &script, seed) {
            eprintln!("seed {seed}: without a crash: {error}");
            violations += 1;
            continue;
        }
        // Evenly over the script where not every call is asked for.
        let calls = whole.call_count();
        let seeds_left = first.saturating_add(seeds) - seed;
        let share = points.saturating_sub(totals.points).div_ceil(seeds_left).min(calls);
        for place in 0..share {
            let point = place * calls / share;
            if let Err(what) = crash_point(seed, &script, &states, point, &mut totals) {
                eprintln!("violation: seed {seed}, crash at call {point}: {what}");
                violations += 1;
            }
        }
    }
    println!(
        "sim: seeds {first}..{}: {} crash points, {} nested, {} writes recovered, {violations} violations",
        first.saturating_add(seeds),
        totals.points,
        totals.nested,
        totals.recovered_writes
    );
    let is_short = points != u64::MAX && totals.points < points;
    if is_short {
        eprintln!("fewer crash points than asked for: give more seeds");
    }
    if violations == 0 && !is_short { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
