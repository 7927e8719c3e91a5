//! `layers`: proves the rules of ARCHITECTURE.md, each from the facts that decide it.
//!
//! | rule | decided by | room |
//! |---|---|---|
//! | who may depend on whom; who may have an arena library | `cargo metadata` | `dependencies` |
//! | an index and a memtable neither make nor reset an arena | their `clippy.toml`, and clippy, which knows types | `arenas` |
//! | who owns an arena outside its home | words of the sources | `arenas` |
//! | the top level holds what it should; files are touched in one place | names and words of the sources | `files` |
//! | unsafe code is where ARCHITECTURE.md says, and forbidden elsewhere | words of the sources | `unsafe_code` |
//!
//! Every rule reports all its violations; the task fails at the end, so that one run shows everything.

mod arenas;
mod dependencies;
mod files;
mod unsafe_code;

use crate::failure::{Failure, none_of};
use crate::workspace::Workspace;

/// Checks every rule.
///
/// # Errors
///
/// [`Failure::Violations`] with all places, or another failure if the facts cannot be had.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    let rules = [
        ("dependencies", dependencies::check(workspace, &metadata)),
        ("arena rules", arenas::check_lists(workspace)?),
        ("owners of arenas", arenas::check_owners(workspace, &metadata)?),
        ("top level", files::check_top_level(workspace)?),
        ("file access", files::check_file_access(workspace, &metadata)?),
        ("unsafe code", unsafe_code::check(workspace, &metadata)?),
    ];
    let mut violations = Vec::new();
    for (name, found) in rules {
        println!("layers: {name}: {}", if found.is_empty() { "holds" } else { "BROKEN" });
        violations.extend(found);
    }
    none_of(violations)?;
    arenas::check_calls(workspace)?;
    println!("layers: arenas are made and reset by their owners: holds");
    Ok(())
}

#[cfg(test)]
mod records;
#[cfg(test)]
mod tests;
