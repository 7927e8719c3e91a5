//! `fuzz`: coverage-guided random input for every fuzz target of every crate.
//!
//! 1. A crate's targets are the files in its `fuzz/fuzz_targets`, and the folders with a `main.rs`; a new crate's folder is found by being there. Each
//!    `fuzz` folder is a workspace of its own, because its members need cargo-fuzz and AddressSanitizer.
//! 2. Each target runs for some seconds under the address sanitizer and prints how many inputs it executed and how many
//!    edges of the code they reached. A crash fails the task, with the input that causes it.
//! 3. `--planted` compiles the defect in that the crate has under `cfg(kausal_planted = "TARGET")`, and fails if the
//!    fuzzer does *not* find it: what has never been seen to fail proves nothing.
//!
//! The standard toolchain runs it: `RUSTC_BOOTSTRAP=1` unlocks the sanitizer there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::prelude::{Long, Value, ValueExt};
use tempfile::TempDir;

use crate::command;
use crate::failure::{AtPath, Failure};
use crate::workspace::Workspace;

/// Inputs of any length up to this from the start: a target reads operations, and the first few of them find little.
const LENGTHS: [&str; 2] = ["-max_len=2048", "-len_control=0"];

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// One target, or all of them.
    target: Option<String>,
    seconds: u32,
    planted: bool,
}

impl Options {
    /// Reads `[TARGET] --seconds N --planted`, all optional.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for anything else.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self { target: None, seconds: 60, planted: false };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("seconds") => options.seconds = parser.value()?.parse()?,
                Long("planted") => options.planted = true,
                Value(target) if options.target.is_none() => options.target = Some(target.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.seconds == 0 {
            return Err(Failure::usage("--seconds wants at least 1"));
        }
        Ok(options)
    }
}

/// Runs the targets, one after the other.
///
/// # Errors
///
/// [`Failure`] if cargo-fuzz is missing, a target is unknown or does not build, one crashes, or a planted defect is not
/// found.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let mut targets = targets(workspace.root())?;
    let names: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
    targets.retain(|target| options.target.as_ref().is_none_or(|wanted| *wanted == target.name));
    if targets.is_empty() {
        return Err(Failure::usage(format!("there is no such fuzz target; there are: {}", names.join(", "))));
    }
    check_installed(workspace)?;
    let folder = workspace.metadata()?.target_folder;
    for target in targets {
        if options.planted {
            find_planted(workspace, &target, &folder.join("fuzz-planted"), options.seconds)?;
        } else {
            find_nothing(workspace, &target, &folder.join("fuzz"), options.seconds)?;
        }
    }
    Ok(())
}

/// A fuzz target, and the folder it is run in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    name: String,
    /// The crate's `fuzz` folder, relative to the workspace.
    folder: PathBuf,
}

/// All targets of all crates, in order of their folders.
fn targets(root: &Path) -> Result<Vec<Target>, Failure> {
    let mut found = BTreeSet::new();
    for krate in fs::read_dir(root).at("list", root)? {
        let folder = Path::new(&krate.at("list", root)?.file_name()).join("fuzz");
        if !root.join(&folder).join("Cargo.toml").is_file() {
            continue;
        }
        let sources = root.join(&folder).join("fuzz_targets");
        for source in fs::read_dir(&sources).at("list", &sources)? {
            let source = source.at("list", &sources)?.path();
            let is_target = source.extension().is_some_and(|extension| extension == "rs");
            if is_target || source.join("main.rs").is_file() {
                let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                found.insert(Target { name, folder: folder.clone() });
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::other("no crate has a folder `fuzz` with a Cargo.toml: nothing to fuzz"));
    }
    Ok(found.into_iter().collect())
}

fn check_installed(workspace: &Workspace) -> Result<(), Failure> {
    let asked = command::read_any(&mut command::cargo(workspace.root(), &["fuzz", "--version"]))?;
    if asked.status.success() {
        return Ok(());
    }
    Err(Failure::other("cargo-fuzz is not installed\n  install it: cargo install --locked cargo-fuzz"))
}

/// Runs a target that must not crash.
fn find_nothing(workspace: &Workspace, target: &Target, folder: &Path, seconds: u32) -> Result<(), Failure> {
    println!("fuzz: {} for {seconds} s", target.name);
    let mut fuzzer = fuzzer(workspace, target, folder, &[]);
    fuzzer.args(["--", "-print_final_stats=1"]).args(LENGTHS).arg(format!("-max_total_time={seconds}"));
    let output = command::read_any(&mut fuzzer)?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::other(format!(
            "{} failed\n{}\n  run again: {}",
            target.name,
            interesting(&log),
            command::shown(&fuzzer)
        )));
    }
    let summary = Summary::read(&log).ok_or_else(|| {
        Failure::other(format!("{}: the fuzzer printed no summary\n{}", target.name, interesting(&log)))
    })?;
    println!("fuzz: {}: no crash in {summary}", target.name);
    Ok(())
}

/// Runs a target whose defect is compiled in, and which must crash. Inputs and crash go to a folder of their own: they
/// say nothing about the code that ships.
fn find_planted(workspace: &Workspace, target: &Target, folder: &Path, seconds: u32) -> Result<(), Failure> {
    println!("fuzz: {} with its planted defect, for at most {seconds} s", target.name);
    let away = TempDir::new().at("make", &std::env::temp_dir())?;
    let corpus = away.path().join("corpus");
    fs::create_dir(&corpus).at("make", &corpus)?;
    let planted = format!("--cfg kausal_planted=\"{}\"", target.name);
    let mut fuzzer = fuzzer(workspace, target, folder, &[planted]);
    fuzzer.arg(&corpus).arg("--").args(LENGTHS).args(["-seed=1", &format!("-max_total_time={seconds}")]);
    fuzzer.arg(format!("-artifact_prefix={}/", away.path().display()));
    let output = command::read_any(&mut fuzzer)?;
    let log = String::from_utf8_lossy(&output.stderr);
    // A target that does not build fails as well, so only an input that crashes counts.
    let has_crash = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("crash-");
    let crashed = fs::read_dir(away.path()).at("list", away.path())?.flatten().any(has_crash);
    if crashed {
        let panic = log
            .lines()
            .skip_while(|line| !line.contains("panicked at"))
            .take(2)
            .collect::<Vec<_>>()
            .join(" ");
        println!("fuzz: {}: the planted defect was found: {}", target.name, panic.trim());
        return Ok(());
    }
    let why = if output.status.success() { "the planted defect was not found" } else { "did not run" };
    Err(Failure::other(format!(
        "{}: {why}\n{}\n  run again: {}",
        target.name,
        interesting(&log),
        command::shown(&fuzzer)
    )))
}

/// `cargo fuzz run` for `target`, built in `folder` with these flags of the compiler.
fn fuzzer(workspace: &Workspace, target: &Target, folder: &Path, flags: &[String]) -> Command {
    let mut fuzzer = command::cargo(workspace.root(), &["fuzz", "run", "--fuzz-dir"]);
    fuzzer.arg(&target.folder).arg("--target-dir").arg(folder).arg(&target.name);
    let flags = ["--cfg kausal_asan".to_owned()].into_iter().chain(flags.iter().cloned()).collect::<Vec<_>>();
    fuzzer.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags.join(" ")).env("RUST_BACKTRACE", "0");
    fuzzer
}

/// What a fuzzer says of a crash, or the end of its output.
fn interesting(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let crash = lines.iter().position(|line| line.contains("panicked at") || line.contains("ERROR: "));
    let from = crash.unwrap_or(lines.len().saturating_sub(30));
    // Behind the message come two stacks; what is worth seeing after them is where the input is.
    let (head, tail) = lines[from..].split_at(lines[from..].len().min(30));
    let input = tail.iter().filter(|line| line.contains("Test unit written to"));
    head.iter().chain(input).map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// What libFuzzer says at the end of a run.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    executions: u64,
    edges: u64,
    inputs: u64,
}

impl Summary {
    /// Reads the last line with `cov:` and the statistics behind it.
    fn read(log: &str) -> Option<Self> {
        let after = |line: &str, mark: &str| -> Option<u64> {
            let rest = &line[line.find(mark)? + mark.len()..];
            rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let status = log.lines().rev().find(|line| line.contains(" cov: "))?;
        let executed = log.lines().rev().find_map(|line| after(line, "stat::number_of_executed_units:"))?;
        Some(Self { executions: executed, edges: after(status, " cov:")?, inputs: after(status, " corp:")? })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} executions; {} edges reached by {} inputs", self.executions, self.edges, self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, Failure> {
        Options::parse(arguments.iter().map(Into::into).collect())
    }

    #[test]
    fn the_command_line_names_a_target_and_a_time() {
        let options = parse(&["index", "--seconds", "5", "--planted"]).expect("sound");
        assert_eq!(options, Options { target: Some("index".into()), seconds: 5, planted: true });
        assert_eq!(parse(&[]).expect("sound").target, None);
        for wrong in [&["a", "b"][..], &["--seconds", "0"], &["--minutes", "1"]] {
            assert_eq!(parse(wrong).expect_err("wrong usage").exit_code(), 2);
        }
    }

    #[test]
    fn a_new_folder_is_found_by_being_there() {
        let house = tempfile::tempdir().expect("a folder");
        assert!(targets(house.path()).is_err());
        for (krate, target) in
            [("kausal-index", "index"), ("kausal-arena", "scratch"), ("kausal-arena", "arena")]
        {
            let folder = house.path().join(krate).join("fuzz");
            fs::create_dir_all(folder.join("fuzz_targets")).expect("a folder");
            fs::write(folder.join("Cargo.toml"), "").expect("a file");
            fs::write(folder.join("fuzz_targets").join(format!("{target}.rs")), "").expect("a file");
        }
        let names: Vec<_> =
            targets(house.path()).expect("three").into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["arena", "index", "scratch"]);
    }

    #[test]
    fn this_house_has_a_fuzz_target_for_indexes() {
        let found = targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("targets");
        assert!(found.contains(&Target { name: "index".into(), folder: "kausal-index/fuzz".into() }));
    }

    #[test]
    fn the_summary_is_read_from_the_end_of_the_log() {
        let log = "#2\tINITED cov: 20 ft: 21 corp: 1/1b exec/s: 0 rss: 45Mb\n\
                   #262144\tpulse  cov: 812 ft: 4021 corp: 530/31Kb lim: 1030 exec/s: 21845 rss: 510Mb\n\
                   #300001\tDONE   cov: 815 ft: 4100 corp: 541/33Kb lim: 1160 exec/s: 21428 rss: 512Mb\n\
                   Done 300001 runs in 14 second(s)\n\
                   stat::number_of_executed_units: 300001\n\
                   stat::average_exec_per_sec:     21428\n";
        assert_eq!(Summary::read(log), Some(Summary { executions: 300_001, edges: 815, inputs: 541 }));
        assert_eq!(Summary::read("error: could not compile"), None);
    }

    #[test]
    fn a_crash_is_shown_from_where_it_begins() {
        let log = "#1 cov: 3\nthread '<unnamed>' panicked at src/a.rs:1:2:\nleft != right\n";
        assert_eq!(interesting(log), "    thread '<unnamed>' panicked at src/a.rs:1:2:\n    left != right");
    }
}
