//! A process of its own for each group of each store, in each round: nobody's memory, threads or caches are another's.
//!
//! The child is this program again: `kausal-bench peer STORE GROUP [FOLDER] [OPTIONS]`. It writes its rows to standard output as
//! JSON, one a line; a store may write there too.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::row::Row;

use super::bench::Bench;
use super::plan::Plan;
use super::store::Outcome;
use super::{kill, memory, mixed, stores, write};

/// The name that `workload` has in rows.
pub fn named(workload: &str, options: &Options) -> String {
    format!("{workload}/{}", Plan::new(options).entries)
}

/// Lets a process measure this group, and answers its rows.
///
/// # Errors
///
/// If it cannot be started or fails; what it has to say went to standard error.
pub fn start(store: &str, group: &str, options: &Options) -> Result<Vec<Row>, String> {
    let output = std::env::current_exe()
        .and_then(|this| command(&this, store, group, options).output())
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error} in `{line}`")))
        .collect()
}

fn command(program: &Path, store: &str, group: &str, options: &Options) -> Command {
    let mut command = Command::new(program);
    command.args(["peer", store, group]).args(options.quick.then_some("--quick"));
    command.args(["--seed", &options.seed.to_string()]);
    if let Some(entries) = options.entries {
        command.args(["--entries", &entries.to_string()]);
    }
    for only in &options.only {
        command.args(["--only", only]);
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// The child: measures what `arguments` say.
///
/// # Errors
///
/// What the store reports, or that it answered wrongly.
pub fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [store, group, rest @ ..] = arguments else {
        return Err("a store and a group are wanted".into());
    };
    let kind = stores::kinds().into_iter().find(|kind| kind.name == store);
    let kind = kind.ok_or_else(|| format!("there is no store `{store}`"))?;
    let (folder, rest) = match rest {
        [folder, rest @ ..] if !folder.starts_with("--") => (Some(folder), rest),
        _ => (None, rest),
    };
    let bench = Bench::new(kind, Options::parse(lexopt::Parser::from_args(rest))?);
    let done: Outcome<()> = match (group.as_str(), folder) {
        ("fillseq", None) => write::fillseq(&bench),
        ("main", None) => mixed::run(&bench),
        ("fillbatch", None) => write::fillbatch(&bench),
        ("put", None) => write::put(&bench),
        ("delete", None) => write::delete(&bench),
        ("fillsync", None) => write::fillsync(&bench),
        ("load", None) => write::load(&bench),
        ("fill1k", None) => write::fill1k(&bench),
        ("latency", None) => write::latency(&bench),
        ("open", None) => kill::run(&bench),
        (memory::GROUP, None) => memory::run(&bench),
        (kill::FILL, Some(folder)) => kill::fill_and_wait(&bench, Path::new(folder)),
        _ => Err(format!("there is no group `{group}`").into()),
    };
    done.map_err(|error| -> Box<dyn Error> { error })
}
