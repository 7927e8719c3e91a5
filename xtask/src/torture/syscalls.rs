//! Each system call of a script fails, or lies, once.
//!
//! 1. The worker's script runs under strace without a fault: which files there are, which calls, how often, with which
//!    results. It has one thread and the same calls in every run.
//! 2. For each kind of call, each n and each error, the script runs on a fresh database with the n-th such call failing. It
//!    must end well or with an error, after right answers only.
//! 3. An audit without faults compares what is left with what was acknowledged.
//!
//! A lying write says that it wrote half of the bytes, or all, and wrote none. What is lost by that is not the engine's
//! fault; that nobody hears of it would be. These are counted apart: refused as damaged, cut and reported, or harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::failure::{AtPath, Failure};

use super::Options;
use super::worker::{Verdict, Worker};

/// The calls about files, each with its errors. A plus: that call and all later ones, as on a disk that stays full.
const CALLS: [(&str, &[&str]); 25] = [
    ("openat", &["EIO", "ENOSPC", "EINTR", "EMFILE"]),
    ("mkdir", &["EIO", "ENOSPC", "EINTR", "EMFILE"]),
    ("pwrite64", &["EIO", "ENOSPC", "EINTR", "EIO+", "ENOSPC+"]),
    ("write", &["EIO", "ENOSPC", "EINTR"]),
    ("pwritev", &["EIO", "ENOSPC", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EINTR", "EIO+"]),
    ("fsync", &["EIO", "ENOSPC", "EINTR"]),
    ("sync_file_range", &["EIO", "ENOSPC", "EINTR"]),
    ("fallocate", &["EIO", "ENOSPC", "EINTR", "ENOSPC+"]),
    ("ftruncate", &["EIO", "ENOSPC", "EINTR"]),
    ("rename", &["EIO", "ENOSPC", "EINTR"]),
    ("unlink", &["EIO", "ENOSPC", "EINTR"]),
    ("linkat", &["EIO", "ENOSPC", "EINTR"]),
    ("mmap", &["EIO", "ENOSPC", "EMFILE"]),
    ("msync", &["EIO", "ENOSPC", "EINTR"]),
    ("pread64", &["EIO", "EINTR"]),
    ("read", &["EIO", "EINTR"]),
    ("getdents64", &["EIO", "EINTR"]),
    ("flock", &["EIO", "EINTR"]),
    ("fcntl", &["EIO", "EINTR"]),
    ("statx", &["EIO", "EINTR"]),
    ("newfstatat", &["EIO", "EINTR"]),
    ("statfs", &["EIO", "EINTR"]),
    ("fadvise64", &["EIO", "EINTR"]),
    // Not EIO: the standard library panics if it cannot close a directory.
    ("close", &["EINTR"]),
];

/// The calls that can lie about how much they wrote.
const WRITES: [&str; 2] = ["pwrite64", "write"];

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    call: &'static str,
    /// Which such call, from 1 on.
    nth: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Error(&'static str),
    /// The call writes nothing and says that it wrote so much.
    Lie(u64),
}

/// What came of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The script went on to its end: the call was made again, was a hint, or failed one look-up only.
    Absorbed,
    /// The engine reported an error, the audit was good.
    Reported,
    /// A lie: the database says that it is damaged.
    Refused,
    /// A lie: writes are gone, recovery said that it cut something.
    Cut,
}

/// Runs all faults, prints and judges.
///
/// # Errors
///
/// [`Failure`] if a promise is broken.
pub(super) fn run(worker: &Worker, options: &Options) -> Result<(), Failure> {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("torture: syscalls: skipped: no strace");
        return Ok(());
    }
    let only = options.only.as_deref().unwrap_or_default();
    let paths = paths(worker)?;
    let recorded = record(worker, &paths)?;
    let mut violations = 0;
    let mut totals: BTreeMap<(bool, Outcome), usize> = BTreeMap::new();
    let (mut done, mut existing) = (0, 0);
    for (call, errors) in CALLS {
        let faults = faults(call, errors, recorded.get(call).map_or(&[], Vec::as_slice));
        existing += faults.len();
        let (mut here, mut outcomes) = (0, BTreeMap::<Outcome, usize>::new());
        for fault in faults.iter().filter(|fault| fault.is_named(only)) {
            here += 1;
            match strike(worker, &paths, fault)? {
                Ok(outcome) => {
                    *outcomes.entry(outcome).or_default() += 1;
                    *totals.entry((fault.is_lie(), outcome)).or_default() += 1;
                }
                Err(what) => {
                    violations += 1;
                    println!("torture: VIOLATION: {}: {what}", fault.name());
                    println!("  again: cargo xtask torture --syscalls --only {}", fault.name());
                }
            }
        }
        done += here;
        if here > 0 {
            println!("torture: {call}: {here} of {} tuples: {outcomes:?}", faults.len());
        }
    }
    let total = |lie, outcome| totals.get(&(lie, outcome)).copied().unwrap_or(0);
    println!("torture: (call, n, error) tuples: {done} done, {existing} existing, {violations} violations");
    println!(
        "torture: errors: {} absorbed, {} reported; lying writes: {} harmless, {} reported at once, {} refused as \
         damaged, {} cut and reported",
        total(false, Outcome::Absorbed),
        total(false, Outcome::Reported),
        total(true, Outcome::Absorbed),
        total(true, Outcome::Reported),
        total(true, Outcome::Refused),
        total(true, Outcome::Cut),
    );
    match violations {
        0 => Ok(()),
        count => Err(Failure::other(format!("{count} faults broke a promise"))),
    }
}

fn faults(call: &'static str, errors: &[&'static str], results: &[u64]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (place, &result) in results.iter().enumerate() {
        let nth = place + 1;
        faults.extend(errors.iter().map(|&error| Fault { call, nth, kind: Kind::Error(error) }));
        if WRITES.contains(&call) && result > 1 {
            let lies = [result / 2, result];
            faults.extend(lies.map(|count| Fault { call, nth, kind: Kind::Lie(count) }));
        }
    }
    faults
}

impl Fault {
    /// `CALL:ERROR:N`, as `--only` takes it.
    fn name(&self) -> String {
        match &self.kind {
            Kind::Error(error) => format!("{}:{error}:{}", self.call, self.nth),
            Kind::Lie(count) => format!("{}:lie{count}:{}", self.call, self.nth),
        }
    }

    fn is_named(&self, only: &str) -> bool {
        let name = self.name();
        only.is_empty() || name == only || name.starts_with(&format!("{only}:"))
    }

    fn is_lie(&self) -> bool {
        matches!(self.kind, Kind::Lie(_))
    }

    /// As strace takes it.
    fn injection(&self) -> String {
        let Self { call, nth, kind } = self;
        match kind {
            Kind::Error(error) => match error.strip_suffix('+') {
                Some(error) => format!("inject={call}:error={error}:when={nth}+"),
                None => format!("inject={call}:error={error}:when={nth}"),
            },
            Kind::Lie(count) => format!("inject={call}:retval={count}:when={nth}"),
        }
    }
}

/// The script with one fault, and the audit. The inner error is a broken promise.
fn strike(
    worker: &Worker,
    paths: &BTreeSet<String>,
    fault: &Fault,
) -> Result<Result<Outcome, String>, Failure> {
    let log = worker.folder().join("strace.log");
    let database = worker.database();
    worker.forget(&database)?;
    let trace = format!("trace={}", fault.call);
    let command = traced(worker, &["--seccomp-bpf", "-e", &trace, "-e", &fault.injection()], &log, paths);
    let mut process = worker.start(command)?;
    let status = process.wait()?;
    if !fs::read_to_string(&log).at("read", &log)?.contains("(INJECTED)") {
        return Ok(Err("the fault was not injected".into()));
    }
    let ended = match status.code() {
        Some(0) => Outcome::Absorbed,
        Some(10) => Outcome::Reported,
        _ => return Ok(Err(format!("the script ended with {status}: {}", process.printed()))),
    };
    let verdict = match worker.audit(&database, 0, false) {
        Ok(verdict) => verdict,
        Err(failure) => return Ok(Err(failure.to_string())),
    };
    Ok(judge(fault, ended, &verdict))
}

fn judge(fault: &Fault, ended: Outcome, verdict: &Verdict) -> Result<Outcome, String> {
    if verdict.is_good() {
        return Ok(ended);
    }
    if fault.is_lie() && verdict.refused.is_some() {
        return Ok(Outcome::Refused);
    }
    if fault.is_lie() && verdict.dropped > 0 && verdict.wrong + verdict.torn == 0 {
        return Ok(Outcome::Cut);
    }
    Err(format!("{verdict:?}"))
}

/// The files that the script touches: only calls about these are counted and made to fail.
fn paths(worker: &Worker) -> Result<BTreeSet<String>, Failure> {
    let database = worker.database();
    worker.forget(&database)?;
    let log = worker.folder().join("strace.log");
    command::read_any(&mut traced(worker, &["-y"], &log, &BTreeSet::new()))?;
    let database = database.to_string_lossy().into_owned();
    let text = fs::read_to_string(&log).at("read", &log)?;
    let ends = |c: char| "\">,)".contains(c);
    let mentions = text.match_indices(&database).filter_map(|(start, _)| text[start..].split(ends).next());
    Ok(mentions.map(str::to_owned).collect())
}

/// The results of all calls of a run without a fault, by name.
fn record(worker: &Worker, paths: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<u64>>, Failure> {
    let log = worker.folder().join("strace.log");
    worker.forget(&worker.database())?;
    let trace = format!("trace={}", CALLS.map(|(call, _)| call).join(","));
    let mut command = traced(worker, &["--seccomp-bpf", "-e", &trace], &log, paths);
    command::run(&mut command)?;
    let text = fs::read_to_string(&log).at("read", &log)?;
    let mut results: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((call, result)) = parse(line) {
            results.entry(call.to_owned()).or_default().push(result);
        }
    }
    if results.is_empty() {
        return Err(Failure::other(format!("strace saw no call: {text}")));
    }
    Ok(results)
}

/// `PID CALL(…) = RESULT …`, the result 0 if it is no number.
fn parse(line: &str) -> Option<(&str, u64)> {
    let (_, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    let (_, result) = rest.rsplit_once("= ")?;
    Some((call, result.split(' ').next()?.parse().unwrap_or(0)))
}

/// strace on the worker's script.
fn traced(worker: &Worker, options: &[&str], log: &Path, paths: &BTreeSet<String>) -> Command {
    let script = worker.command("scenario", &worker.database(), 0);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(log).args(options);
    for path in paths {
        command.args(["-P", path]);
    }
    command.arg(worker.program()).args(script.get_args());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_strace_are_read() {
        assert_eq!(parse("8146  pwrite64(5, \"a = 3(\", 64, 0) = 64"), Some(("pwrite64", 64)));
        assert_eq!(parse("8146  openat(AT_FDCWD, \"x\") = -1 ENOENT (No such file)"), Some(("openat", 0)));
        assert_eq!(parse("8146  +++ exited with 0 +++"), None);
    }

    #[test]
    fn each_call_has_each_error_and_writes_lie() {
        let faults = faults("pwrite64", &["EIO", "EINTR"], &[64, 1]);
        let names: Vec<String> = faults.iter().map(Fault::name).collect();
        let expected = [
            "pwrite64:EIO:1",
            "pwrite64:EINTR:1",
            "pwrite64:lie32:1",
            "pwrite64:lie64:1",
            "pwrite64:EIO:2",
            "pwrite64:EINTR:2",
        ];
        assert_eq!(names, expected);
        let named = |only: &str| faults.iter().filter(|fault| fault.is_named(only)).count();
        assert_eq!(
            (named(""), named("pwrite64"), named("pwrite64:EIO"), named("pwrite64:EIO:2")),
            (6, 6, 2, 1)
        );
        assert_eq!(named("pwrite"), 0);
        assert_eq!(faults[0].injection(), "inject=pwrite64:error=EIO:when=1");
        assert_eq!(faults[3].injection(), "inject=pwrite64:retval=64:when=1");
        let lasting = Fault { call: "pwrite64", nth: 7, kind: Kind::Error("ENOSPC+") };
        assert_eq!(lasting.injection(), "inject=pwrite64:error=ENOSPC:when=7+");
    }

    #[test]
    fn only_a_lie_may_lose_and_never_in_silence() {
        let lie = Fault { call: "pwrite64", nth: 1, kind: Kind::Lie(64) };
        let error = Fault { call: "pwrite64", nth: 1, kind: Kind::Error("EIO") };
        let lost = Verdict { lost: 1, ..Verdict::default() };
        let cut = Verdict { dropped: 9, ..lost.clone() };
        let refused = Verdict { refused: Some("open".into()), ..Verdict::default() };
        for ended in [Outcome::Absorbed, Outcome::Reported] {
            assert_eq!(judge(&error, ended, &Verdict::default()), Ok(ended));
            assert_eq!(judge(&lie, ended, &cut), Ok(Outcome::Cut));
            assert_eq!(judge(&lie, ended, &refused), Ok(Outcome::Refused));
            assert!(judge(&lie, ended, &lost).is_err());
            for verdict in [&lost, &cut, &refused] {
                assert!(judge(&error, ended, verdict).is_err());
            }
        }
    }
}
