//! `bench`: kausal against its peers, on this machine.
//!
//! 1. Builds kausal-bench for speed, with the peers of the benchmark that is asked for. Nothing else builds them. `peers --vs`
//!    builds only those that it names.
//! 2. Runs the program at the top of the workspace and hands the other arguments on. `counts` has a room of its own, because it
//!    compares and can fail.
//!
//! What is measured and how the rows look is kausal-bench's business, and described in its README.

use std::ffi::OsString;

use crate::failure::Failure;
use crate::workspace::{BENCH, Workspace};
use crate::{command, counts};

/// Builds and runs the benchmark named by the first of `arguments`, or all of them.
///
/// # Errors
///
/// [`Failure`] if it does not build, or refuses its arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    if arguments.first().is_some_and(|first| first == "counts") {
        return counts::run(workspace, &arguments[1..]);
    }
    let peers = peers(arguments)?;
    let build = ["build", "--release", "--package", BENCH, "--features", &peers];
    command::run(&mut command::cargo(workspace.root(), &build))?;
    let program = workspace.metadata()?.target_folder.join("release").join(BENCH);
    command::run(std::process::Command::new(program).current_dir(workspace.root()).args(arguments))
}

/// Everybody.
const ALL: &str = "arena-peers,cache-peers,index-peers,memtable-peers,read-peers,table-peers";

/// The stores that the engine is compared with; each has a feature of its own.
const STORES: [&str; 6] = ["fjall", "heed", "redb", "rocksdb", "sled", "surrealkv"];

/// The features that a benchmark needs. `record` measures nothing: it takes the rows of runs that did.
fn peers(arguments: &[OsString]) -> Result<String, Failure> {
    let peers = match arguments.first().and_then(|benchmark| benchmark.to_str()) {
        Some("record") => "",
        Some("arena") => "arena-peers",
        Some("cache") => "cache-peers",
        Some("get") => "read-peers",
        Some("index") => "index-peers",
        Some("memtable") => "memtable-peers",
        Some("table") => "table-peers",
        Some("peers") => return stores(&arguments[1..]),
        None => ALL,
        Some(option) if option.starts_with("--") => ALL,
        Some(name) => {
            let names = "arena, cache, counts, get, index, memtable, peers, table or record";
            return Err(Failure::usage(format!("there is no benchmark `{name}`: {names}")));
        }
    };
    Ok(peers.to_owned())
}

/// The features of the stores that `--vs` names in `arguments`, or of all.
fn stores(arguments: &[OsString]) -> Result<String, Failure> {
    let mut named = Vec::new();
    let mut rest = arguments.iter().filter_map(|argument| argument.to_str());
    while let Some(argument) = rest.next() {
        let list = match argument.split_once('=') {
            Some(("--vs", list)) => list,
            None if argument == "--vs" => rest.next().unwrap_or(""),
            _ => continue,
        };
        for name in list.split(',') {
            if !STORES.contains(&name) {
                let names = STORES.join(", ");
                return Err(Failure::usage(format!("there is no peer `{name}`: {names}")));
            }
            named.push(name);
        }
    }
    let chosen = if named.is_empty() { STORES.to_vec() } else { named };
    Ok(chosen.iter().map(|name| format!("peer-{name}")).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(line: &str) -> Option<String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        peers(&arguments).ok()
    }

    #[test]
    fn a_benchmark_is_built_with_its_own_peers() {
        assert_eq!(features("arena").as_deref(), Some("arena-peers"));
        assert_eq!(features("--quick").as_deref(), Some(ALL));
        assert_eq!(features("").as_deref(), Some(ALL));
        assert_eq!(features("engine"), None);
    }

    #[test]
    fn only_the_stores_that_are_named_are_built() {
        assert_eq!(features("peers --quick --vs fjall,redb").as_deref(), Some("peer-fjall,peer-redb"));
        assert_eq!(features("peers --vs=heed --vs sled").as_deref(), Some("peer-heed,peer-sled"));
        assert!(features("peers --quick").is_some_and(|all| all.split(',').count() == STORES.len()));
        assert_eq!(features("peers --vs leveldb"), None);
        assert_eq!(features("peers --vs"), None);
    }
}
