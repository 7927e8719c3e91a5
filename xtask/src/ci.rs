//! `ci`: everything a change must pass, in order, stopping at the first failure.
//!
//! The order is by what a failure costs to find: format first, then what only checks, then what builds and runs. All
//! steps but two see the workspace with every feature, so that each crate is compiled once per profile; the lean check
//! proves that the engine compiles without the command line tool, and the simulation is built for speed.
//!
//! Not here: what a step means. Each is a command or another task that can be run alone.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::command;
use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{layers, requirements, sim};

/// One thing that must hold: a cargo command, or another task.
struct Step {
    name: &'static str,
    run: Run,
}

enum Run {
    Cargo(&'static [&'static str]),
    /// `cargo doc` with every warning an error.
    Docs,
    /// A task of ours, and how to run it alone.
    Task(fn(&Workspace) -> Result<(), Failure>, &'static str),
}

const STEPS: [Step; 8] = [
    Step { name: "format", run: Run::Cargo(&["fmt", "--all", "--check"]) },
    Step {
        name: "lints",
        run: Run::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "--deny",
            "warnings",
        ]),
    },
    Step { name: "lean library", run: Run::Cargo(&["check", "--package", "kausal-engine"]) },
    Step { name: "tests and doc tests", run: Run::Cargo(&["test", "--workspace", "--all-features"]) },
    Step { name: "docs", run: Run::Docs },
    Step { name: "layers", run: Run::Task(layers::run, "cargo xtask layers") },
    Step { name: "requirements", run: Run::Task(requirements::run, "cargo xtask requirements") },
    Step { name: "simulation", run: Run::Task(simulation, "cargo xtask sim") },
];

/// Runs every step.
///
/// # Errors
///
/// [`Failure`] of the first step that fails, with the command that runs it alone.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut durations = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        println!("\n=== ci {}/{}: {}", index + 1, STEPS.len(), step.name);
        let step_begun = Instant::now();
        step.run(workspace)
            .map_err(|failure| Failure::other(format!("step `{}` failed: {failure}", step.name)))?;
        durations.push((step.name, step_begun.elapsed()));
        println!("=== ci {}: ok in {}", step.name, seconds(step_begun.elapsed()));
    }
    println!("\n=== ci: all {} steps ok in {}", STEPS.len(), seconds(begun.elapsed()));
    for (name, duration) in durations {
        println!("  {:>8}  {name}", seconds(duration));
    }
    Ok(())
}

impl Step {
    fn run(&self, workspace: &Workspace) -> Result<(), Failure> {
        match self.run {
            Run::Cargo(arguments) => command::run(&mut command::cargo(workspace.root(), arguments)),
            Run::Docs => command::run(&mut docs(workspace)),
            Run::Task(task, again) => {
                task(workspace).map_err(|failure| Failure::other(format!("{failure}\n  run again: {again}")))
            }
        }
    }
}

fn docs(workspace: &Workspace) -> Command {
    let arguments = ["doc", "--workspace", "--no-deps", "--all-features"];
    let mut command = command::cargo(workspace.root(), &arguments);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

fn simulation(workspace: &Workspace) -> Result<(), Failure> {
    sim::run(workspace, &sim::CI_ARGUMENTS.map(Into::into))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
