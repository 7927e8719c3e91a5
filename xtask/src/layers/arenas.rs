//! An index and a memtable neither make nor reset an arena: they are lent leases and regions.
//!
//! 1. What makes or resets an arena is read from kausal-arena itself: every public function of an owner type that
//!    takes no `self`, and those in [`ENDS_GENERATION`]. A new constructor is under the rule from its first day.
//! 2. Each lent crate's `clippy.toml` must disallow all of them, with the reason where a reader will see it.
//! 3. Who owns one is written in [`OWNING`]: elsewhere the word does not stand in a program. An owner is not `Clone`, so
//!    what holds one is not copied either; raw arenas of other crates are kept out by the rule on dependencies.
//! 4. Clippy, which sees through imports, aliases and macros, looks for calls, with the lint forbidden rather than
//!    denied: no attribute in the sources can silence it.

use crate::command;
use crate::failure::{Failure, Violation};
use crate::source::{block, code, is_word, lines_with_word, without_tests};
use crate::workspace::{Metadata, Workspace};

/// The crates that are lent memory.
const LENT: [&str; 2] = ["kausal-index", "kausal-memtable"];

/// The types of kausal-arena that own memory.
const OWNERS: [&str; 7] =
    ["Arena", "BufferRing", "ChunkPool", "Pool", "RegionPool", "ScratchPool", "Subsystem"];

/// Who owns memory outside kausal-arena, and why. Everybody else has a coordinator, a lease or a region.
const OWNING: [(&str, &str); 4] = [
    ("kausal-engine/src/core.rs", "the engine's core owns the regions and the requests' scratches"),
    ("kausal-index/src/conformance/bed.rs", "the kit lends what it tests a pool of kausal_arena::testing"),
    ("kausal-engine/src/recovery.rs", "makes the regions before there is a core to own them"),
    ("kausal-sstable/src/cache/frames.rs", "the block cache owns its slabs"),
];

/// Crates that may own arenas anywhere: their home, and what measures it.
const FREE: [&str; 3] = ["kausal-arena", "kausal-bench", "xtask"];

/// What ends a generation of an owner.
const ENDS_GENERATION: [&str; 2] = ["Arena::reset", "Arena::retire"];

/// Missing rules in the `clippy.toml` files of the lent crates.
///
/// # Errors
///
/// [`Failure`] if the sources of kausal-arena cannot be read, or no owner is found in them.
pub(super) fn check_lists(workspace: &Workspace) -> Result<Vec<Violation>, Failure> {
    let mut disallowed = constructors(workspace)?;
    disallowed.extend(ENDS_GENERATION.map(|path| format!("kausal_arena::{path}")));
    let mut violations = Vec::new();
    for lent in LENT {
        let file = std::path::Path::new(lent).join("clippy.toml");
        let list = workspace.read(&file).unwrap_or_default();
        for path in &disallowed {
            let is_rule = |line: &str| {
                !line.trim_start().starts_with('#') && line.contains(&format!("path = \"{path}\""))
            };
            if !list.lines().any(is_rule) {
                violations.push(Violation {
                    file: file.clone(),
                    line: list
                        .lines()
                        .position(|line| line.starts_with("disallowed-methods"))
                        .map_or(0, |at| at + 1),
                    what: format!("does not disallow `{path}`"),
                    remedy: format!("add {{ path = \"{path}\", reason = \"…\" }} to disallowed-methods"),
                });
            }
        }
    }
    Ok(violations)
}

/// Owners of memory where none is expected.
///
/// # Errors
///
/// [`Failure`] if a source cannot be read.
pub(super) fn check_owners(workspace: &Workspace, metadata: &Metadata) -> Result<Vec<Violation>, Failure> {
    let mut violations = Vec::new();
    for package in metadata.packages.iter().filter(|package| !FREE.contains(&package.name.as_str())) {
        for path in workspace.sources(&package.folder.join("src"))? {
            let code = without_tests(&code(&workspace.read(&path)?));
            let places = OWNERS
                .iter()
                .flat_map(|owner| lines_with_word(&code, owner).into_iter().map(move |line| (line, owner)));
            let owned = places.min();
            let is_listed = OWNING.iter().any(|(file, _)| path == std::path::Path::new(file));
            if let (Some((line, owner)), false) = (owned, is_listed) {
                violations.push(Violation {
                    file: path,
                    line,
                    what: format!("owns or makes an arena: `{owner}`"),
                    remedy: "take a coordinator, a lease or a region, or add the file and its reason to OWNING in xtask".into(),
                });
            }
        }
    }
    Ok(violations)
}

/// Lets clippy look for disallowed calls in the lent crates.
///
/// # Errors
///
/// [`Failure`] with what clippy printed (file, line and reason) and the command to run again.
pub(super) fn check_calls(workspace: &Workspace) -> Result<(), Failure> {
    let mut arguments = vec!["clippy", "--quiet"];
    arguments.extend(LENT.iter().flat_map(|lent| ["--package", lent]));
    arguments.extend(["--lib", "--", "--forbid", "clippy::disallowed_methods"]);
    let mut clippy = command::cargo(workspace.root(), &arguments);
    let output = command::read_any(&mut clippy)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::other(format!(
        "{}a crate that is lent its memory makes or resets an arena: take a lease or a region from the caller\n  \
         run again: {}",
        String::from_utf8_lossy(&output.stderr),
        command::shown(&clippy),
    )))
}

/// Paths of the functions that make an owner.
fn constructors(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let folder = std::path::Path::new("kausal-arena/src");
    let mut found = Vec::new();
    for path in workspace.sources(folder)? {
        let code = without_tests(&code(&workspace.read(&path)?));
        for owner in OWNERS {
            found.extend(
                constructors_in(&code, owner)
                    .into_iter()
                    .map(|name| format!("kausal_arena::{owner}::{name}")),
            );
        }
    }
    if found.is_empty() {
        return Err(Failure::other(
            "kausal-arena/src: no constructor of an owner found; is OWNERS in xtask true?",
        ));
    }
    Ok(found)
}

/// Names of the public functions without `self` in the inherent implementations of `owner`.
fn constructors_in(code: &str, owner: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, _) in code.match_indices("impl") {
        let Some(open) = code[start..].find('{') else { continue };
        if implemented(&code[start..start + open]) != Some(owner) {
            continue;
        }
        let body = block(&code[start + open..]);
        for (place, mark) in body.match_indices("pub fn ") {
            let signature = &body[place + mark.len()..];
            let name = signature.split(|c| !is_word(c)).next().unwrap_or_default();
            let parameters = signature.find('(').map_or("", |open| &signature[open + 1..]);
            let first = parameters.split([',', ')']).next().unwrap_or_default();
            if !first.split(|c| !is_word(c)).any(|word| word == "self") {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// The type of an inherent implementation's head: `Pool` of `impl<T: Send> Pool<T> `.
fn implemented(head: &str) -> Option<&str> {
    let rest = head.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(_) => &rest[rest.find('>')? + 1..],
        None => rest,
    };
    let is_inherent = rest.starts_with(' ') && !rest.contains(" for ");
    is_inherent.then(|| rest.trim_start().split(|c| !is_word(c)).next()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_are_the_public_functions_without_self() {
        let code = "impl Arena { pub fn growing(b: &Budget) -> Self {} fn with_body(b: B) -> Self {}
            pub fn reset(&mut self, r: Retain) {} pub fn fixed<T>(
                bytes: usize,
            ) -> Self {} pub fn empty() -> Self {} }
            impl Other { pub fn new() -> Self {} } impl Drop for Arena { fn drop(&mut self) {} }";
        assert_eq!(constructors_in(code, "Arena"), ["growing", "fixed", "empty"]);
        let code = "impl<const N: usize> Ring<N> { pub fn new() -> Self {} } impl<T: Send> Clone for Ring<T> { pub fn x() {} }";
        assert_eq!(constructors_in(code, "Ring"), ["new"]);
    }
}
