//! `torture`: a real process, killed at random moments, must keep every write that it acknowledged.
//!
//! 1. Build the command line tool and take a sample of a real tree ([`tree`]).
//! 2. Rehearse: one import to its end, to learn how long it takes and that nothing fails without a kill.
//! 3. Round by round ([`round`]): import with `--sync --ack`, SIGKILL at a moment drawn from the seed ([`moment`]).
//!    Some rounds start with a fresh database, most go on with the killed one: recovery upon recovery.
//! 4. After each kill: `kausal check` must find nothing, and what `kausal export` writes must agree with everything that
//!    was acknowledged ([`ack`]), byte for byte ([`oracle`]).
//!
//! Each turn pairs the tree's names with other contents, so that an old version that comes back is seen.
//!
//! A kill loses no page cache: this proves recovery after a crash of the process. Power cuts are `cargo xtask sim`'s.

mod ack;
mod moment;
mod oracle;
mod round;
mod tree;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use lexopt::prelude::{Long, ValueExt};
use tempfile::TempDir;

use crate::command;
use crate::failure::{AtPath, Failure};
use crate::workspace::Workspace;

use moment::{Estimate, Plan};
use oracle::Oracle;
use round::{Database, Import, Phase};
use tree::Tree;

/// Least share of kills after the first acknowledgement and before the end.
const IN_TIME_PERCENT_MIN: u32 = 80;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    kills: u32,
    seed: u64,
    tree: Option<PathBuf>,
}

impl Options {
    /// Reads `--kills N --seed S --tree DIR`, all optional.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for anything else.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self { kills: 50, seed: 1, tree: None };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("kills") => options.kills = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("tree") => options.tree = Some(parser.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.kills == 0 {
            return Err(Failure::usage("--kills wants at least 1"));
        }
        Ok(options)
    }
}

/// Runs the rounds and prints what they counted.
///
/// # Errors
///
/// [`Failure`] if an acknowledged write is lost, a check fails, too few kills hit the import, or a tool fails.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<(), Failure> {
    let program = build(workspace)?;
    let source = match &options.tree {
        Some(tree) => tree.clone(),
        None => default_tree(workspace)?,
    };
    // Beside the build, not in the system's temporary folder: that may be memory, where a sync means nothing.
    let parent = workspace.metadata()?.target_folder;
    let folder = TempDir::with_prefix_in("torture-", &parent).at("make a folder in", &parent)?;
    let mut rng = Rng::with_seed(options.seed);
    let tree = Tree::sample(&source, folder.path(), &mut rng)?;
    println!("torture: {} files, {} bytes, from {}", tree.len(), tree.bytes(), source.display());

    let mut torture = Torture::new(program, folder.path(), tree);
    let outcome = torture.rehearse().and_then(|()| torture.kill_all(options.kills, &mut rng));
    torture.counts.print(&options);
    let outcome = outcome.and_then(|()| torture.counts.judge());
    if outcome.is_err() {
        println!("torture: database, log and export are kept in {}", folder.keep().display());
    }
    outcome
}

/// The state between rounds.
struct Torture {
    database: Database,
    tree: Tree,
    oracle: Oracle,
    estimate: Estimate,
    /// How many imports there were; decides which contents the tree has.
    turn: usize,
    counts: Counts,
}

/// What the run is judged by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    kills: u32,
    kills_in_time: u32,
    /// Imports that ended before their moment came.
    ended: u32,
    acknowledged: usize,
    lost: usize,
    wrong: usize,
    failed_checks: u32,
}

impl Torture {
    fn new(program: PathBuf, folder: &Path, tree: Tree) -> Self {
        let oracle = Oracle::empty(tree.len());
        let database = Database::new(program, folder);
        Self { database, tree, oracle, estimate: Estimate::default(), turn: 0, counts: Counts::default() }
    }

    fn rehearse(&mut self) -> Result<(), Failure> {
        let import = self.import(None)?;
        if import.acknowledged.len() != self.tree.len() {
            let (acknowledged, all) = (import.acknowledged.len(), self.tree.len());
            return Err(Failure::other(format!(
                "an import that nobody killed acknowledged {acknowledged} of {all}"
            )));
        }
        self.verify(&import)?;
        println!(
            "torture: rehearsal: opened in {:?}, imported in {:?}",
            self.estimate.opening, self.estimate.importing
        );
        Ok(())
    }

    fn kill_all(&mut self, kills: u32, rng: &mut Rng) -> Result<(), Failure> {
        while self.counts.kills < kills {
            if self.counts.ended > kills {
                return Err(Failure::other("most imports ended before their kill: give a larger --tree"));
            }
            let plan = Plan::draw(rng);
            if plan.is_fresh {
                self.database.remove()?;
                self.oracle = Oracle::empty(self.tree.len());
            }
            let import = self.import(Some(&plan))?;
            self.count(&import);
            self.verify(&import)?;
            println!(
                "torture: kill {}/{kills}: {}, {}, {} acknowledged: all there",
                self.counts.kills,
                if plan.is_fresh { "fresh" } else { "continued" },
                import.phase,
                import.acknowledged.len(),
            );
        }
        Ok(())
    }

    /// One import, killed as `plan` says, or run to its end.
    fn import(&mut self, plan: Option<&Plan>) -> Result<Import, Failure> {
        self.turn += 1;
        let arranged = self.tree.arrange(self.turn)?;
        let moment = plan.map(|plan| self.estimate.delay(plan.moment));
        let import = self.database.import(&arranged, moment)?;
        self.estimate.learn(&import, self.tree.len());
        Ok(import)
    }

    fn count(&mut self, import: &Import) {
        match import.phase {
            Phase::Opening => self.counts.kills += 1,
            Phase::Importing => {
                self.counts.kills += 1;
                self.counts.kills_in_time += 1;
            }
            Phase::Ended => self.counts.ended += 1,
        }
    }

    /// Checks the database and compares it with what may and must be there.
    fn verify(&mut self, import: &Import) -> Result<(), Failure> {
        self.counts.acknowledged += import.acknowledged.len();
        if let Err(failure) = self.database.check() {
            self.counts.failed_checks += 1;
            return Err(failure);
        }
        let acknowledged = import.acknowledged.iter().map(|key| {
            self.tree.index_of(key).ok_or_else(|| {
                Failure::other(format!("acknowledged a key that is not in the tree: {}", key.escape_ascii()))
            })
        });
        let acknowledged: HashSet<usize> = acknowledged.collect::<Result<_, _>>()?;
        let exported = self.database.export()?;
        let verdict = self.oracle.compare(&self.tree, self.turn, &acknowledged, &exported)?;
        self.counts.lost += verdict.lost.len();
        self.counts.wrong += verdict.wrong.len();
        verdict.into_result()
    }
}

impl Counts {
    fn print(&self, options: &Options) {
        let Self { kills, kills_in_time, ended, acknowledged, lost, wrong, failed_checks } = self;
        let percent = self.in_time_percent();
        println!(
            "torture: kills {kills}, after the first acknowledgement and before the end {kills_in_time} ({percent} %), \
             imports that ended before their kill {ended}"
        );
        println!(
            "torture: acknowledged {acknowledged}, lost {lost}, wrong {wrong}, failed checks {failed_checks}"
        );
        let tree = options.tree.as_ref().map_or(String::new(), |tree| format!(" --tree {}", tree.display()));
        println!(
            "torture: the same moments again: cargo xtask torture --kills {} --seed {}{tree}",
            options.kills, options.seed
        );
    }

    /// Imports that ended in peace count as misses: a kill was meant.
    fn in_time_percent(&self) -> u32 {
        100 * self.kills_in_time / (self.kills + self.ended).max(1)
    }

    fn judge(&self) -> Result<(), Failure> {
        if self.lost > 0 || self.wrong > 0 || self.failed_checks > 0 {
            return Err(Failure::other("the counts above should be 0"));
        }
        if self.in_time_percent() < IN_TIME_PERCENT_MIN {
            let what = format!("only {} % of the kills hit the import", self.in_time_percent());
            return Err(Failure::other(format!(
                "{what}, {IN_TIME_PERCENT_MIN} % are wanted: give a larger --tree"
            )));
        }
        Ok(())
    }
}

/// Builds the command line tool and returns its path, as cargo names it.
fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let arguments =
        ["build", "--release", "--package", "kausal-engine", "--features", "cli", "--bin", "kausal"];
    let mut command = command::cargo(workspace.root(), &arguments);
    let messages = command::read(command.arg("--message-format=json-render-diagnostics"))?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().find_map(executable).ok_or_else(|| Failure::other("cargo built no program `kausal`"))
}

/// The documentation that comes with the toolchain, or the checkout itself.
fn default_tree(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = command::read(std::process::Command::new(rustc).args(["--print", "sysroot"]))?;
    let documentation = Path::new(sysroot.trim_end()).join("share/doc/rust/html/std");
    let is_there = fs::metadata(&documentation).is_ok_and(|found| found.is_dir());
    Ok(if is_there { documentation } else { workspace.root().to_path_buf() })
}

#[cfg(test)]
mod tests;
