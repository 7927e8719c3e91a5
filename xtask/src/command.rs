//! Commands that a task runs, and how they are shown to whoever has to run them again.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Whether cargo is left to keep, for the next build, what it finds out in this one.
static IS_INCREMENTAL: AtomicBool = AtomicBool::new(true);

/// A `cargo` command in `root`: the same cargo that runs this task.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(arguments);
    // Relaxed: it is set before there is a second thread.
    if !IS_INCREMENTAL.load(Ordering::Relaxed) {
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// Lets all further [`cargo`] commands compile for this build alone: a tenth less work for a first build, and more for
/// one after a small change.
pub(crate) fn compile_for_once() {
    IS_INCREMENTAL.store(false, Ordering::Relaxed);
}

/// Runs `command` with its output on ours.
///
/// # Errors
///
/// [`Failure`] with the line to run again, if it cannot start or ends without success.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::other(format!("{status}\n  run again: {}", shown(command))))
}

/// Runs `command` and returns what it printed to standard output; its errors go to ours.
///
/// # Errors
///
/// [`Failure`] with the line to run again, if it cannot start or ends without success.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let output = read_any(command.stderr(Stdio::inherit()))?;
    if !output.status.success() {
        return Err(Failure::other(format!("{}\n  run again: {}", output.status, shown(command))));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure::other(format!("{}: not UTF-8", shown(command))))
}

/// Runs `command` and returns what it printed, whatever its exit code. Standard error is captured unless it is
/// redirected already.
///
/// # Errors
///
/// [`Failure`] if it cannot start.
pub(crate) fn read_any(command: &mut Command) -> Result<Output, Failure> {
    command.output().map_err(|error| cannot_start(command, &error))
}

/// The command as one would type it: variables set for it, program, arguments.
pub(crate) fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{}={}", name.display(), quoted(value)))
    });
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(quoted(program)).chain(command.get_args().map(quoted));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::other(format!("cannot start `{}`: {error}", shown(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/some/where/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_failure_says_what_to_run_again() {
        let failure = run(&mut Command::new("false")).expect_err("false fails");
        assert!(failure.to_string().ends_with("run again: false"), "{failure}");
    }
}
