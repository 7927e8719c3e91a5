//! `bench`: kausal against its peers, on this machine.
//!
//! 1. Builds kausal-bench for speed, with the peers of the benchmark that is asked for. Nothing else builds them.
//! 2. Runs the program at the top of the workspace and hands the other arguments on.
//!
//! What is measured and how the rows look is kausal-bench's business, and described in its README.

use std::ffi::{OsStr, OsString};

use crate::command;
use crate::failure::Failure;
use crate::workspace::{BENCH, Workspace};

/// Builds and runs the benchmark named by the first of `arguments`, or all of them.
///
/// # Errors
///
/// [`Failure`] if it does not build, or refuses its arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let peers = peers(arguments.first().map(OsString::as_os_str))?;
    let build = ["build", "--release", "--package", BENCH, "--features", peers];
    command::run(&mut command::cargo(workspace.root(), &build))?;
    let program = workspace.metadata()?.target_folder.join("release").join(BENCH);
    command::run(std::process::Command::new(program).current_dir(workspace.root()).args(arguments))
}

/// Everybody.
const ALL: &str = "arena-peers,cache-peers,index-peers,memtable-peers,read-peers,table-peers";

/// The features that a benchmark needs.
fn peers(benchmark: Option<&OsStr>) -> Result<&'static str, Failure> {
    match benchmark.and_then(OsStr::to_str) {
        Some("record") => Ok(ALL),
        Some("arena") => Ok("arena-peers"),
        Some("cache") => Ok("cache-peers"),
        Some("get") => Ok("read-peers"),
        Some("index") => Ok("index-peers"),
        Some("memtable") => Ok("memtable-peers"),
        Some("table") => Ok("table-peers"),
        None => Ok(ALL),
        Some(option) if option.starts_with("--") => Ok(ALL),
        Some(name) => {
            let names = "arena, cache, get, index, memtable, table or record";
            Err(Failure::usage(format!("there is no benchmark `{name}`: {names}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_built_with_its_own_peers() {
        assert_eq!(peers(Some(OsStr::new("arena"))).expect("it exists"), "arena-peers");
        assert_eq!(peers(Some(OsStr::new("--quick"))).expect("all"), ALL);
        assert!(peers(Some(OsStr::new("engine"))).is_err());
    }
}
