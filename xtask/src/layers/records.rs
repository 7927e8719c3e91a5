//! Every file with unsafe code is covered by a model, a sanitizer or a fuzz target, and the record says when that ran.
//!
//! Two tables are compared: "Where unsafe lives" of ARCHITECTURE.md names the files, the table of the same name in
//! docs/reliability.md says of each what covers it, with which command, when it ran last and what came of it.
//!
//! Not here: whether a record is younger than its file. The table says so itself, and whoever changes a file runs its
//! command again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ARCHITECTURE: &str = "## Where unsafe lives";
const RECORDS: &str = "## Where unsafe lives, and what covers it";

/// Ways to see undefined behaviour or a wrong order that a test on threads does not see.
const MEANS: [&str; 5] = ["loom", "shuttle", "AddressSanitizer", "memcheck", "fuzz"];

/// What is wrong with the records of the files that `architecture` names.
fn gaps(architecture: &str, reliability: &str) -> Vec<String> {
    let records: BTreeMap<&str, Vec<&str>> = rows(reliability, RECORDS).collect();
    let mut gaps = Vec::new();
    let files: Vec<&str> = rows(architecture, ARCHITECTURE).map(|(file, _)| file).collect();
    for file in &files {
        match records.get(file).map(Vec::as_slice) {
            None => gaps.push(format!("{file}: no record")),
            Some([covered_by, result, date]) => {
                if !MEANS.iter().any(|means| covered_by.contains(means)) {
                    gaps.push(format!("{file}: neither model nor sanitizer nor fuzz target"));
                }
                if !result.contains(|letter: char| letter.is_ascii_digit()) {
                    gaps.push(format!("{file}: a result without a count"));
                }
                if !is_date(date) {
                    gaps.push(format!("{file}: no date"));
                }
            }
            Some(cells) => gaps.push(format!("{file}: {} cells", cells.len())),
        }
    }
    gaps.extend(
        records.keys().filter(|file| !files.contains(file)).map(|file| format!("{file}: a stale record")),
    );
    gaps
}

/// The rows under a heading that begin with a file: its name, and the other cells.
fn rows<'a>(document: &'a str, heading: &'a str) -> impl Iterator<Item = (&'a str, Vec<&'a str>)> {
    let lines = document.lines().skip_while(move |line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with("## ")).filter_map(|line| {
        let (file, cells) = line.strip_prefix("| `")?.split_once("` |")?;
        Some((file, cells.trim_end().trim_end_matches('|').split('|').map(str::trim).collect()))
    })
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok_and(|part| part > 0))
}

#[test]
fn s27_every_file_with_unsafe_code_has_a_model_or_sanitizer_on_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a page of the workspace");
    let architecture = read("ARCHITECTURE.md");
    assert!(rows(&architecture, ARCHITECTURE).count() > 30, "the table is read");
    assert_eq!(gaps(&architecture, &read("docs/reliability.md")), [""; 0]);
}

#[test]
fn a_file_without_a_record_a_model_a_count_or_a_date_is_found() {
    let architecture = format!("{ARCHITECTURE}\n\n| file | why |\n|---|---|\n| `a.rs` | bytes |\n\n## End\n");
    let check = |row: &str| gaps(&architecture, &format!("{RECORDS}\n\n{row}\n\n## End\n"));
    assert_eq!(check("| `a.rs` | loom: models | 3 models, 0 violations | 2026-11-27 |"), [""; 0]);
    assert_eq!(check(""), ["a.rs: no record"]);
    assert_eq!(
        check("| `a.rs` | tests | none | |"),
        [
            "a.rs: neither model nor sanitizer nor fuzz target",
            "a.rs: a result without a count",
            "a.rs: no date"
        ]
    );
    assert_eq!(
        check("| `a.rs` | fuzz | 3 | 2026-11-27 |\n| `b.rs` | fuzz | 3 | 2026-11-27 |"),
        ["b.rs: a stale record"]
    );
}
