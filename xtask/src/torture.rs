//! `torture`: a real process, killed, cheated or unplugged, must keep every write that it acknowledged.
//!
//! | what | how | room |
//! |---|---|---|
//! | `--kills N` | two writers; SIGKILL in each phase of the engine's work, then an audit | `kills` |
//! | `--syscalls` | a script; each of its system calls fails or lies once, by strace; then an audit | `syscalls` |
//! | `--memory` | four threads on a database of ten budgets; what is resident, and the sums of the books | `memory` |
//! | `--power N` | two writers on ext4 and xfs on a loop device; the file system is shut down; then an audit | `power` |
//!
//! The process is the example `torture_worker` of kausal-engine; `worker` builds and runs it. It knows what each writer
//! does and audits what is left; these rooms decide when to strike, and count.
//!
//! A kill loses no page cache, so `--kills` proves recovery after a crash of the process. The loss of power is
//! `--power`'s, and that of a simulated disk, at every call, `cargo xtask sim`'s.

mod kills;
mod memory;
mod phase;
mod power;
mod syscalls;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, ValueExt};
use tempfile::TempDir;

use crate::failure::{AtPath, Failure};
use crate::workspace::Workspace;

use worker::Worker;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    kills: u32,
    syscalls: bool,
    /// Shutdowns of each file system.
    power: u32,
    memory: bool,
    /// How long `memory` works.
    minutes: u32,
    /// A small form of `memory`.
    quick: bool,
    /// Stores that `memory` shows beside ours, separated by commas.
    versus: Option<String>,
    seed: u64,
    /// Only these system calls.
    only: Option<String>,
    /// Where databases lie while they are tortured.
    folder: Option<PathBuf>,
}

impl Options {
    /// Reads `--kills N --syscalls [--only CALL] --power N --memory [--minutes M] [--quick] [--vs STORE,STORE] --seed S --folder DIR`; without any
    /// of the four, 50 kills.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for anything else.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self { seed: 1, minutes: 5, ..Self::default() };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("kills") => options.kills = count("--kills", parser.value()?.parse()?)?,
                Long("syscalls") => options.syscalls = true,
                Long("memory") => options.memory = true,
                Long("minutes") => options.minutes = count("--minutes", parser.value()?.parse()?)?,
                Long("quick") => options.quick = true,
                Long("vs") => options.versus = Some(parser.value()?.parse()?),
                Long("only") => options.only = Some(parser.value()?.parse()?),
                Long("power") => {
                    let given = parser.optional_value().map(|value| value.parse()).transpose()?;
                    options.power = count("--power", given.unwrap_or(100))?;
                }
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("folder") => options.folder = Some(parser.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        if !options.syscalls && !options.memory && options.power == 0 && options.kills == 0 {
            options.kills = 50;
        }
        Ok(options)
    }
}

fn count(option: &str, count: u32) -> Result<u32, Failure> {
    if count == 0 { Err(Failure::usage(format!("{option} wants at least 1"))) } else { Ok(count) }
}

/// Runs what was asked for, one after the other, and prints what was counted.
///
/// # Errors
///
/// [`Failure`] if a promise is broken, too few strikes hit, or a tool fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let parent = match &options.folder {
        Some(folder) => folder.clone(),
        // Beside the build, not in the system's temporary folder: that may be memory, where a sync means nothing.
        None => workspace.metadata()?.target_folder,
    };
    let folder = TempDir::with_prefix_in("torture-", &parent).at("make a folder in", &parent)?;
    let worker = Worker::new(worker::build_example(workspace, "torture_worker")?, folder.path())?;
    let kills = || if options.kills > 0 { kills::run(&worker, options) } else { Ok(()) };
    let syscalls = || if options.syscalls { syscalls::run(&worker, options) } else { Ok(()) };
    let power = || if options.power > 0 { power::run(&worker, options) } else { Ok(()) };
    let memory = || if options.memory { memory::run(workspace, options, folder.path()) } else { Ok(()) };
    let outcome = kills().and_then(|()| syscalls()).and_then(|()| power()).and_then(|()| memory());
    if outcome.is_err() {
        println!("torture: the database and what is known of it are kept in {}", folder.keep().display());
    }
    outcome
}

#[cfg(test)]
mod tests;
