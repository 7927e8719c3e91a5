//! `sanitize`: library and integration tests under AddressSanitizer, LeakSanitizer or ThreadSanitizer.
//!
//! 1. The sanitizers are unstable flags of the stable compiler: `RUSTC_BOOTSTRAP=1` and `RUSTFLAGS` are set for the one
//!    cargo command, which builds into a folder of its own, so that no other build is disturbed.
//! 2. Under AddressSanitizer the arenas poison what nobody was handed (`--cfg kausal_asan`): it knows the allocator's pieces,
//!    and would be blind to ours otherwise.
//! 3. What cargo prints is passed on as it comes; tests and reports in it are counted.
//!
//! A report fails the task, but for `thread`: the standard library is not instrumented, so its locks and channels look
//! like races. There reports are advice, and fail the task only with `--strict`.
//!
//! Not here: documentation tests, which rustdoc builds without these flags, and the compile-fail tests, which run nothing.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use lexopt::{Arg, Parser, ValueExt};

use crate::command;
use crate::failure::{AtPath, Failure};
use crate::workspace::{Package, Workspace};

/// What the sanitizers are built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The crates that have unsafe code, or stand directly on it.
const CRATES: [&str; 4] = ["kausal-arena", "kausal-index", "kausal-memtable", "kausal-sstable"];

/// Test programs that only run the compiler.
const COMPILER_TESTS: [&str; 1] = ["compile_fail"];

/// What the uninstrumented standard library does right and ThreadSanitizer cannot see: the hand-over between a thread and
/// whoever joins it. Nothing broader: a rule that names the module hides every race.
const THREAD_SUPPRESSIONS: &str = "\
race:Arc<std::thread::
race:Weak<std::thread::
race:drop_in_place::<std::thread::
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sanitizer {
    Address,
    Leak,
    Thread,
}

impl Sanitizer {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "address" => Some(Self::Address),
            "leak" => Some(Self::Leak),
            "thread" => Some(Self::Thread),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Leak => "leak",
            Self::Thread => "thread",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Self::Address => "-Zsanitizer=address --cfg kausal_asan",
            Self::Leak => "-Zsanitizer=leak",
            Self::Thread => "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer -Zshare-generics=n",
        }
    }
}

/// What the task is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    sanitizer: Sanitizer,
    crates: Vec<String>,
    is_strict: bool,
}

impl Options {
    /// Reads the task's arguments.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if one is not known.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self { sanitizer: Sanitizer::Address, crates: Vec::new(), is_strict: false };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("crate") => options.crates.push(parser.value()?.string()?),
                Arg::Long("strict") => options.is_strict = true,
                Arg::Value(name) => {
                    options.sanitizer = name.to_str().and_then(Sanitizer::parse).ok_or_else(|| {
                        let name = name.display();
                        Failure::usage(format!("no sanitizer `{name}`: address, leak or thread"))
                    })?;
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if options.crates.is_empty() {
            options.crates = CRATES.map(String::from).into();
        }
        Ok(options)
    }
}

/// What was counted in the output of test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    reports: usize,
}

impl Counts {
    /// Counts what one line says.
    fn see(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
            self.ignored += number_before(result, " ignored");
        }
        let is_report = ["ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer"];
        self.reports += usize::from(is_report.iter().any(|mark| line.contains(mark)));
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.reports += other.reports;
    }
}

fn number_before(text: &str, word: &str) -> usize {
    let digits = text.split(word).next().and_then(|before| before.rsplit([' ', ';']).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Runs the tests of each crate.
///
/// # Errors
///
/// [`Failure`] if a crate is not known, a test does not build or fails, or something is reported that must not be.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    let suppressions = tempfile::NamedTempFile::new().at("make", std::path::Path::new("a temporary file"))?;
    suppressions.as_file().write_all(THREAD_SUPPRESSIONS.as_bytes()).at("write", suppressions.path())?;
    let mut total = Counts::default();
    let mut failed = Vec::new();
    for name in &options.crates {
        let package = metadata.packages.iter().find(|package| package.name == *name);
        let package =
            package.ok_or_else(|| Failure::usage(format!("the workspace has no crate `{name}`")))?;
        let mut command = tests(workspace, package, options.sanitizer);
        if options.sanitizer == Sanitizer::Thread {
            // Reports are counted here; the exit code says what the tests say.
            let path = suppressions.path().display();
            command.env("TSAN_OPTIONS", format!("suppressions={path} exitcode=0"));
        }
        let (status, counts) = watch(&mut command)?;
        println!("sanitize {}: {name}: {}", options.sanitizer.name(), shown(counts));
        if !status.success() {
            failed.push(format!("{name}: {status}\n  run again: {}", command::shown(&command)));
        }
        total.add(counts);
    }
    println!("sanitize {}: in all: {}", options.sanitizer.name(), shown(total));
    let is_advice = options.sanitizer == Sanitizer::Thread && !options.is_strict;
    if total.reports > 0 && !is_advice && failed.is_empty() {
        failed.push(format!("{} report(s), see above", total.reports));
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::other(failed.join("\n"))) }
}

fn shown(counts: Counts) -> String {
    let Counts { passed, failed, ignored, reports } = counts;
    format!("{passed} tests passed, {failed} failed, {ignored} ignored, {reports} report(s)")
}

/// The command that builds and runs the library and integration tests of `package`.
fn tests(workspace: &Workspace, package: &Package, sanitizer: Sanitizer) -> Command {
    let folder = format!("target/sanitize-{}", sanitizer.name());
    let mut command = command::cargo(workspace.root(), &["test", "--package", &package.name, "--lib"]);
    for test in package.tests.iter().filter(|test| !COMPILER_TESTS.contains(&test.as_str())) {
        command.args(["--test", test]);
    }
    command
        .args(["--all-features", "--no-fail-fast", "--target", TARGET, "--target-dir", &folder])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", sanitizer.flags());
    command
}

/// Runs `command`, passes on what it prints, and counts.
fn watch(command: &mut Command) -> Result<(ExitStatus, Counts), Failure> {
    let cannot_run = |error| Failure::other(format!("cannot run cargo: {error}"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot_run)?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let mut counts = Counts::default();
    std::thread::scope(|threads| {
        let errors =
            threads.spawn(|| errors.map_or(Counts::default(), |errors| pass_on(errors, std::io::stderr())));
        counts.add(output.map_or(Counts::default(), |output| pass_on(output, std::io::stdout())));
        counts.add(errors.join().expect("passing lines on does not panic"));
    });
    Ok((child.wait().map_err(cannot_run)?, counts))
}

/// Copies lines from `source` to `target` until there are no more. What is not UTF-8 is copied as well.
fn pass_on(source: impl Read, mut target: impl Write) -> Counts {
    let mut counts = Counts::default();
    for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
        counts.see(&String::from_utf8_lossy(&line));
        // Nobody may be listening; the counts are what matters.
        let _ = target.write_all(&line).and_then(|()| target.write_all(b"\n"));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_reports_are_counted() {
        let output = "\
running 3 tests
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.03s
==77==ERROR: AddressSanitizer: use-after-poison on address 0x7
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out
WARNING: ThreadSanitizer: data race (pid=7)
SUMMARY: ThreadSanitizer: data race
";
        let mut copied = Vec::new();
        let counts = pass_on(output.as_bytes(), &mut copied);
        assert_eq!(counts, Counts { passed: 15, failed: 2, ignored: 1, reports: 2 });
        assert_eq!(copied, output.as_bytes());
    }

    #[test]
    fn arguments_choose_sanitizer_and_crates() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(Into::into).collect());
        let options = parse(&[]).expect("no argument is needed");
        assert_eq!((options.sanitizer, options.crates.len()), (Sanitizer::Address, CRATES.len()));
        let options = parse(&["thread", "--crate", "kausal-arena", "--strict"]).expect("known arguments");
        let crates = vec!["kausal-arena".to_owned()];
        assert_eq!(options, Options { sanitizer: Sanitizer::Thread, crates, is_strict: true });
        assert_eq!(parse(&["memory"]).expect_err("not usable here").exit_code(), 2);
    }
}
