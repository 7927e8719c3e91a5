//! What other stores have resident, that are given the same budget and the same work.
//!
//! `kausal-bench peer STORE memory` fills a store of ten budgets, holds a snapshot, and works on it from four threads; ours
//! does so too, in the same program. They take turns. Nobody is judged: a peer has no promise to keep.

use std::process::Command;

use serde_json::Value;

use crate::command;
use crate::failure::Failure;
use crate::torture::Options;
use crate::workspace::{BENCH, Workspace};

/// Built and run where nobody is named.
const USUAL: [&str; 2] = ["fjall", "redb"];

/// Named if it takes no part: it takes a C++ compiler and half an hour to build.
const SLOW_TO_BUILD: &str = "rocksdb";

/// The columns: metric, head, what one of its units is divided by.
const COLUMNS: [(&str, &str, f64); 4] = [
    ("budget", "budget MiB", MIB),
    ("resident", "most resident MiB", MIB),
    ("mapped", "of mapped files MiB", MIB),
    ("rate", "operations/s", 1.0),
];

const MIB: f64 = 1_048_576.0;

/// Builds the stores that are wanted, runs them, and prints what they took.
///
/// # Errors
///
/// [`Failure`] if the program does not build, or ours fails in it. A peer that fails is named.
pub(super) fn show(workspace: &Workspace, options: &Options, entries: u64) -> Result<(), Failure> {
    let names: Vec<&str> = match &options.versus {
        Some(list) => list.split(',').filter(|name| !name.is_empty()).collect(),
        None if options.quick => return Ok(()),
        None => USUAL.to_vec(),
    };
    let features: Vec<String> = names.iter().map(|name| format!("peer-{name}")).collect();
    let build = ["build", "--release", "--package", BENCH, "--features", &features.join(",")];
    command::run(&mut command::cargo(workspace.root(), &build))?;
    let program = workspace.metadata()?.target_folder.join("release").join(BENCH);
    println!("torture: memory, beside others with the same budget");
    let heads: Vec<String> = COLUMNS.iter().map(|(_, head, _)| format!("{head:>20}")).collect();
    println!("  {:10}{}", "store", heads.concat());
    for name in std::iter::once("kausal").chain(names.iter().copied()) {
        let mut command = Command::new(&program);
        command.args(["peer", name, "memory"]).args(["--entries", &entries.to_string()]);
        command.args(["--seed", &options.seed.to_string()]).args(options.quick.then_some("--quick"));
        match command::read(&mut command) {
            Ok(output) => println!("  {name:10}{}", row(&output)),
            Err(failure) if name == "kausal" => return Err(failure),
            Err(failure) => println!("  {name:10} failed: {failure}"),
        }
    }
    if !names.contains(&SLOW_TO_BUILD) {
        println!("  {SLOW_TO_BUILD:10} skipped: not built (`--vs {SLOW_TO_BUILD}` does it)");
    }
    Ok(())
}

/// The columns of what a store told, one metric a line.
fn row(output: &str) -> String {
    let told: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let column = |&(metric, _, unit): &(&str, &str, f64)| {
        let value = told.iter().find(|row| row["metric"] == metric).and_then(|row| row["value"].as_f64());
        value.map_or_else(|| format!("{:>20}", "?"), |value| format!("{:>20.1}", value / unit))
    };
    COLUMNS.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_column_for_each_metric() {
        let told =
            "noise\n{\"metric\":\"resident\",\"value\":2097152.0}\n{\"metric\":\"rate\",\"value\":7}\n";
        let words: Vec<String> = row(told).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["?", "2.0", "?", "7.0"]);
    }
}
