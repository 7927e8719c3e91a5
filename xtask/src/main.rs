//! Project tasks: `cargo xtask TASK`.
//!
//! `main` is a match; each task is one room:
//!
//! | room | what lives there |
//! |---|---|
//! | `ci` | everything a change must pass, in order |
//! | `bench` | builds kausal-bench with its peers and runs it |
//! | `counts` | instructions of the hot paths, compared with the repository's |
//! | `layers` | who may know whom, who may make arenas, touch files, say unsafe |
//! | `memory_reports` | two exported memory reports, compared |
//! | `model` | what depends on an order between threads, under loom or shuttle |
//! | `release` | what a user of the published crates would get |
//! | `requirements` | the table of the memory architecture against the tests that prove it |
//! | `sanitize` | tests under the sanitizers of the compiler |
//! | `sim` | the simulated disk, crashed at every call |
//! | `fuzz` | random input for the fuzz targets of the crates |
//! | `torture` | real processes, killed, cheated and unplugged |
//! | `workspace`, `source`, `command`, `failure` | what the tasks stand on |
//!
//! A failure names file, line and remedy. The exit code is 0 for good, 1 for a failed task, 2 for wrong usage.
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod command;
mod counts;
mod failure;
mod fuzz;
mod layers;
mod memory_reports;
mod model;
mod release;
mod requirements;
mod sanitize;
mod sim;
mod source;
mod torture;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::workspace::Workspace;

const HELP: &str = "\
Project tasks.

Usage: cargo xtask TASK

  ci              everything a change must pass: format, lints, tests, docs, layers, requirements, sim
  bench [arena|cache|counts|get|index|memtable|peers|table|record] [ARGS]
                  measures against peers, prints a table; kausal-bench/README.md describes the rows
                    --quick       fewer samples of smaller sizes
                    --only W      only workloads whose name contains W
                    --json FILE   the rows
                    --markdown F  the record
                    counts [--check]  instructions of the hot paths: writes, or compares with,
                                  docs/benchmarks/counts.json; needs valgrind
  layers          proves the rules of ARCHITECTURE.md on dependencies, arenas, files and unsafe code
  mem diff A B    compares two reports that `kausal memory DB --json --events` printed, and names the first event and node that differ
  model [loom|shuttle]  explores interleavings of the models (default: loom, all of them)
                    --crate NAME  only this crate's; may be repeated
                    --planted X   builds the defect X in, and demands that a model finds it
  release --dry-run  packs the five libraries, builds each from its package, checks manifests, licences and interfaces
  requirements    runs the tests named in docs/requirements.md; fails on a row without a passing one
  sanitize [WHICH] runs library and integration tests under a sanitizer: address (the default), leak or thread
                    --crate NAME  which crate, may be repeated (default: arena, index, memtable)
                    --strict      reports of `thread` fail the task too
  sim [ARGS]      crashes a simulated disk at every call and checks what recovery finds
                    --seed N      first seed
                    --seeds M     how many seeds
                    --minutes T   until time is over
                    --points P    crash points to reach over all seeds
                    --planted X   builds defects in, and demands that X, or `all`, is found
  fuzz [TARGET]   runs the fuzz targets of the crates, all or one; needs cargo-fuzz
                    --seconds N   how long each (default 60)
                    --planted     with a planted defect, which must be found
  torture         strikes a real process, then compares what is left with what it acknowledged
                    --kills N     SIGKILL in every phase of the engine's work (default: 50 of them)
                    --syscalls    each system call fails or lies once; needs strace
                    --only CALL[:ERROR[:N]]  only these of them
                    --power[=N]   N shutdowns each of ext4 and xfs (100); needs root and xfs_io
                    --memory      a database of ten budgets, worked on; what is resident must stay within limits
                    --minutes M   how long (5); --quick: small, 20 seconds
                    --seed S      what chooses the moments (default 1)
                    --folder DIR  where the databases lie (default: beside the build)
  help            this text
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let task = arguments.next().unwrap_or_else(|| "help".into());
    match run(&task, arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {}: {failure}", task.display());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(task: &OsString, arguments: Vec<OsString>) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    match task.to_str() {
        Some("bench") => bench::run(&workspace, &arguments),
        Some("ci") => no_arguments(arguments).and_then(|()| ci::run(&workspace)),
        Some("layers") => no_arguments(arguments).and_then(|()| layers::run(&workspace)),
        Some("mem") => match arguments.as_slice() {
            [what, left, right] if what == "diff" => memory_reports::diff(left.as_ref(), right.as_ref()),
            _ => Err(Failure::usage("wants `diff A B`, two files that `kausal memory DB --json` printed")),
        },
        Some("model") => model::run(&workspace, &model::Options::parse(arguments)?),
        Some("release") => release::run(&workspace, &arguments),
        Some("requirements") => no_arguments(arguments).and_then(|()| requirements::run(&workspace)),
        Some("sanitize") => sanitize::run(&workspace, &sanitize::Options::parse(arguments)?),
        Some("sim") => sim::run(&workspace, &arguments),
        Some("fuzz") => fuzz::run(&workspace, &fuzz::Options::parse(arguments)?),
        Some("torture") => torture::run(&workspace, &torture::Options::parse(arguments)?),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::usage(format!(
            "there is no task `{}`; `cargo xtask help` lists them",
            task.display()
        ))),
    }
}

fn no_arguments(arguments: Vec<OsString>) -> Result<(), Failure> {
    match arguments.first() {
        None => Ok(()),
        Some(first) => Err(Failure::usage(format!("takes no argument, but got `{}`", first.display()))),
    }
}
