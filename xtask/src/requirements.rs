//! `requirements`: the rows of the memory architecture against the tests that prove them.
//!
//! 1. The table of docs/requirements.md says for each row which tests prove it, in which crate, or that it is open.
//! 2. The sources say which tests there are: functions named after a row, `s05_…` or `u1_…`, under a test attribute.
//! 3. One `cargo test`, with the features of `ci` so that nothing is compiled again, runs them all.
//!
//! A row that claims a proof without a test that exists and passes fails the task; so does a test named after a row
//! that the table does not list, so that no proof goes unnoticed. Open rows are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::command;
use crate::failure::{Failure, Violation, none_of};
use crate::source::{code, is_word, lines_with_word};
use crate::workspace::Workspace;

const TABLE: &str = "docs/requirements.md";

/// S1 to S30 and U1 to U7.
const ROW_COUNT: usize = 37;

/// Checks the table, runs the tests, prints how many rows are proven.
///
/// # Errors
///
/// [`Failure::Violations`] with every row or test that does not agree, or another failure if the tests do not build.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let (rows, mut violations) = parse(&workspace.read(TABLE)?);
    let tests = tests_named_after_rows(workspace)?;
    violations.extend(disagreements(&rows, &tests));
    none_of(violations)?;

    let passed = passing(workspace, &rows)?;
    none_of(unproven(&rows, &passed))?;
    let proven = rows.iter().filter(|row| row.status == Status::Proven).count();
    println!("requirements: {proven} rows proven, {} open, {} in all", rows.len() - proven, rows.len());
    Ok(())
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// `S5`
    name: String,
    line: usize,
    tests: Vec<String>,
    crates: BTreeSet<String>,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Proven,
    Open,
}

/// A test function named after a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedTest {
    krate: String,
    file: PathBuf,
    line: usize,
}

/// Reads the table: every line `| S5 | … | … | tests | crates | status |`.
fn parse(document: &str) -> (Vec<Row>, Vec<Violation>) {
    let (mut rows, mut violations) = (Vec::<Row>::new(), Vec::new());
    for (index, line) in document.lines().enumerate() {
        let Some(name) =
            line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).filter(|name| is_row(name))
        else {
            continue;
        };
        match parse_row(name, index + 1, line) {
            Ok(row) if rows.iter().any(|known| known.name == row.name) => {
                violations.push(in_table(row.line, format!("row {name} stands twice"), "keep one of them"));
            }
            Ok(row) => rows.push(row),
            Err(violation) => violations.push(violation),
        }
    }
    if rows.len() + violations.len() != ROW_COUNT {
        let what = format!("{} rows, but the memory architecture has {ROW_COUNT}", rows.len());
        violations.push(in_table(0, what, "one line per row: S1 to S30, U1 to U7"));
    }
    (rows, violations)
}

fn parse_row(name: &str, line: usize, text: &str) -> Result<Row, Violation> {
    let cells: Vec<_> = text.trim().split('|').map(str::trim).collect();
    let ["", _, _, _, tests, crates, status, ""] = cells[..] else {
        let remedy =
            "write | row | the document says | kausal shows | tests | crates | status |, no other `|`";
        return Err(in_table(line, format!("row {name} has not six cells"), remedy));
    };
    let status = match status {
        "proven" => Status::Proven,
        "open" => Status::Open,
        _ => return Err(in_table(line, format!("row {name} is `{status}`"), "a row is `proven` or `open`")),
    };
    let row = Row {
        name: name.to_owned(),
        line,
        tests: quoted(tests),
        crates: quoted(crates).into_iter().collect(),
        status,
    };
    if status == Status::Proven && row.tests.is_empty() {
        return Err(in_table(
            line,
            format!("row {name} claims a proof without a test"),
            "name the test, or say `open`",
        ));
    }
    if let Some(test) = row.tests.iter().find(|test| row_of_test(test).as_deref() != Some(name)) {
        let what = format!("row {name} names `{test}`");
        return Err(in_table(line, what, "a test that proves a row begins with its number, as in `s05_`"));
    }
    Ok(row)
}

/// Whether `name` is that of a row: `S5`, `U1`.
fn is_row(name: &str) -> bool {
    let number = name.strip_prefix(['S', 'U']).and_then(|number| number.parse::<u8>().ok());
    number.is_some_and(|number| number > 0)
}

/// The row that a test is named after: `S5` for `s05_memtable_manager_receives_coordinator`.
fn row_of_test(test: &str) -> Option<String> {
    let (head, _) = test.split_once('_')?;
    let digits = head.strip_prefix(['s', 'u'])?;
    let width = if head.starts_with('s') { 2 } else { 1 };
    if digits.len() != width || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(format!("{}{}", head[..1].to_uppercase(), digits.trim_start_matches('0')))
}

/// The words between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn tests_named_after_rows(workspace: &Workspace) -> Result<BTreeMap<String, Vec<NamedTest>>, Failure> {
    let mut found = BTreeMap::<String, Vec<NamedTest>>::new();
    // This task's own tests speak of tests that do not exist.
    let is_own =
        |path: &PathBuf| path.starts_with("xtask/src/requirements") || path.ends_with("src/requirements.rs");
    for package in &workspace.metadata()?.packages {
        for path in workspace.sources(&package.folder)?.into_iter().filter(|path| !is_own(path)) {
            for (test, line) in tests_in(&workspace.read(&path)?) {
                let krate = package.name.clone();
                found.entry(test).or_default().push(NamedTest { krate, file: path.clone(), line });
            }
        }
    }
    Ok(found)
}

/// Functions of `text` that are named after a row, with their lines. One without a test attribute is listed as well: it
/// looks like a proof, and the run will show that it is none.
fn tests_in(text: &str) -> Vec<(String, usize)> {
    let code = code(text);
    let lines: Vec<_> = code.lines().collect();
    let mut found = Vec::new();
    for line in lines_with_word(&code, "fn") {
        let after = lines[line - 1].split("fn ").skip(1);
        let names = after.map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default());
        found.extend(names.filter(|name| row_of_test(name).is_some()).map(|name| (name.to_owned(), line)));
    }
    found
}

/// Where table and sources do not agree.
fn disagreements(rows: &[Row], tests: &BTreeMap<String, Vec<NamedTest>>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for row in rows {
        let mut crates = BTreeSet::new();
        for test in &row.tests {
            match tests.get(test).map(Vec::as_slice) {
                None => {
                    let what = format!("row {} names `{test}`, which does not exist", row.name);
                    violations.push(in_table(row.line, what, "write the test, or correct its name"));
                }
                Some(places) => crates.extend(places.iter().map(|place| place.krate.clone())),
            }
        }
        if violations.is_empty() && row.crates != crates {
            let what = format!("row {} says {:?}, but its tests are in {crates:?}", row.name, row.crates);
            violations.push(in_table(row.line, what, "name exactly the crates of the tests"));
        }
    }
    let listed: BTreeSet<_> = rows.iter().flat_map(|row| &row.tests).collect();
    for (test, places) in tests {
        let at = |place: &NamedTest, what: String, remedy: &str| Violation {
            file: place.file.clone(),
            line: place.line,
            what,
            remedy: remedy.into(),
        };
        if !listed.contains(test) {
            let what = format!("`{test}` is named after a row that does not list it");
            violations.push(at(&places[0], what, "list it in docs/requirements.md, or name it otherwise"));
        }
        if let [_, second, ..] = &places[..] {
            violations.push(at(
                second,
                format!("`{test}` exists twice"),
                "one of them could fail unseen: rename one",
            ));
        }
    }
    violations
}

/// Runs the tests of the table and returns the names of those that passed.
fn passing(workspace: &Workspace, rows: &[Row]) -> Result<BTreeSet<String>, Failure> {
    let tests: Vec<_> = rows.iter().flat_map(|row| &row.tests).map(String::as_str).collect();
    if tests.is_empty() {
        return Ok(BTreeSet::new());
    }
    let features = workspace.metadata()?.features_without_peers();
    let mut arguments = vec!["test", "--workspace", "--features", &features];
    arguments.extend(["--lib", "--bins", "--tests", "--no-fail-fast"]);
    arguments.extend(["--quiet", "--", "--format", "pretty"]);
    arguments.extend(&tests);
    let output = command::read_any(&mut command::cargo(workspace.root(), &arguments))?;
    let passed = passed(&String::from_utf8_lossy(&output.stdout));
    let is_wanted = |name: &&String| tests.contains(&name.as_str());
    if !output.status.success() && passed.iter().filter(is_wanted).count() == tests.len() {
        let printed = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::other(format!("cargo test: {}\n{printed}", output.status)));
    }
    if passed.is_empty() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(passed)
}

/// Names, without their modules, of the tests that libtest says passed: `test room::tests::s05_law ... ok`.
fn passed(printed: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let path = line.strip_prefix("test ")?.strip_suffix(" ... ok")?;
        let path = path.strip_suffix(" - should panic").unwrap_or(path);
        Some(path.rsplit("::").next().unwrap_or(path).to_owned())
    };
    printed.lines().filter_map(name).collect()
}

fn unproven(rows: &[Row], passed: &BTreeSet<String>) -> Vec<Violation> {
    let failed = |row: &Row, test: &str| {
        let what = format!("row {} is not proven: `{test}` did not pass", row.name);
        in_table(row.line, what, &format!("run it: cargo test --workspace {test}"))
    };
    let missing = |row: &Row| -> Vec<_> {
        row.tests.iter().filter(|test| !passed.contains(*test)).map(|test| failed(row, test)).collect()
    };
    rows.iter().flat_map(missing).collect()
}

fn in_table(line: usize, what: String, remedy: &str) -> Violation {
    Violation { file: Path::new(TABLE).to_path_buf(), line, what, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests;
