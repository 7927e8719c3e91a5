//! `ci`: everything a change must pass, in order, stopping at the first failure.
//!
//! The order is by what a failure costs to find: format first, then what only checks, then what builds and runs. All
//! steps but four see the workspace with the same features, so that each crate is compiled once per profile: every one
//! but kausal-bench's, which are its peers. The lean check proves that the engine compiles without the command line
//! tool; the models are built for their checker; the simulation and what counts instructions are built for speed.
//!
//! Nothing is compiled incrementally: from an empty target folder, that is a tenth of the compilation of our own crates.
//!
//! Not here: what a step means. Each is a command or another task that can be run alone.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::command;
use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{counts, layers, model, requirements, sim};

/// One thing that must hold: a cargo command, or another task.
struct Step {
    name: &'static str,
    run: Run,
}

enum Run {
    Cargo(&'static [&'static str]),
    /// A cargo command on the whole workspace with every feature but the peers: what comes before, what after `--`.
    Everything(&'static [&'static str], &'static [&'static str]),
    /// `cargo doc` with every warning an error.
    Docs,
    /// A task of ours, and how to run it alone.
    Task(fn(&Workspace) -> Result<(), Failure>, &'static str),
}

/// What is done wrong at run time, with kausal-arena as a release has it: optimised, no debug assertions, sums that wrap.
/// Only kausal-arena, so that what it depends on is there already.
const MISUSE: [&str; 9] = [
    "test",
    "--test",
    "arena",
    "--config",
    "profile.dev.package.kausal-arena.opt-level=3",
    "--config",
    "profile.dev.package.kausal-arena.debug-assertions=false",
    "--config",
    "profile.dev.package.kausal-arena.overflow-checks=false",
];

const STEPS: [Step; 11] = [
    Step { name: "format", run: Run::Cargo(&["fmt", "--all", "--check"]) },
    Step { name: "lints", run: Run::Everything(&["clippy", "--all-targets"], &["--", "--deny", "warnings"]) },
    Step { name: "lean library", run: Run::Cargo(&["check", "--package", "kausal-engine"]) },
    Step { name: "tests and doc tests", run: Run::Everything(&["test"], &[]) },
    Step { name: "misuse without debug assertions", run: Run::Everything(&MISUSE, &["s27_misuse"]) },
    Step { name: "docs", run: Run::Docs },
    Step { name: "layers", run: Run::Task(layers::run, "cargo xtask layers") },
    Step { name: "requirements", run: Run::Task(requirements::run, "cargo xtask requirements") },
    Step { name: "models", run: Run::Task(models, "cargo xtask model") },
    Step { name: "simulation", run: Run::Task(simulation, "cargo xtask sim") },
    Step { name: "counts", run: Run::Task(counts::check, "cargo xtask bench counts --check") },
];

/// Runs every step.
///
/// # Errors
///
/// [`Failure`] of the first step that fails, with the command that runs it alone.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    command::compile_for_once();
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
            Run::Everything(task, more) => command::run(&mut everything(workspace, task, more)?),
            Run::Docs => {
                let mut command = everything(workspace, &["doc", "--no-deps"], &[])?;
                command::run(command.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Run::Task(task, again) => {
                task(workspace).map_err(|failure| Failure::other(format!("{failure}\n  run again: {again}")))
            }
        }
    }
}

/// `cargo TASK --workspace` with every feature but the peers.
fn everything(workspace: &Workspace, task: &[&str], more: &[&str]) -> Result<Command, Failure> {
    let features = workspace.metadata()?.features_without_peers();
    let mut command = command::cargo(workspace.root(), task);
    command.args(["--workspace", "--features", &features]).args(more);
    Ok(command)
}

fn models(workspace: &Workspace) -> Result<(), Failure> {
    model::run(workspace, &model::Options::for_ci())
}

fn simulation(workspace: &Workspace) -> Result<(), Failure> {
    sim::run(workspace, &sim::CI_ARGUMENTS.map(Into::into))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
