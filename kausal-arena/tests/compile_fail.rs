//! What does not compile: the rules of ownership that the compiler holds.
//!
//! Each file in `compile_fail` breaks one rule, which its first line states; what rustc says to that lies beside it as
//! `.stderr`. A test stands for a group of files with the same beginning. After a new version of rustc, or a change of the
//! interface, `TRYBUILD=overwrite cargo test -p kausal-arena --test compile_fail` writes what it says now: read the
//! difference before you commit it.
//!
//! The `built` group fails only when code is generated, so a sound program is in it: with one, trybuild builds. Its messages
//! show a line of `core` where the toolchain has the component `rust-src`; they are written as without it.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use trybuild::TestCases;

/// Checks that no file whose name begins with `group` compiles, and that rustc says why as written beside it.
fn rejected(group: &str) {
    TestCases::new().compile_fail(format!("tests/compile_fail/{group}_*.rs"));
}

#[test]
fn s02_an_arena_is_neither_cloned_nor_copied() {
    rejected("s02");
}

#[test]
fn s07_reads_never_allocate_in_the_write_arena() {
    rejected("s07");
}

#[test]
fn s08_children_do_not_reset() {
    rejected("s08");
}

#[test]
fn s09_no_arena_in_a_copyable_struct() {
    rejected("s09");
}

#[test]
fn s20_a_result_does_not_outlive_its_request() {
    rejected("s20");
}

#[test]
fn s21_a_sealed_buffer_is_not_reset_early() {
    rejected("s21");
}

#[test]
fn s22_a_child_arena_lives_within_its_parent() {
    rejected("s22");
}

#[test]
fn s23_a_scope_does_not_leave_the_function_that_owns_the_arena() {
    rejected("s23");
}

#[test]
fn s24_a_reference_does_not_cross_a_reset() {
    rejected("s24");
}

#[test]
fn a_pen_belongs_to_one_thread() {
    rejected("threads");
}

#[test]
fn a_permit_is_minted_by_a_region_and_keeps_its_pen() {
    rejected("permit");
}

#[test]
fn a_handle_is_made_by_a_writer_and_followed_by_a_lease() {
    rejected("handle");
}

#[test]
fn a_lent_object_belongs_to_its_guard() {
    rejected("pooled");
}

/// Whether the toolchain has the sources of `core`, which rustc then quotes.
fn has_core_sources() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output().expect("cargo found rustc");
    let sysroot = String::from_utf8(sysroot.stdout).expect("a path in UTF-8");
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists()
}

#[test]
fn what_is_checked_when_code_is_generated() {
    if has_core_sources() {
        eprintln!("skipped: this toolchain has rust-src, whose lines rustc would quote");
        return;
    }
    let cases = TestCases::new();
    cases.pass("tests/compile_fail/sound_values.rs");
    cases.compile_fail("tests/compile_fail/built_*.rs");
}
