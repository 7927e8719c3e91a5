//! Who may know whom, among normal dependencies.

use crate::failure::Violation;
use crate::source::is_word;
use crate::workspace::{Metadata, Package, Workspace};

/// Each member and the members it may depend on.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("kausal-arena", &[]),
    ("kausal-index", &["kausal-arena"]),
    ("kausal-memtable", &["kausal-arena", "kausal-index"]),
    ("kausal-sstable", &["kausal-arena", "kausal-index"]),
    ("kausal-engine", &["kausal-arena", "kausal-index", "kausal-memtable", "kausal-sstable"]),
    ("kausal-bench", &["kausal-arena", "kausal-index", "kausal-memtable", "kausal-sstable", "kausal-engine"]),
    ("xtask", &[]),
];

/// Libraries that hand out memory in bulk, and the members that may have them: the bench only to compare.
const ARENA_LIBRARIES: [&str; 4] = ["bumpalo", "typed-arena", "bump-scope", "blink-alloc"];
const MAY_HAVE_ARENA_LIBRARIES: [&str; 2] = ["kausal-arena", "kausal-bench"];

/// All forbidden normal dependencies of the members.
pub(super) fn check(workspace: &Workspace, metadata: &Metadata) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let Some((_, may_know)) = MAY_KNOW.iter().find(|(name, _)| *name == package.name) else {
            violations.push(unknown_member(package));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.is_normal) {
            let name = dependency.name.as_str();
            let is_member = MAY_KNOW.iter().any(|(member, _)| *member == name);
            let what = if is_member && !may_know.contains(&name) {
                format!("{} may not know {name}", package.name)
            } else if ARENA_LIBRARIES.contains(&name) && !MAY_HAVE_ARENA_LIBRARIES.contains(&&*package.name) {
                format!(
                    "{} may not have an arena library, {name}: arenas come from kausal-arena",
                    package.name
                )
            } else if name == "kausal-arena" && dependency.features.iter().any(|feature| feature == "testing")
            {
                format!("{} enables kausal-arena's `testing` outside its tests", package.name)
            } else {
                continue;
            };
            violations.push(violation(workspace, package, name, what));
        }
    }
    violations
}

fn violation(workspace: &Workspace, package: &Package, dependency: &str, what: String) -> Violation {
    let file = package.folder.join("Cargo.toml");
    let manifest = workspace.read(&file).unwrap_or_default();
    let names_it = |line: &str| {
        line.trim_start()
            .strip_prefix(dependency)
            .is_some_and(|rest| !rest.starts_with(|c| is_word(c) || c == '-'))
    };
    let line = manifest.lines().position(names_it).map_or(0, |index| index + 1);
    let remedy =
        "pass what is needed through the layers of ARCHITECTURE.md, or make it a dev-dependency".into();
    Violation { file, line, what, remedy }
}

fn unknown_member(package: &Package) -> Violation {
    Violation {
        file: package.folder.join("Cargo.toml"),
        line: 0,
        what: format!("{} has no place among the layers", package.name),
        remedy: "say whom it may know in MAY_KNOW, xtask/src/layers/dependencies.rs, and in ARCHITECTURE.md"
            .into(),
    }
}
