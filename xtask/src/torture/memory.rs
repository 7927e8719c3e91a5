//! `torture --memory`: what the process has resident against what the engine was given.
//!
//! 1. The example `memory_worker` fills a database of ten budgets and more, and works on it from four threads. It
//!    keeps no model: values are checked by what they say of themselves. What it takes beside the engine is counted too.
//! 2. It is judged by its own figures: peak of the books, peak of what the kernel counted, reports whose sums were exact,
//!    and operations in each part of the time, whose [`trend`] must not be down.
//! 3. The same again in a memory control group of the budget and 32 MiB, where the kernel ends a process that takes more. Its
//!    trend is shown, not judged: the page cache in front of the tables is in the group too, and has what is left of it,
//!    while the tables grow below the snapshot that is held.
//! 4. What other stores take that are given the same budget, beside ours in the same program: [`peers`]. They are not judged.
//!
//! Anonymous and shared memory is what the process pays. Pages of files, the program's own and the window of the mapped log,
//! are page cache: the kernel takes them back when it wants to. They are shown apart.

mod peers;
mod trend;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command;
use crate::failure::{AtPath, Failure};
use crate::workspace::Workspace;

use super::Options;
use super::worker;
use trend::Trend;

const MIB: u64 = 1 << 20;

/// What the process may have beside a tenth more than its budget.
const ALLOWANCE: u64 = 16 * MIB;

/// Of the control group, beside the budget.
const GROUP_ALLOWANCE: u64 = 32 * MIB;

/// Exact reports that a full run wants.
const REPORTS_MIN: u64 = 10_000;

/// The trend is that of the time from this percentage of it on: of five minutes, the third to the fifth.
const SETTLED_PERCENT: usize = 40;

/// How much is done.
struct Size {
    budget: u64,
    entries: u64,
    seconds: u64,
    /// Exact reports that are wanted.
    reports: u64,
    /// Files of this tree become values.
    tree: &'static str,
}

impl Size {
    fn of(options: &Options) -> Self {
        match options.quick {
            true => Self {
                budget: 8 * MIB,
                entries: 500_000,
                seconds: 20,
                reports: 500,
                tree: "/usr/include/linux",
            },
            false => Self {
                budget: 64 * MIB,
                entries: 4_000_000,
                seconds: 60 * u64::from(options.minutes),
                reports: REPORTS_MIN,
                tree: "/usr/include",
            },
        }
    }
}

/// Runs the worker, in the open and in a control group, and prints what it found.
///
/// # Errors
///
/// [`Failure`] if it fails, or a figure is beyond its limit.
pub(super) fn run(workspace: &Workspace, options: &Options, folder: &Path) -> Result<(), Failure> {
    let program = worker::build_example(workspace, "memory_worker")?;
    let size = Size::of(options);
    let free = run_once(&program, &size, options, folder, None)?;
    free.print("alone");
    free.judge(&size, options)?;
    if !free.trend().is_some_and(|trend| trend.is_steady()) {
        return Err(Failure::other("it does ever less; the table above tells how much"));
    }
    match Group::make(size.budget + GROUP_ALLOWANCE) {
        Ok(group) => {
            let grouped = run_once(&program, &size, options, folder, Some(&group))?;
            grouped.print("in a control group of the budget and 32 MiB");
            grouped.judge(&size, options)?;
        }
        Err(why) => println!("torture: skipped: no memory control group: {why}"),
    }
    peers::show(workspace, options, size.entries)
}

fn run_once(
    program: &Path,
    size: &Size,
    options: &Options,
    folder: &Path,
    group: Option<&Group>,
) -> Result<Figures, Failure> {
    let database = folder.join("memory");
    if database.exists() {
        fs::remove_dir_all(&database).at("remove", &database)?;
    }
    let mut command = match group {
        Some(group) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.processes()).arg(program);
            shell
        }
        None => Command::new(program),
    };
    command.arg(&database).arg(size.tree);
    let numbers = [size.budget / MIB, size.entries, size.seconds, size.reports, options.seed];
    let output = command::read(command.args(numbers.map(|number| number.to_string())))?;
    let figures = Figures::parse(&output);
    fs::remove_dir_all(&database).at("remove", &database)?;
    figures.ok_or_else(|| Failure::other(format!("the worker said `{}`", output.trim())))
}

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    budget: u64,
    peak: u64,
    data: u64,
    files: u64,
    anonymous: u64,
    of_files: u64,
    high_water: u64,
    checked: u64,
    refused: u64,
    rested: u64,
    stalls: u64,
    flushes: u64,
    compactions: u64,
    compacted: u64,
    /// Operations in each part of the time.
    parts: Vec<u64>,
    part_millis: u64,
    /// Processor time that others had in each part: who shares a machine may see why it went up or down.
    others_millis: Vec<u64>,
}

impl Figures {
    fn parse(output: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(output.lines().last()?).ok()?;
        let number = |name: &str| value[name].as_u64();
        let numbers = |name: &str| -> Option<Vec<u64>> {
            Some(value[name].as_array()?.iter().filter_map(Value::as_u64).collect())
        };
        Some(Self {
            budget: number("budget")?,
            peak: number("peak")?,
            data: number("data")?,
            files: number("files")?,
            anonymous: number("anonymous")?,
            of_files: number("of_files")?,
            high_water: number("high_water")?,
            checked: number("checked")?,
            refused: number("refused")?,
            rested: number("rested")?,
            stalls: number("stalls")?,
            flushes: number("flushes")?,
            compactions: number("compactions")?,
            compacted: number("compacted")?,
            parts: numbers("parts")?,
            part_millis: number("part_millis")?,
            others_millis: numbers("others_millis")?,
        })
    }

    /// Of the operations, since the work has settled.
    fn trend(&self) -> Option<Trend> {
        Trend::of(self.parts.get(self.parts.len() * SETTLED_PERCENT / 100..)?)
    }

    /// What the process may have resident.
    fn resident_max(&self) -> u64 {
        self.budget + self.budget / 10 + ALLOWANCE
    }

    fn print(&self, how: &str) {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB as f64);
        let told = |trend: Option<Trend>| trend.map_or_else(|| "none".to_owned(), |trend| trend.to_string());
        println!("torture: memory, {how}");
        let rows = [
            ("data written before the work", format!("{}, {} files among it", mib(self.data), self.files)),
            ("budget", mib(self.budget)),
            ("most accounted for", mib(self.peak)),
            ("most resident, anonymous and shared", mib(self.anonymous)),
            ("  may be", mib(self.resident_max())),
            ("most resident of files (page cache)", mib(self.of_files)),
            ("the kernel's high-water mark of both", mib(self.high_water)),
            ("reports found exact", self.checked.to_string()),
            ("reads, writes, walks refused for want of memory", self.refused.to_string()),
            ("compactions asked for that rested for want of it", self.rested.to_string()),
            ("operations in each part of the time", format!("{:?}", self.parts)),
            ("  a part is", format!("{:.1} s", self.part_millis as f64 / 1e3)),
            ("  trend when it has settled", told(self.trend())),
            ("processor time of others in each part, in ms", format!("{:?}", self.others_millis)),
            (
                "flushes, compactions, stalls",
                format!("{}, {}, {}", self.flushes, self.compactions, self.stalls),
            ),
            ("written by compactions", mib(self.compacted)),
        ];
        rows.iter().for_each(|(what, figure)| println!("  {what:50} {figure}"));
    }

    fn judge(&self, size: &Size, options: &Options) -> Result<(), Failure> {
        let wrong = |what: &str| Err(Failure::other(format!("{what}; the table above tells how much")));
        if self.peak > self.budget || self.budget != size.budget {
            return wrong("more is accounted for than the budget");
        }
        if self.anonymous > self.resident_max() {
            return wrong("more is resident than the budget, a tenth of it and 16 MiB");
        }
        if self.checked < size.reports || (!options.quick && self.data < 10 * self.budget) {
            return wrong("too little was looked at, or the database is smaller than ten budgets");
        }
        if self.refused > 0 {
            return wrong("reads, writes or walks were refused for want of memory");
        }
        Ok(())
    }
}

/// A memory control group of its own, of version 1 or 2.
struct Group {
    folder: PathBuf,
}

impl Group {
    fn make(bytes: u64) -> Result<Self, String> {
        let (parent, limit) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let folder = parent.join(format!("kausal-torture-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let group = Self { folder };
        let limit = group.folder.join(limit);
        fs::write(&limit, bytes.to_string())
            .map_err(|error| format!("cannot write {}: {error}", limit.display()))?;
        Ok(group)
    }

    fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that stays is empty, and costs next to nothing.
        let _ = fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_judged() {
        let line = "{\"budget\":8388608,\"peak\":8388600,\"files\":7,\"data\":99,\"anonymous\":20000000,\"of_files\":5,\
                    \"high_water\":6,\"checked\":500,\"refused\":0,\"rested\":0,\"parts\":[9,9,9,9,5,6,5,6,5,6],\"part_millis\":5,\"flushes\":1,\
                    \"others_millis\":[0,0,0,0,0,0,0,0,0,0],\
                    \"compactions\":2,\"compacted\":3,\"stalls\":0}";
        let good = Figures::parse(line).unwrap();
        let options = Options { quick: true, ..Options::default() };
        let size = Size::of(&options);
        let judge = |figures: Figures| figures.judge(&size, &options).is_ok();
        assert!(judge(good.clone()));
        assert!(!judge(Figures { peak: 8388609, ..good.clone() }));
        assert!(!judge(Figures { anonymous: 8 * MIB + 8 * MIB / 10 + 16 * MIB + 1, ..good.clone() }));
        assert!(!judge(Figures { refused: 1, ..good.clone() }));
        assert!(!judge(Figures { checked: 499, ..good.clone() }));
        let is_steady = |parts: &[u64]| {
            let figures = Figures { parts: parts.to_vec(), ..good.clone() };
            figures.trend().is_some_and(|trend| trend.is_steady())
        };
        assert!(good.trend().is_some_and(|trend| trend.is_steady()));
        assert!(!is_steady(&[9, 9, 9, 9, 9, 8, 7, 6, 5, 4]));
        assert!(!is_steady(&[0; 10]));
        assert_eq!(Figures::parse("killed"), None);
    }
}
