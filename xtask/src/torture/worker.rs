//! The process under torture: the example `torture_worker` of kausal-engine, its files, and its audits.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command;
use crate::failure::{AtPath, Failure};
use crate::workspace::Workspace;

/// A process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often to look whether a process got further.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// The program and the files that it keeps beside the database.
pub(super) struct Worker {
    program: PathBuf,
    folder: PathBuf,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The database said that it is damaged.
    pub(super) refused: Option<String>,
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    pub(super) torn: u64,
    /// What the recovery report said that it cut.
    pub(super) dropped: u64,
    pub(super) batches: u64,
    pub(super) recovery: Duration,
    /// Writers that were told of a durable write while the file system was being shut down already.
    pub(super) late: u64,
    /// Those of them that do not have it.
    pub(super) late_lost: u64,
    /// The first keys that are not right.
    pub(super) what: String,
}

impl Verdict {
    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| value[name].as_u64().unwrap_or(0);
        Some(Self {
            refused: value["refused"].as_str().map(str::to_owned),
            acknowledged: number("acknowledged"),
            lost: number("lost"),
            wrong: number("wrong"),
            torn: number("torn"),
            dropped: number("dropped_bytes") + number("dropped_logs"),
            batches: number("batches"),
            recovery: Duration::from_micros(number("recovery_micros")),
            late: number("late"),
            late_lost: number("late_lost"),
            what: value["what"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Whether every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        self.refused.is_none() && self.lost + self.wrong + self.torn == 0
    }
}

impl Worker {
    /// A worker whose files lie in `folder`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if `folder` cannot be written to.
    pub(super) fn new(program: PathBuf, folder: &Path) -> Result<Self, Failure> {
        let known = folder.join("known");
        fs::create_dir_all(&known).at("make", &known)?;
        Ok(Self { program, folder: folder.into() })
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database, unless it lies on a file system of its own.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.join("db")
    }

    /// The worker's marks.
    pub(super) fn phases(&self) -> PathBuf {
        self.known().join("phase")
    }

    /// What is known of the database, outside of it.
    pub(super) fn known(&self) -> PathBuf {
        self.folder.join("known")
    }

    /// Removes `database` and everything known of it.
    ///
    /// # Errors
    ///
    /// [`Failure`] if something stays.
    pub(super) fn forget(&self, database: &Path) -> Result<(), Failure> {
        for folder in [database, &self.known()] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at("remove", folder);
                }
                _ => {}
            }
        }
        fs::create_dir(self.known()).at("make", &self.known())
    }

    /// `torture_worker TASK DATABASE FOLDER --salt SALT`
    pub(super) fn command(&self, task: &str, database: &Path, salt: u64) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(task).arg(database).arg(self.known()).arg("--salt").arg(salt.to_string());
        command
    }

    /// Starts `command`, with what it prints in a file. The marks of the process before it are gone.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it cannot start.
    pub(super) fn start(&self, command: Command) -> Result<Process, Failure> {
        match fs::remove_file(self.phases()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at("remove", &self.phases());
            }
            _ => {}
        }
        Process::start(command, &self.folder.join("worker.log"))
    }

    /// Says in both writers' acknowledgements that what comes from here on comes too late to be believed.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be written to.
    pub(super) fn mark_cut(&self) -> Result<(), Failure> {
        for writer in 0..2 {
            let path = self.known().join(format!("acks.{writer}"));
            let acks = OpenOptions::new().append(true).create(true).open(&path);
            acks.and_then(|mut acks| acks.write_all(b"cut\n")).at("write", &path)?;
        }
        Ok(())
    }

    /// Recovers the database and compares it with what was acknowledged.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the audit ends in any way but with a verdict.
    pub(super) fn audit(&self, database: &Path, salt: u64, after_power: bool) -> Result<Verdict, Failure> {
        let mut command = self.command("audit", database, salt);
        if after_power {
            command.arg("--power");
        }
        let mut process = Process::start(command, &self.folder.join("audit.log"))?;
        let status = process.wait()?;
        let printed = process.printed();
        let verdict = printed.lines().find_map(Verdict::parse);
        verdict.filter(|_| status.success()).ok_or_else(|| process.failure(&format!("ended with {status}")))
    }
}

/// A running program, killed when this goes away.
pub(super) struct Process {
    child: Child,
    shown: String,
    log: PathBuf,
    started: Instant,
}

impl Process {
    fn start(mut command: Command, log: &Path) -> Result<Self, Failure> {
        let shown = command::shown(&command);
        let out = File::create(log).at("make", log)?;
        let err = out.try_clone().at("share", log)?;
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.map_err(|error| Failure::other(format!("cannot start `{shown}`: {error}")))?;
        Ok(Self { child, shown, log: log.into(), started })
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it does not come.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if self.started.elapsed() > PATIENCE {
                return Err(self.failure(&format!("has not ended after {PATIENCE:?}")));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// As the system gives them.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|error| self.failure(&format!("cannot be waited for: {error}")))
    }

    /// Stops it with SIGSTOP, and waits until no thread of it is in a call any more.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it does not stop.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        let process = self.child.id().to_string();
        command::run(Command::new("kill").args(["-STOP", &process]))?;
        let tasks = Path::new("/proc").join(&process).join("task");
        let is_stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state is the first word behind the name in parentheses.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        let begun = Instant::now();
        while !fs::read_dir(&tasks).at("list", &tasks)?.flatten().all(is_stopped) {
            if begun.elapsed() > PATIENCE {
                return Err(self.failure("does not stop"));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Kills it with SIGKILL; a process that has ended keeps its status.
    ///
    /// # Errors
    ///
    /// As the system gives them.
    pub(super) fn kill(&mut self) -> Result<ExitStatus, Failure> {
        self.child.kill().map_err(|error| self.failure(&format!("cannot be killed: {error}")))?;
        self.child.wait().map_err(|error| self.failure(&format!("cannot be waited for: {error}")))
    }

    /// What it printed.
    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What went wrong, the command, and the end of what it printed.
    pub(super) fn failure(&self, what: &str) -> Failure {
        const TAIL_CHARS: usize = 2_000;
        let printed = self.printed();
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

/// Builds the worker and returns its path, as cargo names it.
///
/// # Errors
///
/// [`Failure`] if it does not build.
pub(super) fn build_example(workspace: &Workspace, name: &str) -> Result<PathBuf, Failure> {
    let arguments =
        ["build", "--release", "--package", "kausal-engine", "--features", "sim", "--example", name];
    let mut command = command::cargo(workspace.root(), &arguments);
    let messages = command::read(command.arg("--message-format=json-render-diagnostics"))?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().find_map(executable).ok_or_else(|| Failure::other(format!("cargo built no `{name}`")))
}
