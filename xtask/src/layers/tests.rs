//! Every rule is seen to fail: a sound workspace in miniature, one planted violation at a time.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const ARENA: &str = "//! Arenas.
#![forbid(unsafe_code)]
/// Owner.
pub struct Arena;
impl Arena {
    /// Makes one.
    pub fn growing() -> Self { Self }
    /// Ends a generation.
    pub fn reset(&mut self) {}
    /// Ends a generation later.
    pub fn retire(&mut self) {}
}
";

const RULES: &str = r#"disallowed-methods = [
    { path = "kausal_arena::Arena::growing", reason = "lent" },
    { path = "kausal_arena::Arena::reset", reason = "lent" },
    { path = "kausal_arena::Arena::retire", reason = "lent" },
]
"#;

const EMPTY: &str = "//! Nothing yet.\n#![forbid(unsafe_code)]\n";

/// A workspace in which every rule holds.
struct House {
    folder: TempDir,
}

impl House {
    fn sound() -> Self {
        let house = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        house.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"kausal-*\"]\n");
        for name in ["kausal-bench", "kausal-engine", "kausal-sstable"] {
            house.member(name, "", EMPTY);
        }
        house.member("kausal-arena", "", ARENA);
        for name in ["kausal-index", "kausal-memtable"] {
            house.member(name, "kausal-arena = { path = \"../kausal-arena\" }\n", EMPTY);
            house.write(&format!("{name}/clippy.toml"), RULES);
        }
        house.write("ARCHITECTURE.md", "## Where unsafe lives\n\n| file | why |\n|---|---|\n\n## End\n");
        for name in
            ["CHANGELOG.md", "CONTRIBUTING.md", "Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "README.md"]
        {
            house.write(name, "");
        }
        for name in [".cargo/config.toml", ".ci/run", "docs/a.md", ".gitignore"] {
            house.write(name, "");
        }
        house
    }

    fn member(&self, name: &str, dependencies: &str, library: &str) {
        let head = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        self.write(&format!("{name}/Cargo.toml"), &format!("{head}\n[dependencies]\n{dependencies}"));
        self.write(&format!("{name}/src/lib.rs"), library);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a path in the house")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn append(&self, path: &str, text: &str) {
        let before = fs::read_to_string(self.folder.path().join(path)).expect("a file of the house");
        self.write(path, &(before + text));
    }

    fn workspace(&self) -> Workspace {
        Workspace::at(self.folder.path().canonicalize().expect("the house stands"))
    }

    /// What the rules other than clippy's find.
    fn violations(&self) -> Vec<String> {
        let workspace = self.workspace();
        let metadata = workspace.metadata().expect("the house has sound manifests");
        let mut found = dependencies::check(&workspace, &metadata);
        found.extend(arenas::check_lists(&workspace).expect("sources"));
        found.extend(arenas::check_owners(&workspace, &metadata).expect("sources"));
        found.extend(files::check_top_level(&workspace).expect("the top level"));
        found.extend(files::check_file_access(&workspace, &metadata).expect("sources"));
        found.extend(unsafe_code::check(&workspace, &metadata).expect("sources"));
        found
            .iter()
            .map(|violation| violation.to_string().lines().next().unwrap_or_default().trim().into())
            .collect()
    }

    #[track_caller]
    fn assert_found(&self, expected: &str) {
        assert_eq!(self.violations(), [expected]);
    }
}

#[test]
fn a_sound_house_has_no_violation() {
    assert_eq!(House::sound().violations(), [""; 0]);
}

#[test]
fn this_house_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = Workspace::at(root.canonicalize().expect("the workspace"));
    let metadata = workspace.metadata().expect("metadata");
    assert_eq!(dependencies::check(&workspace, &metadata), []);
    assert_eq!(arenas::check_lists(&workspace).expect("sources"), []);
}

#[test]
fn an_index_with_an_arena_library_is_found() {
    let house = House::sound();
    house.append("kausal-index/Cargo.toml", "bumpalo = \"3\"\n");
    house.assert_found(
        "kausal-index/Cargo.toml:8: kausal-index may not have an arena library, bumpalo: arenas come from kausal-arena",
    );
}

#[test]
fn a_renamed_arena_library_is_found() {
    let house = House::sound();
    house.append("kausal-engine/Cargo.toml", "quick = { package = \"typed-arena\", version = \"2\" }\n");
    house.assert_found(
        "kausal-engine/Cargo.toml: kausal-engine may not have an arena library, typed-arena: arenas come from kausal-arena",
    );
}

#[test]
fn the_bench_and_tests_may_have_an_arena_library() {
    let house = House::sound();
    house.append("kausal-bench/Cargo.toml", "bumpalo = \"3\"\n");
    house.append("kausal-index/Cargo.toml", "[dev-dependencies]\nbumpalo = \"3\"\n");
    assert_eq!(house.violations(), [""; 0]);
}

#[test]
fn a_memtable_that_knows_tables_is_found() {
    let house = House::sound();
    house.append("kausal-memtable/Cargo.toml", "kausal-sstable = { path = \"../kausal-sstable\" }\n");
    house.assert_found("kausal-memtable/Cargo.toml:8: kausal-memtable may not know kausal-sstable");
}

#[test]
fn a_table_that_knows_memtables_is_found() {
    let house = House::sound();
    house.append("kausal-sstable/Cargo.toml", "kausal-memtable = { path = \"../kausal-memtable\" }\n");
    house.assert_found("kausal-sstable/Cargo.toml:7: kausal-sstable may not know kausal-memtable");
}

#[test]
fn test_arenas_outside_tests_are_found() {
    let house = House::sound();
    let dependency = "kausal-arena = { path = \"../kausal-arena\", features = [\"testing\"] }\n";
    house.append("kausal-arena/Cargo.toml", "[features]\ntesting = []\n");
    house.member("kausal-index", dependency, EMPTY);
    house.assert_found(
        "kausal-index/Cargo.toml:7: kausal-index enables kausal-arena's `testing` outside its tests",
    );
}

#[test]
fn a_member_without_a_layer_is_found() {
    let house = House::sound();
    house.member("kausal-query", "", EMPTY);
    assert_eq!(
        house.violations(),
        [
            "kausal-query/Cargo.toml: kausal-query has no place among the layers",
            "kausal-query: does not belong at the top level",
        ]
    );
}

#[test]
fn a_new_constructor_is_under_the_rule_from_its_first_day() {
    let house = House::sound();
    house.append("kausal-arena/src/lib.rs", "impl Arena { pub fn mapped() -> Self { Self } }\n");
    assert_eq!(
        house.violations(),
        [
            "kausal-index/clippy.toml:1: does not disallow `kausal_arena::Arena::mapped`",
            "kausal-memtable/clippy.toml:1: does not disallow `kausal_arena::Arena::mapped`",
        ]
    );
}

#[test]
fn an_arena_in_a_struct_that_should_have_a_coordinator_is_found() {
    let house = House::sound();
    let held = "mod cache;\n#[cfg(test)]\nmod tests { use kausal_arena::Arena; }\n";
    house.append("kausal-sstable/src/lib.rs", held);
    house.write(
        "kausal-sstable/src/cache.rs",
        "//! An Arena in words is fine.\nstruct Cache {\n    arena: Arena,\n}\n",
    );
    house.assert_found("kausal-sstable/src/cache.rs:3: owns or makes an arena: `Arena`");
}

#[test]
fn a_rule_that_is_commented_out_is_missing() {
    let house = House::sound();
    house.write(
        "kausal-memtable/clippy.toml",
        &RULES.replace(
            "    { path = \"kausal_arena::Arena::reset",
            "    # { path = \"kausal_arena::Arena::reset",
        ),
    );
    house.assert_found("kausal-memtable/clippy.toml:1: does not disallow `kausal_arena::Arena::reset`");
}

#[test]
fn files_touched_outside_the_one_door_are_found() {
    let house = House::sound();
    house.append("kausal-engine/src/lib.rs", "mod wal;\n");
    house.write("kausal-engine/src/wal.rs", "//! std::fs in words is fine.\nuse std::{io, fs::File};\n");
    house.write("kausal-engine/src/vfs/std.rs", "use std::fs;\n");
    house.write("kausal-engine/tests/main.rs", "use std::fs;\n");
    house.append("kausal-sstable/src/lib.rs", "#[cfg(test)]\nmod tests { use std::fs; }\n");
    house.assert_found("kausal-engine/src/wal.rs:2: names the operating system's files");
}

#[test]
fn a_stranger_at_the_top_level_is_found() {
    let house = House::sound();
    house.write("notes.txt", "");
    house.assert_found("notes.txt: does not belong at the top level");
}

#[test]
fn a_missing_licence_is_found() {
    let house = House::sound();
    fs::remove_file(house.folder.path().join("LICENSE-MIT")).expect("it was written");
    house.assert_found("LICENSE-MIT: is missing at the top level");
}

#[test]
fn a_crate_that_forgot_to_forbid_unsafe_is_found() {
    let house = House::sound();
    house.write("kausal-sstable/src/lib.rs", "//! #![forbid(unsafe_code)]\n");
    house.assert_found("kausal-sstable/src/lib.rs: has no unsafe code, but does not forbid it");
}

#[test]
fn unsafe_code_that_the_document_does_not_name_is_found() {
    let house = House::sound();
    house.append("kausal-index/src/lib.rs", "mod node;\n");
    house.write("kausal-index/src/node.rs", "// unsafe in words is fine\nfn f() { unsafe { g() } }\n");
    house.assert_found("kausal-index/src/node.rs:2: unsafe code in a file that may have none");
    house.write("ARCHITECTURE.md", "## Where unsafe lives\n| `kausal-index/src/node.rs` | links |\n");
    assert_eq!(house.violations(), [""; 0]);
    house.write("kausal-index/src/node.rs", "");
    house.assert_found("ARCHITECTURE.md:2: kausal-index/src/node.rs has no unsafe code");
}

/// The rule that clippy checks, on a house small enough to compile in a moment. It sees an alias, and an attribute
/// does not silence it.
#[test]
fn u3_an_index_that_makes_an_arena_is_found() {
    let house = House::sound();
    fs::remove_file(house.folder.path().join("Cargo.lock")).expect("it was written");
    house.write(".cargo/config.toml", "[build]\ntarget-dir = \"target\"\n");
    arenas::check_calls(&house.workspace()).expect("a sound house");
    let planted =
        "use kausal_arena::Arena as Store;\n/// Hides it.\npub fn hidden() -> Store { Store::growing() }\n";
    for (attribute, says) in [
        ("", "use of a disallowed method `kausal_arena::Arena::growing`"),
        ("#![allow(clippy::disallowed_methods)]\n", "incompatible with previous forbid"),
    ] {
        house.write("kausal-index/src/lib.rs", &format!("{EMPTY}{attribute}{planted}"));
        let failure = arenas::check_calls(&house.workspace()).expect_err("an index makes an arena");
        assert!(failure.to_string().contains(says), "{failure}");
    }
}
