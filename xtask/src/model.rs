//! `model`: the models of what depends on an order between threads, under a checker of interleavings.
//!
//! 1. A crate's models are the test programs of its `tests` folder whose names begin with `models`, `loom_` or `shuttle_`.
//! 2. They are built with `--cfg loom` or `--cfg shuttle`, into a folder of their own, so that the sync facade of
//!    kausal-arena puts the checker's atomics and locks below the very code that ships.
//! 3. What a model prints of how far it went (`… runs`) is summed up. How far it goes is its own matter.
//!
//! With `--planted DEFECT` a defect is built in (`--cfg kausal_planted="DEFECT"`), and the task succeeds only if a model
//! finds it. All programs run then, so that every model that finds it is named.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use lexopt::{Arg, Parser, ValueExt};

use crate::command;
use crate::failure::Failure;
use crate::workspace::{Package, Workspace};

/// Beginnings of the names of test programs that are models.
const PREFIXES: [&str; 3] = ["models", "loom_", "shuttle_"];

/// What filters loom's log, which no model writes.
const LOG_FILTERS: [&str; 3] = ["regex-automata", "regex-syntax", "tracing-subscriber"];

/// What the task is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    checker: String,
    crates: Vec<String>,
    planted: Option<String>,
}

impl Options {
    /// Reads `[loom|shuttle] [--crate NAME]… [--planted DEFECT]`.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for anything else.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self { checker: "loom".into(), crates: Vec::new(), planted: None };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Value(name) if name == "loom" || name == "shuttle" => options.checker = name.string()?,
                Arg::Long("crate") => options.crates.push(parser.value()?.string()?),
                Arg::Long("planted") => options.planted = Some(parser.value()?.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }

    /// What `ci` runs: the models of the arena, all of them in seconds. Those of the indexes take minutes, by hand.
    pub(crate) fn for_ci() -> Self {
        Self { checker: "loom".into(), crates: vec!["kausal-arena".into()], planted: None }
    }
}

/// Runs the models.
///
/// # Errors
///
/// [`Failure`] if a model fails, or does not fail with a planted defect, or there is none.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let (mut programs, mut runs, mut failed) = (0, 0, Vec::new());
    for package in workspace.metadata()?.packages {
        let is_wanted = options.crates.is_empty() || options.crates.contains(&package.name);
        let models = models_of(&package);
        if !is_wanted || models.is_empty() {
            continue;
        }
        programs += models.len();
        let (explored, losers) = explore(workspace, options, &package, &models)?;
        runs += explored;
        failed.extend(losers.into_iter().map(|loser| format!("{}: {loser}", package.name)));
    }
    if programs == 0 {
        return Err(Failure::other("there is no model in the crates asked for"));
    }
    println!("model: {}: {programs} programs, {runs} runs explored", options.checker);
    match (&options.planted, failed.is_empty()) {
        (None, true) => Ok(()),
        (None, false) => Err(Failure::other(format!("models failed\n  {}", failed.join("\n  ")))),
        (Some(planted), false) => {
            println!("model: found the planted defect `{planted}`, by\n  {}", failed.join("\n  "));
            Ok(())
        }
        (Some(planted), true) => {
            Err(Failure::other(format!("no model found the planted defect `{planted}`")))
        }
    }
}

fn models_of(package: &Package) -> Vec<&str> {
    let names = package.tests.iter().map(String::as_str);
    names.filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// Runs the models of one crate. Returns how many runs they explored, and which of them failed.
fn explore(
    workspace: &Workspace,
    options: &Options,
    package: &Package,
    models: &[&str],
) -> Result<(u64, Vec<String>), Failure> {
    let output = command::read_any(cargo(workspace, options, package, models).stderr(Stdio::inherit()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    print!("{printed}");
    if !output.status.success() && !printed.contains("test result:") {
        return Err(Failure::other(format!("the models of {} do not build", package.name)));
    }
    let mut failed = failures_in(&printed);
    if !output.status.success() && failed.is_empty() {
        failed.push(format!("a program ended with {}", output.status));
    }
    Ok((runs_in(&printed), failed))
}

fn cargo(workspace: &Workspace, options: &Options, package: &Package, models: &[&str]) -> Command {
    let mut command = command::cargo(workspace.root(), &["test", "--release", "--package", &package.name]);
    for model in models {
        command.args(["--test", model]);
    }
    command.arg("--target-dir").arg(workspace.root().join("target").join(&options.checker));
    // A model runs for seconds: to optimise what it does not run would take longer, and so would linking it well.
    if options.checker == "loom" {
        for name in LOG_FILTERS {
            command.arg("--config").arg(format!("profile.release.package.{name}.opt-level=0"));
        }
    }
    command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.args(["--no-fail-fast", "--", "--nocapture", "--test-threads", "2"]);
    let mut flags = format!("--cfg {}", options.checker);
    if let Some(planted) = &options.planted {
        flags.push_str(&format!(" --cfg kausal_planted=\"{planted}\""));
    }
    command.env("RUSTFLAGS", flags);
    command
}

/// The sum of what the models printed: `name: 220 runs`.
fn runs_in(printed: &str) -> u64 {
    let runs = |line: &str| line.strip_suffix(" runs")?.rsplit(' ').next()?.parse::<u64>().ok();
    printed.lines().filter_map(runs).sum()
}

/// The tests that the harness names at the end as failed.
fn failures_in(printed: &str) -> Vec<String> {
    let (mut names, mut is_list) = (Vec::new(), false);
    for line in printed.lines() {
        is_list = line == "failures:" || is_list && (line.is_empty() || line.starts_with("    "));
        if is_list && line.starts_with("    ") {
            names.push(line.trim().to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_summed_wherever_they_stand_in_a_line() {
        let printed = "test a ... a: 220 runs\nb: 30 runs\ntest b ... ok\nc runs\n";
        assert_eq!(runs_in(printed), 250);
    }

    #[test]
    fn failures_are_those_the_harness_names() {
        let printed = "test a ... thread 'a' panicked at x.rs:1:1:\n    left: 1\nFAILED\n\nfailures:\n\nfailures:\n    a\n    \
                       c\n\ntest result: FAILED. 1 passed; 2 failed\n    not this\n";
        assert_eq!(failures_in(printed), ["a", "c"]);
        assert!(failures_in("test a ... ok\n\ntest result: ok. 1 passed\n").is_empty());
    }

    #[test]
    fn what_is_asked_is_read() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(Into::into).collect());
        let options =
            parse(&["shuttle", "--crate", "kausal-arena", "--planted", "x"]).expect("sound arguments");
        let crates = vec!["kausal-arena".to_owned()];
        assert_eq!(options, Options { checker: "shuttle".into(), crates, planted: Some("x".into()) });
        assert!(matches!(parse(&["miri"]), Err(Failure::Usage(_))));
        let all = Options { checker: "loom".into(), crates: Vec::new(), planted: None };
        assert_eq!(parse(&[]).expect("nothing is asked"), all);
    }
}
