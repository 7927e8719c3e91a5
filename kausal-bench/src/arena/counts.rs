//! What tools count, so that no clock decides: system calls of a million allocations, instructions of a reset.
//!
//! | workload | tool | what is compared |
//! |---|---|---|
//! | `syscalls` | `strace -f -c` | a process that allocates a million objects in kept memory, less one that does not |
//! | `instructions` | `valgrind --tool=callgrind` | a reset, and a region's return, after 1 MiB and after 1 GiB of use |
//!
//! A tool that the machine does not have is said to be skipped, and gives no row.

use std::fs;
use std::process::Stdio;

use super::child::{self, ALLOCATIONS, COUNTED};
use crate::machine;
use crate::options::Options;
use crate::row::Row;

/// Both workloads.
pub fn run(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    if options.wants("syscalls/1000000") {
        rows.extend(with("strace", || syscalls("syscalls/1000000")));
    }
    if options.wants("instructions") {
        rows.extend(with("valgrind", || instructions("instructions")));
    }
    rows
}

/// What `count` counts with `tool`; nothing, and a word about it, if the machine does not have it.
pub fn with(tool: &str, count: impl FnOnce() -> Option<Vec<Row>>) -> Vec<Row> {
    if !machine::has(tool) {
        eprintln!("skipped: no {tool}");
        return Vec::new();
    }
    count().unwrap_or_else(|| {
        eprintln!("skipped: {tool} does not run here");
        Vec::new()
    })
}

fn syscalls(workload: &str) -> Option<Vec<Row>> {
    let count = |allocations: usize| {
        let strace = ["strace", "-f", "-c", "-S", "calls", "--"];
        let output = child::command(&strace, &["allocate", &allocations.to_string()]).output().ok()?;
        output.status.success().then_some(())?;
        total_calls(&String::from_utf8_lossy(&output.stderr))
    };
    let (with, without) = (count(ALLOCATIONS)?, count(0)?);
    let row = |metric: &str, value: f64| Row::lower(workload, "Arena", metric, value, "count");
    Some(vec![
        row("process", with),
        row("process_without", without),
        row("allocations", with - without).with_target(0.0),
    ])
}

/// The calls in the last line of `strace -c`: `100.00 0.001 5 84 2 total`.
fn total_calls(report: &str) -> Option<f64> {
    let line = report.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn instructions(workload: &str) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    for (mode, subject) in [("reset", "Arena"), ("return", "RegionPool")] {
        let count = |bytes: usize| counted(&[mode, &bytes.to_string()]);
        let (small, large) = (count(1 << 20)?, count(1 << 30)?);
        rows.extend(growth(workload, subject, ("used_1MiB", small), ("used_1GiB", large)));
    }
    Some(rows)
}

/// Counts after little and after much, and their difference, which must be none.
pub fn growth(workload: &str, subject: &str, little: (&str, f64), much: (&str, f64)) -> [Row; 3] {
    let row = |metric: &str, value: f64| Row::lower(workload, subject, metric, value, "count");
    [row(little.0, little.1), row(much.0, much.1), row("growth", much.1 - little.1).with_target(0.0)]
}

/// Instructions of the counted function of a child's mode.
pub fn counted(mode: &[&str]) -> Option<f64> {
    let file = std::env::temp_dir().join(format!("kausal-bench-{}-{}", std::process::id(), mode.join("-")));
    let toggle = format!("--toggle-collect={COUNTED}");
    let out = format!("--callgrind-out-file={}", file.display());
    let valgrind = ["valgrind", "--tool=callgrind", "--quiet", &toggle, &out];
    let status = child::command(&valgrind, mode).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let report = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    status.ok().filter(|status| status.success())?;
    total_instructions(&report).filter(|count| *count > 0.0)
}

/// The number behind `summary:` or `totals:` in a file of callgrind.
fn total_instructions(report: &str) -> Option<f64> {
    let line = report.lines().find(|line| line.starts_with("summary:") || line.starts_with("totals:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_the_tools_are_understood() {
        let strace = "% time seconds usecs/call calls errors syscall\n------\n 40.0 0.1 1 12 mmap\n------\n\
                      100.00    0.000123           1        84         2 total\n";
        assert_eq!(total_calls(strace), Some(84.0));
        assert_eq!(total_calls("nothing"), None);
        assert_eq!(total_instructions("events: Ir\nsummary: 512\nfn=x\ntotals: 512\n"), Some(512.0));
    }
}
