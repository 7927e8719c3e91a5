//! Where unsafe code may be.
//!
//! The one list is the table under "Where unsafe lives" in ARCHITECTURE.md: file and reason. A file with unsafe code
//! must be in it, a file in it must have some, and a crate without any says `#![forbid(unsafe_code)]` in every
//! library and program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::failure::{Failure, Violation};
use crate::source::{code, lines_with_word};
use crate::workspace::{Metadata, Package, Workspace};

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Where unsafe lives";
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Unsafe code in files that the table does not name, stale rows of the table, and crates that forgot to forbid it.
///
/// # Errors
///
/// [`Failure`] if a source or ARCHITECTURE.md cannot be read.
pub(super) fn check(workspace: &Workspace, metadata: &Metadata) -> Result<Vec<Violation>, Failure> {
    let mut listed = listed(&workspace.read(DOCUMENT)?)?;
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let mut has_unsafe = false;
        for path in workspace.sources(&package.folder)? {
            let lines = lines_with_word(&code(&workspace.read(&path)?), "unsafe");
            let Some(&first) = lines.first() else { continue };
            has_unsafe |= is_part_of_target(package, &path);
            if listed.remove(&path).is_none() {
                violations.push(Violation {
                    file: path,
                    line: first,
                    what: "unsafe code in a file that may have none".into(),
                    remedy: format!(
                        "write it safely, or add the file and its reason to \"{HEADING}\" in {DOCUMENT}"
                    ),
                });
            }
        }
        if !has_unsafe {
            violations.extend(unforbidden(workspace, package)?);
        }
    }
    violations.extend(listed.into_iter().map(|(path, line)| Violation {
        file: DOCUMENT.into(),
        line,
        what: format!("{} has no unsafe code", path.display()),
        remedy: "remove its row".into(),
    }));
    Ok(violations)
}

/// Test programs and benchmarks are crates of their own: what they do says nothing about the library.
fn is_part_of_target(package: &Package, path: &std::path::Path) -> bool {
    !["tests", "benches", "examples"].iter().any(|folder| path.starts_with(package.folder.join(folder)))
}

fn unforbidden(workspace: &Workspace, package: &Package) -> Result<Vec<Violation>, Failure> {
    let mut violations = Vec::new();
    for root in &package.roots {
        let code = code(&workspace.read(root)?);
        if !code.lines().any(|line| line.trim() == FORBID) {
            violations.push(Violation {
                file: root.clone(),
                line: 0,
                what: "has no unsafe code, but does not forbid it".into(),
                remedy: format!("add {FORBID} below the first comment"),
            });
        }
    }
    Ok(violations)
}

/// The files of the table with their lines in the document.
fn listed(document: &str) -> Result<BTreeMap<PathBuf, usize>, Failure> {
    let lines = document.lines().enumerate().skip_while(|(_, line)| *line != HEADING).skip(1);
    let section: Vec<_> = lines.take_while(|(_, line)| !line.starts_with("## ")).collect();
    if section.is_empty() {
        return Err(Failure::other(format!(
            "{DOCUMENT}: no section \"{HEADING}\"; it lists the files with unsafe code"
        )));
    }
    let file = |line: &str| Some(PathBuf::from(line.strip_prefix("| `")?.split('`').next()?));
    Ok(section.into_iter().filter_map(|(index, line)| Some((file(line)?, index + 1))).collect())
}
