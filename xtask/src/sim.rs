//! `sim`: the engine on a simulated disk that crashes at every call.
//!
//! The driver is an example of kausal-engine, because it needs that crate's simulated disk; this task builds it for
//! speed and hands its arguments on. The driver fails when a crash point shows a violation, and when it reaches
//! fewer points than it was asked for.

use std::ffi::OsString;

use crate::command;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// What `ci` runs: enough seeds for every kind of moment, few enough for a minute.
pub(crate) const CI_ARGUMENTS: [&str; 6] = ["--seed", "1", "--seeds", "8", "--points", "2000"];

/// Runs the driver with `arguments`.
///
/// # Errors
///
/// [`Failure`] if it does not build, or finds a violation.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let driver =
        ["run", "--release", "--package", "kausal-engine", "--features", "sim", "--example", "sim", "--"];
    command::run(command::cargo(workspace.root(), &driver).args(arguments))
}
