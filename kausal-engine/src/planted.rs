//! Defects for the simulation to find, and remedies that the scenarios of users are shown to need.
//!
//! They exist only in a build with `--cfg kausal_planted="sim"`, and there the environment variable `KAUSAL_PLANTED`
//! names the one that is at work. `cargo xtask sim --planted all` finds each that is a defect; docs/reliability.md has the table of
//! remedies, how each is switched off, and how its scenario fails then.

/// Whether the defect with this name is at work. Always `false` in any other build.
pub(crate) fn is_planted(name: &str) -> bool {
    cfg!(kausal_planted = "sim") && std::env::var("KAUSAL_PLANTED").is_ok_and(|planted| planted == name)
}
