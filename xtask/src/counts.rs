//! `bench counts`: instructions of the hot paths, compared exactly between commits.
//!
//! 1. kausal-bench counts them below callgrind, without its peers.
//! 2. `docs/benchmarks/counts.json` has the counts of the repository, what they were counted with, and how much more each *tier*
//!    of machine may count: a machine is of the best tier that it meets.
//!
//!    | tier | the machine has | allowed |
//!    |---|---|---|
//!    | `exact` | the same processor family, compiler and valgrind | what the file says: addresses differ, no more |
//!    | `compiler` | the same processor family, another compiler or valgrind | what the file says: code is generated otherwise |
//!    | none | no valgrind, or another processor family | nothing is compared, and that is said |
//!
//! 3. `--check` fails when a path is above its threshold, is missing, or when the file does not know the tier. Without it the
//!    file is written anew, its thresholds kept. A path that became cheaper by more than its threshold is told: the file is to
//!    be written anew, or the next regression hides in the difference.
//!
//! Not here: what is counted. That is `kausal-bench/src/hot_paths.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::command;
use crate::failure::Failure;
use crate::workspace::{BENCH, Workspace};

const FILE: &str = "docs/benchmarks/counts.json";

/// What counts depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    processor: String,
    compiler: String,
    valgrind: String,
}

/// Instructions of an operation, by path.
type Counts = BTreeMap<String, f64>;

/// What the repository says.
#[derive(Debug)]
struct Baseline {
    machine: Machine,
    /// How much more a tier may count, in percent.
    percent: BTreeMap<String, f64>,
    counts: Counts,
}

/// What came of a comparison.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Lines for the reader.
    Good(Vec<String>),
    Skipped(String),
}

/// Counts, and writes the file or compares with it.
///
/// # Errors
///
/// [`Failure`] if it does not build, or with `--check` if a path costs more than its tier allows.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let checks = match arguments {
        [] => false,
        [one] if one == "--check" => true,
        _ => return Err(Failure::usage("counts takes --check, or nothing".to_owned())),
    };
    let Some(machine) = Machine::here()? else {
        println!("skipped: no valgrind, so nothing was counted");
        return Ok(());
    };
    let path = workspace.root().join(FILE);
    let baseline = std::fs::read_to_string(&path).ok().map(|text| Baseline::parse(&text)).transpose()?;
    let counts = count(workspace)?;
    if checks {
        let baseline = baseline.ok_or_else(|| Failure::other(format!("there is no {FILE}")))?;
        match judge(&baseline, &machine, &counts)? {
            Verdict::Good(lines) => lines.iter().for_each(|line| println!("{line}")),
            Verdict::Skipped(why) => println!("skipped: {why}"),
        }
        return Ok(());
    }
    let percent = baseline.map_or_else(default_percent, |baseline| baseline.percent);
    let written = Baseline { machine, percent, counts }.to_text();
    std::fs::write(&path, written).map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    println!("wrote {FILE}");
    Ok(())
}

/// What `ci` runs.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    run(workspace, &["--check".into()])
}

fn default_percent() -> BTreeMap<String, f64> {
    [("exact".to_owned(), 1.0), ("compiler".to_owned(), 10.0)].into()
}

impl Machine {
    /// `None` without valgrind.
    fn here() -> Result<Option<Self>, Failure> {
        let Ok(output) = Command::new("valgrind").arg("--version").output() else { return Ok(None) };
        let valgrind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let compiler = command::read(Command::new("rustc").arg("--version"))?.trim().to_owned();
        Ok(Some(Self { processor: std::env::consts::ARCH.to_owned(), compiler, valgrind }))
    }

    /// The tier of this machine beside the one that the counts of the repository are of.
    fn tier(&self, baseline: &Self) -> Option<&'static str> {
        match self {
            same if same == baseline => Some("exact"),
            other if other.processor == baseline.processor => Some("compiler"),
            _ => None,
        }
    }
}

/// Builds kausal-bench without peers and lets it count.
fn count(workspace: &Workspace) -> Result<Counts, Failure> {
    command::run(&mut command::cargo(workspace.root(), &["build", "--release", "--package", BENCH]))?;
    let target = workspace.metadata()?.target_folder;
    let rows: PathBuf = target.join("counts.json");
    let program = target.join("release").join(BENCH);
    command::run(Command::new(program).arg("counts").arg("--json").arg(&rows))?;
    let text = std::fs::read_to_string(&rows).map_err(|error| Failure::other(error.to_string()))?;
    parse_rows(&text)
}

/// Counts of the rows that kausal-bench wrote.
fn parse_rows(text: &str) -> Result<Counts, Failure> {
    let bad = || Failure::other("the rows of kausal-bench are not as expected".to_owned());
    let rows: Vec<Value> = serde_json::from_str(text).map_err(|_| bad())?;
    let row = |row: &Value| Some((row["subject"].as_str()?.to_owned(), row["value"].as_f64()?.round()));
    rows.iter().map(|value| row(value).ok_or_else(bad)).collect()
}

/// Compares counts of `machine` with the baseline.
fn judge(baseline: &Baseline, machine: &Machine, counts: &Counts) -> Result<Verdict, Failure> {
    let Some(tier) = machine.tier(&baseline.machine) else {
        let (here, there) = (&machine.processor, &baseline.machine.processor);
        return Ok(Verdict::Skipped(format!("{FILE} is of {there}, this machine is {here}")));
    };
    if counts.is_empty() {
        return Ok(Verdict::Skipped("valgrind does not run here".to_owned()));
    }
    let Some(&percent) = baseline.percent.get(tier) else {
        let known: Vec<&str> = baseline.percent.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Failure::other(format!(
            "{FILE} has no threshold for the tier `{tier}`, only for: {known}"
        )));
    };
    let (mut lines, mut worse) = (vec![format!("tier `{tier}`: at most {percent} % more")], Vec::new());
    for (path, &before) in &baseline.counts {
        let Some(&now) = counts.get(path) else {
            worse.push(format!("{path}: was not counted"));
            continue;
        };
        let change = (now / before - 1.0) * 100.0;
        let line = format!("{path}: {before} instructions, now {now} ({change:+.2} %)");
        if change > percent {
            worse.push(line);
        } else if change < -percent {
            lines.push(format!("{line}; better: write the file anew with `cargo xtask bench counts`"));
        } else {
            lines.push(line);
        }
    }
    let new = counts.keys().filter(|path| !baseline.counts.contains_key(*path));
    worse.extend(new.map(|path| format!("{path}: is not in {FILE}")));
    if worse.is_empty() {
        return Ok(Verdict::Good(lines));
    }
    let worse = worse.join("\n  ");
    Err(Failure::other(format!(
        "tier `{tier}` allows {percent} % more:\n  {worse}\n  if it has to be so: cargo xtask bench counts"
    )))
}

impl Baseline {
    fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::other(format!("{FILE}: {what}"));
        let value: Value = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        let word = |name: &str| {
            let found = value["machine"][name].as_str().map(str::to_owned);
            found.ok_or_else(|| bad(&format!("no machine.{name}")))
        };
        let numbers = |name: &str| {
            let object = value[name].as_object().ok_or_else(|| bad(&format!("no {name}")))?;
            let number = |(key, value): (&String, &Value)| Some((key.clone(), value.as_f64()?));
            let all: Option<BTreeMap<String, f64>> = object.iter().map(number).collect();
            all.ok_or_else(|| bad(&format!("{name} holds what is no number")))
        };
        let machine = Machine {
            processor: word("processor")?,
            compiler: word("compiler")?,
            valgrind: word("valgrind")?,
        };
        Ok(Self { machine, percent: numbers("percent_by_tier")?, counts: numbers("instructions")? })
    }

    fn to_text(&self) -> String {
        let Machine { processor, compiler, valgrind } = &self.machine;
        let value = json!({
            "machine": { "processor": processor, "compiler": compiler, "valgrind": valgrind },
            "percent_by_tier": self.percent,
            "instructions": self.counts,
        });
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(processor: &str, compiler: &str) -> Machine {
        let word = str::to_owned;
        Machine { processor: word(processor), compiler: word(compiler), valgrind: word("valgrind-3") }
    }

    fn counts(list: &[(&str, f64)]) -> Counts {
        list.iter().map(|&(path, count)| (path.to_owned(), count)).collect()
    }

    fn baseline() -> Baseline {
        let counts = counts(&[("get", 1000.0), ("put", 2000.0)]);
        Baseline { machine: machine("x86_64", "rustc 1"), percent: default_percent(), counts }
    }

    fn judged(compiler: &str, get: f64, put: f64) -> Result<Verdict, String> {
        let counts = counts(&[("get", get), ("put", put)]);
        let judged = judge(&baseline(), &machine("x86_64", compiler), &counts);
        judged.map_err(|failure| failure.to_string())
    }

    #[test]
    fn u7_a_regression_beyond_the_threshold_of_its_tier_fails() {
        assert!(judged("rustc 1", 1009.0, 2000.0).is_ok(), "within a percent");
        let worse = judged("rustc 1", 1011.0, 2000.0).expect_err("beyond a percent");
        assert!(worse.contains("get: 1000 instructions, now 1011 (+1.10 %)"), "{worse}");
        assert!(!worse.contains("put:"), "{worse}");
        assert!(judged("rustc 2", 1011.0, 2190.0).is_ok(), "another compiler generates other code");
        assert!(judged("rustc 2", 1000.0, 2210.0).is_err(), "but not ten percent more of it");
    }

    #[test]
    fn u7_a_tier_that_has_no_threshold_is_named() {
        let mut baseline = baseline();
        baseline.percent.remove("compiler");
        let judged = judge(&baseline, &machine("x86_64", "rustc 2"), &counts(&[("get", 1.0)]));
        let failure = judged.expect_err("no threshold").to_string();
        assert!(failure.contains("no threshold for the tier `compiler`, only for: exact"), "{failure}");
    }

    #[test]
    fn u7_a_machine_of_no_tier_is_skipped_and_says_so() {
        let judged = judge(&baseline(), &machine("aarch64", "rustc 1"), &counts(&[("get", 5000.0)]));
        let Ok(Verdict::Skipped(why)) = judged else { panic!("{judged:?}") };
        assert!(why.contains("x86_64") && why.contains("aarch64"), "{why}");
        let judged = judge(&baseline(), &machine("x86_64", "rustc 1"), &Counts::new());
        assert!(matches!(judged, Ok(Verdict::Skipped(_))), "valgrind is there and counts nothing");
    }

    #[test]
    fn u7_a_path_that_is_not_counted_or_not_known_fails() {
        let lost = judge(&baseline(), &machine("x86_64", "rustc 1"), &counts(&[("get", 1000.0)]));
        assert!(lost.expect_err("put is missing").to_string().contains("put: was not counted"));
        let all = counts(&[("get", 1000.0), ("put", 2000.0), ("scan", 9.0)]);
        let new = judge(&baseline(), &machine("x86_64", "rustc 1"), &all);
        assert!(new.expect_err("scan is new").to_string().contains("scan: is not in"));
    }

    #[test]
    fn an_improvement_asks_for_a_new_file() {
        let Ok(Verdict::Good(lines)) = judged("rustc 1", 900.0, 2000.0) else { panic!() };
        assert!(lines.iter().any(|line| line.starts_with("get:") && line.contains("write the file anew")));
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let read = Baseline::parse(&baseline().to_text()).expect("it was just written");
        let before = baseline();
        assert_eq!(
            (read.machine, read.percent, read.counts),
            (before.machine, before.percent, before.counts)
        );
        assert!(Baseline::parse("{}").is_err());
        let row = r#"[{"workload":"counts","subject":"get","metric":"operation","value":12.4}]"#;
        assert_eq!(parse_rows(row).expect("a row"), counts(&[("get", 12.0)]));
        assert!(parse_rows(r#"[{"subject":"get"}]"#).is_err());
    }
}
