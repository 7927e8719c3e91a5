//! Where files may lie, and where the program may touch them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::command;
use crate::failure::{AtPath, Failure, Violation};
use crate::source::{block, code, is_word, line_at, without_tests};
use crate::workspace::{Metadata, Workspace};
use std::process::Command;

/// What must lie at the top of the repository.
const REQUIRED: [&str; 18] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs",
    "kausal-arena",
    "kausal-bench",
    "kausal-engine",
    "kausal-index",
    "kausal-memtable",
    "kausal-sstable",
];

/// What may lie there besides.
const ALLOWED: [&str; 12] = [
    ".config",
    ".editorconfig",
    ".gitattributes",
    ".github",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "fuzz",
    "mutants.toml",
    "rustfmt.toml",
    "typos.toml",
    "xtask",
];

/// Where a program may name the operating system's files: the engine's one door, the command line tool, and the
/// project's own programs. Everything in a `tests` folder or under `#[cfg(test)]` may as well.
const MAY_TOUCH_FILES: [&str; 5] = [
    "kausal-bench/",
    "kausal-engine/src/vfs/std",
    "kausal-engine/src/bin/",
    "kausal-engine/examples/",
    "xtask/",
];

/// Entries at the top of the repository that do not belong there, and those that are missing.
///
/// # Errors
///
/// [`Failure`] if the top level cannot be listed.
pub(super) fn check_top_level(workspace: &Workspace) -> Result<Vec<Violation>, Failure> {
    let entries = top_level(workspace.root())?;
    let stranger =
        |entry: &&String| !REQUIRED.contains(&entry.as_str()) && !ALLOWED.contains(&entry.as_str());
    let strangers = entries.iter().filter(stranger).map(|entry| {
        violation(
            entry,
            0,
            "does not belong at the top level".into(),
            "move it into the crate or document it is part of",
        )
    });
    let missing = REQUIRED.iter().filter(|name| !entries.contains(**name)).map(|name| {
        violation(
            name,
            0,
            "is missing at the top level".into(),
            "every checkout has it: bring it back, and commit it",
        )
    });
    Ok(strangers.chain(missing).collect())
}

/// Uses of `std::fs` outside the places that may.
///
/// # Errors
///
/// [`Failure`] if a source cannot be read.
pub(super) fn check_file_access(
    workspace: &Workspace,
    metadata: &Metadata,
) -> Result<Vec<Violation>, Failure> {
    let mut violations = Vec::new();
    for package in &metadata.packages {
        for path in workspace.sources(&package.folder)? {
            if may_touch_files(&path) {
                continue;
            }
            for line in file_access_lines(&without_tests(&code(&workspace.read(&path)?))) {
                violations.push(Violation {
                    file: path.clone(),
                    line,
                    what: "names the operating system's files".into(),
                    remedy: "go through kausal_engine::vfs::Vfs, so that a simulated disk sees the call"
                        .into(),
                });
            }
        }
    }
    Ok(violations)
}

fn may_touch_files(path: &Path) -> bool {
    let is_test = path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches");
    is_test || MAY_TOUCH_FILES.iter().any(|allowed| path.to_string_lossy().starts_with(allowed))
}

/// Lines of `code` that name `std::fs` or `rustix::fs`, in a path or inside the braces of a `use`.
fn file_access_lines(code: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for krate in ["std", "rustix"] {
        for (place, _) in code.match_indices(krate) {
            if code[..place].ends_with(is_word) {
                continue;
            }
            let after = code[place + krate.len()..].trim_start();
            let Some(path) = after.strip_prefix("::").map(str::trim_start) else { continue };
            let group = if path.starts_with('{') { block(path) } else { "" };
            if starts_with_fs(path) || names_fs(group) {
                lines.insert(line_at(code, place));
            }
        }
    }
    lines
}

/// Whether `group`, the braces of a `use`, holds `fs` as one of its own entries.
fn names_fs(group: &str) -> bool {
    let mut depth = 0usize;
    let mut at_entry = false;
    for (place, c) in group.char_indices() {
        match c {
            '{' => (depth, at_entry) = (depth + 1, depth == 0),
            '}' => (depth, at_entry) = (depth.saturating_sub(1), false),
            ',' => at_entry = depth == 1,
            c if c.is_whitespace() => {}
            _ if at_entry && starts_with_fs(&group[place..]) => return true,
            _ => at_entry = false,
        }
    }
    false
}

fn starts_with_fs(path: &str) -> bool {
    path.strip_prefix("fs").is_some_and(|rest| !rest.starts_with(is_word))
}

/// The first part of every path in the repository: what git tracks, or what lies there where git knows nothing.
fn top_level(root: &Path) -> Result<BTreeSet<String>, Failure> {
    let tracked = command::read_any(Command::new("git").current_dir(root).args(["ls-files", "-z"]))
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    if let Some(tracked) = tracked {
        let paths = String::from_utf8_lossy(&tracked.stdout).into_owned();
        let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        return Ok(paths.split('\0').filter(|path| !path.is_empty()).map(first).collect());
    }
    let mut entries = BTreeSet::new();
    for entry in fs::read_dir(root).at("list", root)? {
        let name = entry.at("list", root)?.file_name().to_string_lossy().into_owned();
        if name != "target" && name != ".git" && !name.ends_with(".kausal") {
            entries.insert(name);
        }
    }
    Ok(entries)
}

fn violation(file: &str, line: usize, what: String, remedy: &str) -> Violation {
    Violation { file: file.into(), line, what, remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, lines: &[usize]) {
        assert_eq!(file_access_lines(code).into_iter().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn file_access_is_seen_however_it_is_imported() {
        check("use std::fs;\nx\nstd::fs::read(p)", &[1, 3]);
        check("use std::{\n    io,\n    fs::File,\n};", &[1]);
        check("use std::{fs, io};", &[1]);
        check("::std :: fs::read(p)", &[1]);
        check("use rustix::fs::flock;", &[1]);
    }

    #[test]
    fn words_like_it_are_not_file_access() {
        check("use std::fsm; my_std::fs; use std::{io, io::{fs}}; use std::os::unix::fs_x;", &[]);
    }
}
