//! The simulation driver: random operations on a simulated machine, crashed at every call, held against a model.
//!
//! 1. A seed makes a script of operations, faults among them ([`script`]).
//! 2. The script runs once; everything that the engine answers is compared with the model ([`run`], [`reads`], [`together`], [`model`]) on
//!    a database that is opened with other settings each time ([`machine`]).
//! 3. The disk remembers how it was before each call that changed it: a crash at each is recovered from and compared,
//!    with crashes during recovery ([`examine`]).
//! 4. A script that fails is made short ([`shrink`]) and printed with the command that runs it again.
//!
//! `cargo xtask sim [--seed N] [--seeds M] [--minutes T] [--points P] [--trace] [--brief]`

#![forbid(unsafe_code)]

mod counts;
mod examine;
mod machine;
mod model;
mod reads;
mod run;
mod script;
mod shrink;
#[cfg(test)]
mod tests;
mod together;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::counts::Counts;
use crate::examine::Plan;
use crate::script::Script;

/// Seeds from which on every kind of mishap must have happened.
const SEEDS_FOR_ALL_MISHAPS: u64 = 100;

/// What the command line asks for.
struct Arguments {
    seed: u64,
    seeds: Option<u64>,
    points: Option<u64>,
    time: Option<Duration>,
    keep: Option<Vec<usize>>,
    is_short: bool,
    prints_traces: bool,
    /// A failure is only told, not made short.
    is_brief: bool,
    threads: u64,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let time = option(arguments, "--minutes")?.map(|minutes| Duration::from_secs(60 * minutes));
        let keep = match text(arguments, "--keep")? {
            None => None,
            Some(list) if list == "none" => Some(Vec::new()),
            Some(list) => {
                let places: Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
                Some(places.map_err(|_| "--keep takes numbers with commas between them".to_owned())?)
            }
        };
        let parsed = Self {
            seed: option(arguments, "--seed")?.unwrap_or(1),
            seeds: option(arguments, "--seeds")?,
            points: option(arguments, "--points")?,
            time,
            keep,
            is_short: arguments.iter().any(|argument| argument == "--short"),
            is_brief: arguments.iter().any(|argument| argument == "--brief"),
            prints_traces: arguments.iter().any(|argument| argument == "--trace"),
            threads: option(arguments, "--threads")?.unwrap_or(2).max(1),
        };
        Ok(parsed)
    }

    /// One more than the last seed.
    fn end(&self) -> u64 {
        let default = if self.time.is_some() { u64::MAX } else { 40 };
        self.seed.saturating_add(self.seeds.unwrap_or(default))
    }

    fn script(&self, seed: u64) -> Script {
        let script = Script::of(seed);
        let script = self.keep.as_ref().map_or(script.clone(), |places| script.keep(places));
        if self.is_short { script.shorten() } else { script }
    }

    fn plan(&self) -> Plan {
        if self.keep.is_some() || self.is_short {
            return shrink::CLOSELY;
        }
        let share = self.points.map_or(u64::MAX, |points| {
            // Some seeds have fewer calls than their share.
            (points * 4 / 3).div_ceil(self.end().saturating_sub(self.seed).max(1))
        });
        Plan { points: share, rounds: 1, flips: 8 }
    }
}

fn text<'a>(arguments: &'a [String], name: &str) -> Result<Option<&'a String>, String> {
    match arguments.iter().position(|argument| argument == name) {
        None => Ok(None),
        Some(place) => arguments.get(place + 1).map(Some).ok_or_else(|| format!("{name} takes a value")),
    }
}

/// The value of a numeric option.
fn option(arguments: &[String], name: &str) -> Result<Option<u64>, String> {
    let number = |text: &String| text.parse().map_err(|_| format!("{name} takes a number"));
    text(arguments, name)?.map(number).transpose()
}

/// What the threads share.
struct Shared<'a> {
    arguments: &'a Arguments,
    begun: Instant,
    next: AtomicU64,
    counts: Mutex<Counts>,
    failures: Mutex<Vec<(Script, String)>>,
}

impl Shared<'_> {
    /// Takes seeds until there are none, time is over, or something failed.
    fn work(&self) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            let is_late = self.arguments.time.is_some_and(|time| self.begun.elapsed() >= time);
            if seed >= self.arguments.end() || is_late || !self.failures.lock().is_empty() {
                return;
            }
            let script = self.arguments.script(seed);
            let mut counts = Counts::default();
            let outcome = shrink::examine_caught(&script, self.arguments.plan(), &mut counts);
            self.counts.lock().add(&counts);
            match outcome {
                Ok(trace) if self.arguments.prints_traces => println!("seed {seed}: trace {trace:016x}"),
                Ok(_) => {}
                Err(what) => self.failures.lock().push((script, what)),
            }
        }
    }
}

/// Shows a failure, and makes it short unless it is.
fn show(script: &Script, what: &str, shrinks: bool) {
    println!("violation: seed {}: {what}\n  run again: {}", script.seed, script.command());
    if !shrinks {
        println!("{script}");
        return;
    }
    match shrink::shrink(script) {
        Some((short, what)) => {
            println!("shrunk to {} operations: {what}\n{short}", short.ops.len());
            println!("  run again: {}", short.command());
        }
        None => println!("{script}"),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::from(2);
        }
    };
    // Every recovery maps memtables anew and touches little of them: clearing whole huge pages would cost more than all
    // the rest. A kernel that does not know the wish is slower.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // A panic is a violation, shown with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let shared = Shared {
        arguments: &arguments,
        begun: Instant::now(),
        next: AtomicU64::new(arguments.seed),
        counts: Mutex::default(),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| shared.work());
        }
    });
    let Shared { counts, failures, begun, .. } = shared;
    let (counts, failures) = (counts.into_inner(), failures.into_inner());
    for (script, what) in failures.iter().take(1) {
        if arguments.is_brief {
            println!("violation: seed {}: {what}", script.seed);
        } else {
            show(script, what, arguments.keep.is_none());
        }
    }
    println!(
        "sim: {} seeds from {}: {} crash points, {} nested, {} writes recovered, {} violations, {:.1} s",
        counts.seeds,
        arguments.seed,
        counts.points,
        counts.nested,
        counts.recovered_writes,
        failures.len(),
        begun.elapsed().as_secs_f64()
    );
    counts.print();
    let is_good = failures.is_empty() && is_complete(&arguments, &counts);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether as much was done as was asked for, and everything that can go wrong did.
fn is_complete(arguments: &Arguments, counts: &Counts) -> bool {
    let is_short = arguments.points.is_some_and(|points| counts.points < points);
    if is_short {
        println!("fewer crash points than asked for: give more seeds");
    }
    let missing = if counts.seeds < SEEDS_FOR_ALL_MISHAPS { Vec::new() } else { counts.missing() };
    if !missing.is_empty() {
        println!("never happened, or was never noticed: {}", missing.join(", "));
    }
    !is_short && missing.is_empty()
}
