//! `release --dry-run`: what a user of crates.io would get, tried before there is one. It publishes nothing.
//!
//! 1. `manifest`: what crates.io wants to know, the same versions, a declared oldest compiler, a tour that is tested.
//! 2. Each library alone, without any feature: no other member's features help it to compile.
//! 3. Documentation and its examples, with every warning an error.
//! 4. `interface`: no type of another crate in a public signature, but those that the manifest allows.
//! 5. Licences and sources of every dependency, by cargo-deny, which is installed beside the build where it is missing.
//! 6. `cargo package`: all five packed, each built from its package, its siblings taken from theirs.
//! 7. The tool `kausal`, installed as a user would, asked for its version.

mod interface;
mod manifest;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// In the order in which they would be published: each after those it depends on.
const LIBRARIES: [&str; 5] =
    ["kausal-arena", "kausal-index", "kausal-memtable", "kausal-sstable", "kausal-engine"];

/// The version of cargo-deny that is installed where there is none.
const DENY: &str = "0.20.2";

/// Runs every check.
///
/// # Errors
///
/// [`Failure`] of the first check that fails, with the line to run again.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    if arguments != [OsString::from("--dry-run")] {
        return Err(Failure::usage("publishes nothing yet: only `cargo xtask release --dry-run`"));
    }
    let target = workspace.metadata()?.target_folder.join("release-check");
    step("manifests", || manifest::check(workspace))?;
    for library in LIBRARIES {
        step(&format!("{library} without features"), || {
            let check = ["check", "--package", library, "--no-default-features", "--lib"];
            command::run(command::cargo(workspace.root(), &check).env("CARGO_TARGET_DIR", &target))
        })?;
    }
    step("documentation", || documentation(workspace, &target))?;
    step("types of other crates", || interface::check(workspace, &LIBRARIES, &target))?;
    step("licences and sources", || licences(workspace, &target))?;
    step("packages", || {
        let package = on_all("package", &[]);
        command::run(command::cargo(workspace.root(), &package).env("CARGO_TARGET_DIR", &target))
    })?;
    step("installed tool", || installed(workspace, &target))?;
    println!("\nrelease: {} libraries are fit to publish", LIBRARIES.len());
    Ok(())
}

fn step(name: &str, check: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    println!("\n=== release: {name}");
    check().map_err(|failure| Failure::other(format!("{name}: {failure}")))
}

/// A cargo command on the five libraries.
fn on_all<'a>(task: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let named = LIBRARIES.iter().flat_map(|library| ["--package", library]);
    std::iter::once(task).chain(named).chain(more.iter().copied()).collect()
}

fn documentation(workspace: &Workspace, target: &Path) -> Result<(), Failure> {
    for arguments in
        [on_all("doc", &["--no-deps", "--all-features"]), on_all("test", &["--doc", "--all-features"])]
    {
        let mut command = command::cargo(workspace.root(), &arguments);
        command::run(command.env("RUSTDOCFLAGS", "-D warnings").env("CARGO_TARGET_DIR", target))?;
    }
    Ok(())
}

fn licences(workspace: &Workspace, target: &Path) -> Result<(), Failure> {
    let program = target.join("tools/bin/cargo-deny");
    if !program.is_file() {
        let tools = target.join("tools");
        let tools = tools.to_string_lossy();
        let install = ["install", "--locked", "cargo-deny", "--version", DENY, "--root", &tools];
        command::run(&mut command::cargo(workspace.root(), &install))?;
    }
    let mut deny = Command::new(program);
    command::run(deny.current_dir(workspace.root()).args(["check", "bans", "licenses", "sources"]))
}

fn installed(workspace: &Workspace, target: &Path) -> Result<(), Failure> {
    let folder = target.join("installed");
    let root = folder.to_string_lossy();
    let install =
        ["install", "--locked", "--path", "kausal-engine", "--features", "cli", "--root", &root, "--force"];
    command::run(command::cargo(workspace.root(), &install).env("CARGO_TARGET_DIR", target))?;
    let version = command::read(Command::new(folder.join("bin/kausal")).arg("--version"))?;
    println!("installed: {}", version.trim());
    Ok(())
}
