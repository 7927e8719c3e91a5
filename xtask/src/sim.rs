//! `sim`: the engine on a simulated machine that crashes at every call.
//!
//! The driver is an example of kausal-engine, because it needs that crate's simulated disk; this task builds it for
//! speed and hands its arguments on. The driver fails when something is not as its model says, and when it reaches fewer
//! crash points than it was asked for.
//!
//! `--planted all`, or the name of one, builds the driver once with the defects of [`DEFECTS`] in it, lets one after
//! the other be at work, and fails if the driver does not notice.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Output;

use crate::command;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// What `ci` runs: enough seeds for every kind of mishap, few enough for a minute.
pub(crate) const CI_ARGUMENTS: [&str; 6] = ["--seed", "1", "--seeds", "100", "--points", "6000"];

/// The defects that the driver has to find.
const DEFECTS: [&str; 19] = [
    "skip_sync",
    "rename_before_sync",
    "forget_directory_sync",
    "publish_before_wal",
    "replay_recycled_tail",
    "drop_tombstone_early",
    "lose_range_tombstone_at_border",
    "early_reset",
    "ignore_enospc",
    "retry_after_failed_fsync",
    "off_by_one_in_block",
    "wrong_snapshot_floor",
    "lose_last_of_group",
    "require_without_fence",
    "forget_recovered_logs",
    "recovered_log_not_synced",
    "recovered_log_is_only_synced",
    "keep_rest_of_spare",
    "write_over_while_read",
];

/// Seeds that a defect has to be found in.
const SEEDS_MAX: &str = "600";

/// Runs the driver with `arguments`, or on the planted defects.
///
/// # Errors
///
/// [`Failure`] if it does not build, finds a violation, or does not find a planted defect.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    if arguments.first().is_some_and(|first| first == "--planted") {
        return find_planted(workspace, &arguments[1..]);
    }
    let driver =
        ["run", "--release", "--package", "kausal-engine", "--features", "sim", "--example", "sim", "--"];
    command::run(command::cargo(workspace.root(), &driver).args(arguments))
}

fn find_planted(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let wanted = match arguments {
        [name] => name.to_string_lossy().into_owned(),
        _ => return Err(Failure::usage("--planted takes `all` or the name of a defect".to_owned())),
    };
    let defects: Vec<&str> =
        DEFECTS.into_iter().filter(|&defect| wanted == "all" || wanted == defect).collect();
    if defects.is_empty() {
        return Err(Failure::usage(format!("no defect `{wanted}`; there are {}", DEFECTS.join(", "))));
    }
    let driver = build_planted(workspace)?;
    println!("{:<32}{:>8}{:>10}  found by", "defect", "seeds", "points");
    let mut missed = Vec::new();
    for defect in defects {
        let mut program = std::process::Command::new(&driver);
        program.args(["--seed", "1", "--seeds", SEEDS_MAX, "--brief"]).env("KAUSAL_PLANTED", defect);
        let found = Found::of(&command::read_any(&mut program)?);
        println!(
            "{defect:<32}{:>8}{:>10}  {}",
            found.seeds,
            found.points,
            found.what.as_deref().unwrap_or("-")
        );
        if found.what.is_none() {
            missed.push(defect);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Failure::other(format!("not found: {}", missed.join(", ")))) }
}

/// Builds the driver with the defects and answers where it is.
fn build_planted(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let target = workspace.root().join("target").join("planted");
    let task = ["build", "--release", "--package", "kausal-engine", "--features", "sim", "--example", "sim"];
    let mut cargo = command::cargo(workspace.root(), &task);
    cargo.arg("--target-dir").arg(&target).env("RUSTFLAGS", "--cfg kausal_planted=\"sim\"");
    // It runs for seconds: linking it well would take longer.
    command::run(cargo.env("CARGO_PROFILE_RELEASE_LTO", "off"))?;
    Ok(target.join("release").join("examples").join("sim"))
}

/// What the driver said about a defect.
struct Found {
    seeds: String,
    points: String,
    what: Option<String>,
}

impl Found {
    fn of(output: &Output) -> Self {
        let printed = String::from_utf8_lossy(&output.stdout);
        let what = printed.lines().find_map(|line| line.strip_prefix("violation: ")).map(str::to_owned);
        // Memory that is not its own ends a program without a word.
        let killed = output.status.code().is_none().then(|| format!("the driver's end by {}", output.status));
        let summary = printed.lines().find_map(|line| line.strip_prefix("sim: ")).unwrap_or_default();
        let number = |behind: &str| {
            let before = summary.split(behind).next().filter(|before| before.len() < summary.len());
            before.and_then(|before| before.rsplit(' ').next()).unwrap_or("?").to_owned()
        };
        Self { seeds: number(" seeds"), points: number(" crash points"), what: what.or(killed) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn found(code: i32, printed: &str) -> Found {
        Found::of(&Output {
            status: ExitStatus::from_raw(code),
            stdout: printed.as_bytes().to_vec(),
            stderr: Vec::new(),
        })
    }

    #[test]
    fn a_violation_is_read_with_what_it_cost() {
        let found =
            found(1 << 8, "violation: seed 3: lost\nsim: 3 seeds from 1: 120 crash points, 9 nested\n");
        assert_eq!(
            (&*found.seeds, &*found.points, found.what.as_deref()),
            ("3", "120", Some("seed 3: lost"))
        );
    }

    #[test]
    fn a_driver_that_ends_well_has_found_nothing() {
        assert!(found(0, "sim: 3 seeds from 1: 120 crash points, 9 nested\n").what.is_none());
    }

    #[test]
    fn a_driver_that_is_killed_has_found_something() {
        assert!(found(11, "").what.is_some_and(|what| what.contains("signal")));
    }
}
