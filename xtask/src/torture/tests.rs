//! The command line, and kills of a worker of a few lines of shell: one that keeps its promise, and some that do not.

use super::*;

fn parse(arguments: &[&str]) -> Result<Options, Failure> {
    Options::parse(arguments.iter().map(OsString::from).collect())
}

#[test]
fn options_have_defaults_and_refuse_what_they_do_not_know() {
    let default = || Options { seed: 1, minutes: 5, ..Options::default() };
    assert_eq!(parse(&[]).expect("defaults"), Options { kills: 50, ..default() });
    let given = parse(&["--kills", "7", "--seed=9", "--folder", "x"]).expect("all of them");
    assert_eq!(given, Options { kills: 7, seed: 9, folder: Some("x".into()), ..default() });
    assert_eq!(parse(&["--power"]).expect("a default"), Options { power: 100, ..default() });
    assert_eq!(parse(&["--power=3"]).expect("a number"), Options { power: 3, ..default() });
    let only = parse(&["--syscalls", "--only", "fsync:EIO:3"]).expect("one fault");
    assert_eq!(only, Options { syscalls: true, only: Some("fsync:EIO:3".into()), ..default() });
    let memory = parse(&["--memory", "--minutes", "2", "--quick"]).expect("a small form");
    assert_eq!(memory, Options { memory: true, minutes: 2, quick: true, ..default() });
    let beside = parse(&["--memory", "--vs", "fjall,redb"]).expect("with others beside it");
    assert_eq!(beside, Options { memory: true, versus: Some("fjall,redb".into()), ..default() });
    for wrong in [&["--kill"][..], &["--kills", "many"], &["--kills", "0"], &["--power=0"], &["7"]] {
        assert_eq!(parse(wrong).expect_err("refused").exit_code(), 2);
    }
}

/// Tortures a worker whose audit prints `verdict` and ends with `code`; it shows phase after phase until it is killed.
#[cfg(unix)]
fn torture(verdict: &str, code: u8) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("torture_worker");
    let script = format!(
        "#!/bin/sh\n\
         case $1 in\n\
         audit) echo '{verdict}'; exit {code} ;;\n\
         open) while :; do printf '\\020' 1<> \"$3/phase\"; done ;;\n\
         *) while :; do for bit in 001 002 004 010; do printf \"\\\\$bit\" 1<> \"$3/phase\"; done; done ;;\n\
         esac\n"
    );
    // A copy by another process: a file that this one has open for writing, even through a fork of another test's thread,
    // cannot be executed.
    let written = folder.path().join("script");
    std::fs::write(&written, script).expect("a file");
    let copied = std::process::Command::new("cp").arg(&written).arg(&program).status().expect("a copy");
    assert!(copied.success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its own file");
    let worker = Worker::new(program, folder.path()).expect("a folder");
    kills::run(&worker, &parse(&["--kills", "6"]).expect("an option"))
}

#[cfg(unix)]
#[test]
fn a_worker_that_keeps_its_promise_is_good() {
    torture(r#"{"refused":null,"acknowledged":3,"lost":0,"wrong":0,"torn":0}"#, 0).expect("good");
}

#[cfg(unix)]
#[test]
fn each_kind_of_broken_promise_fails() {
    for (verdict, code, named) in [
        (r#"{"refused":null,"acknowledged":3,"lost":1,"wrong":0,"torn":0}"#, 0, "lost: 1"),
        (r#"{"refused":null,"acknowledged":3,"lost":0,"wrong":2,"torn":0}"#, 0, "wrong: 2"),
        (r#"{"refused":null,"acknowledged":3,"lost":0,"wrong":0,"torn":1}"#, 0, "torn: 1"),
        (r#"{"refused":"check: corrupt"}"#, 0, "check: corrupt"),
        ("violation: a key that nobody wrote", 3, "a key that nobody wrote"),
    ] {
        let failure = torture(verdict, code).expect_err("broken").to_string();
        assert!(failure.contains(named), "{failure}");
    }
}
