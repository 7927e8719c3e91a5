//! One round's processes: an import that is killed, a check, an export.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::command;
use crate::failure::{AtPath, Failure};

use super::ack;
use super::moment::Delay;
use super::tree::remove_folder;

/// Small, so that memtables are flushed and tables compacted while an import runs.
pub(super) const MEMORY_BUDGET: &str = "32M";

/// How often to look whether a process got further.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// The database under torture and the program that has it.
pub(super) struct Database {
    program: PathBuf,
    folder: PathBuf,
}

/// What became of an import.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) phase: Phase,
    /// From the start to the first acknowledgement, if that was waited for.
    pub(super) opening: Option<Duration>,
    /// From the first acknowledgement, or the start, to the end.
    pub(super) importing: Duration,
    /// The acknowledged keys.
    pub(super) acknowledged: Vec<Vec<u8>>,
}

/// When an import was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the first acknowledgement.
    Opening,
    /// After it, and before the end of the process.
    Importing,
    /// Not at all: it ended first.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Opening => "killed while it opened",
            Self::Importing => "killed while it imported",
            Self::Ended => "ended before the kill",
        })
    }
}

impl Database {
    /// A database in `folder`, not there yet.
    pub(super) fn new(program: PathBuf, folder: &Path) -> Self {
        Self { program, folder: folder.into() }
    }

    /// Removes it, so that the next import starts anew.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it stays.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        remove_folder(&self.path())
    }

    /// Imports `tree` and kills the import after `delay`, or lets it end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the import fails by itself, hangs, or acknowledges what is no key.
    pub(super) fn import(&self, tree: &Path, delay: Option<Delay>) -> Result<Import, Failure> {
        let acks = self.folder.join("acks");
        fs::write(&acks, "").at("empty", &acks)?;
        let log = self.folder.join("import.log");
        let mut command = self.command("import");
        command.arg(tree).args(["--sync", "--ack"]).arg(&acks);
        let mut process = Process::start(command, &log)?;

        let mut opening = None;
        let status = match delay {
            Some(Delay::AfterStart(delay)) => process.wait_or_kill(delay)?,
            Some(Delay::AfterFirstAck(delay)) => {
                opening = process.wait_for_ack(&acks)?;
                process.wait_or_kill(delay)?
            }
            None => {
                opening = process.wait_for_ack(&acks)?;
                process.wait()?
            }
        };
        let importing = process.started.elapsed().saturating_sub(opening.unwrap_or_default());
        let acknowledged = ack::parse(&fs::read(&acks).at("read", &acks)?)
            .map_err(|what| Failure::other(format!("{}: {what}", acks.display())))?;
        let phase = match status {
            // A killed process has a signal, no code.
            killed if killed.code().is_none() && acknowledged.is_empty() => Phase::Opening,
            killed if killed.code().is_none() => Phase::Importing,
            ended if ended.success() => Phase::Ended,
            failed => return Err(process.failure(&format!("failed by itself: {failed}"))),
        };
        if delay.is_none() && phase != Phase::Ended {
            return Err(process.failure(&format!("died by itself: {status}")));
        }
        Ok(Import { phase, opening, importing, acknowledged })
    }

    /// Runs `kausal check`.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what it printed, unless its exit code is 0.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let mut command = self.command("check");
        command.arg("--json");
        self.run(command, "check.log")
    }

    /// Runs `kausal export` into an absent folder and returns that.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what it printed, unless its exit code is 0.
    pub(super) fn export(&self) -> Result<PathBuf, Failure> {
        let exported = self.folder.join("exported");
        remove_folder(&exported)?;
        let mut command = self.command("export");
        command.arg(&exported);
        self.run(command, "export.log")?;
        Ok(exported)
    }

    fn run(&self, command: Command, log: &str) -> Result<(), Failure> {
        let mut process = Process::start(command, &self.folder.join(log))?;
        let status = process.wait()?;
        if status.success() { Ok(()) } else { Err(process.failure(&status.to_string())) }
    }

    /// `kausal TASK DB --memory-budget …`
    fn command(&self, task: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(task).arg(self.path()).args(["--memory-budget", MEMORY_BUDGET]);
        command
    }

    fn path(&self) -> PathBuf {
        self.folder.join("db")
    }
}

/// A running program, killed when this goes away.
struct Process {
    child: Child,
    shown: String,
    log: PathBuf,
    started: Instant,
}

impl Process {
    /// Starts `command` with everything it prints in `log`.
    fn start(mut command: Command, log: &Path) -> Result<Self, Failure> {
        let shown = command::shown(&command);
        let out = File::create(log).at("make", log)?;
        let err = out.try_clone().at("share", log)?;
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.map_err(|error| Failure::other(format!("cannot start `{shown}`: {error}")))?;
        Ok(Self { child, shown, log: log.into(), started })
    }

    /// Waits for the first acknowledgement and says how long it took; `None` if the process ended without one.
    fn wait_for_ack(&mut self, acks: &Path) -> Result<Option<Duration>, Failure> {
        loop {
            if ack::has_any(&fs::read(acks).at("read", acks)?) {
                return Ok(Some(self.started.elapsed()));
            }
            if self.ended()?.is_some() {
                return Ok(None);
            }
            self.look_later()?;
        }
    }

    /// Waits for the end, at most for `delay`, then kills.
    fn wait_or_kill(&mut self, delay: Duration) -> Result<ExitStatus, Failure> {
        let begun = Instant::now();
        while let Some(left) = delay.checked_sub(begun.elapsed()) {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(left.min(LOOK_EVERY));
        }
        // `kill` sends SIGKILL, and nothing to a process that was waited for already.
        self.child.kill().map_err(|error| self.failure(&format!("cannot be killed: {error}")))?;
        self.child.wait().map_err(|error| self.failure(&format!("cannot be waited for: {error}")))
    }

    fn wait(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            self.look_later()?;
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|error| self.failure(&format!("cannot be waited for: {error}")))
    }

    fn look_later(&self) -> Result<(), Failure> {
        if self.started.elapsed() > PATIENCE {
            return Err(self.failure(&format!("has not ended after {PATIENCE:?}")));
        }
        thread::sleep(LOOK_EVERY);
        Ok(())
    }

    /// What went wrong, the command, and the end of what it printed.
    fn failure(&self, what: &str) -> Failure {
        const TAIL_CHARS: usize = 2_000;
        let printed = fs::read(&self.log).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed);
        let skipped = printed.chars().count().saturating_sub(TAIL_CHARS);
        let tail: String = printed.chars().skip(skipped).collect();
        Failure::other(format!("`{}` {what}\n{tail}", self.shown))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
