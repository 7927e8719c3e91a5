//! The process that `cargo xtask torture` kills, cheats and unplugs.
//!
//! `torture_worker TASK DATABASE FOLDER [--salt S] [--millis M] [--power]`
//!
//! | task | what it does |
//! |---|---|
//! | `mixed` | two writers, mixed operations and durabilities, reads that check ([`mixed`]) |
//! | `open` | recovers, and ends without a close |
//! | `scenario` | a script of one thread, the same calls in every run ([`scenario`]) |
//! | `audit` | recovers, compares with what was acknowledged, prints a line of JSON ([`audit`]) |
//!
//! Exit codes: 0 done; 2 wrong usage; 3 a violation of a promise; 10 an error that the engine reported; 101 a panic.
#![forbid(unsafe_code)]

mod audit;
mod history;
mod mixed;
mod phase;
mod place;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use audit::Crash;
use place::Place;

/// Why a task ended early.
#[derive(Debug)]
enum Ending {
    /// An error that the engine reported.
    Engine(kausal_engine::Error),
    /// The worker's own files.
    Io(std::io::Error),
    /// A broken promise.
    Violation(String),
    /// A writer panicked.
    Panicked,
    Usage(String),
}

impl From<kausal_engine::Error> for Ending {
    fn from(error: kausal_engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

struct Arguments {
    task: String,
    place: Place,
    salt: u64,
    limit: Duration,
    crash: Crash,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut next = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
        let task = next("the task")?;
        let database = PathBuf::from(next("the database")?);
        let place = Place::new(database, Path::new(&next("the folder")?));
        let mut parsed = Self { task, place, salt: 0, limit: Duration::from_secs(60), crash: Crash::Kill };
        while let Some(word) = words.next() {
            let mut number = || {
                let word = words.next();
                word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing".to_owned())
            };
            match word.as_str() {
                "--salt" => parsed.salt = number()?,
                "--millis" => parsed.limit = Duration::from_millis(number()?),
                "--power" => parsed.crash = Crash::Power,
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(parsed)
    }

    fn run(self) -> Result<(), Ending> {
        let Self { place, salt, limit, crash, .. } = &self;
        match self.task.as_str() {
            "mixed" => mixed::run(place, *salt, *limit),
            "open" => {
                let phases = phase::Phases::create(&place.phase())?;
                std::mem::forget(mixed::open(place, &phases, *salt)?);
                Ok(())
            }
            "scenario" => scenario::run(place),
            "audit" => {
                println!("{}", audit::run(place, *crash, *salt)?);
                Ok(())
            }
            other => Err(Ending::Usage(format!("there is no task {other}"))),
        }
    }
}

fn main() -> ExitCode {
    let parsed = Arguments::parse(std::env::args().skip(1)).map_err(Ending::Usage);
    let (code, what) = match parsed.and_then(Arguments::run) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Ending::Usage(what)) => (2, what),
        Err(Ending::Violation(what)) => (3, format!("violation: {what}")),
        Err(Ending::Engine(error)) => (10, chain(&error)),
        Err(Ending::Io(error)) => (11, chain(&error)),
        Err(Ending::Panicked) => (101, "a writer panicked".to_owned()),
    };
    eprintln!("{what}");
    ExitCode::from(code)
}
