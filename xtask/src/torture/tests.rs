//! The whole torture, against stores of a few lines of shell: one that keeps its promise, and some that do not.

use super::*;

fn parse(arguments: &[&str]) -> Result<Options, Failure> {
    Options::parse(arguments.iter().map(OsString::from).collect())
}

#[test]
fn options_have_defaults_and_refuse_what_they_do_not_know() {
    assert_eq!(parse(&[]).expect("defaults"), Options { kills: 50, seed: 1, tree: None });
    let given = parse(&["--kills", "7", "--seed=9", "--tree", "x"]).expect("all of them");
    assert_eq!(given, Options { kills: 7, seed: 9, tree: Some("x".into()) });
    for wrong in [&["--kill"][..], &["--kills", "many"], &["--kills", "0"], &["7"]] {
        assert_eq!(parse(wrong).expect_err("refused").exit_code(), 2);
    }
}

#[test]
fn counts_are_judged() {
    let good = || Counts { kills: 50, kills_in_time: 44, ended: 5, acknowledged: 9, ..Counts::default() };
    assert!(good().judge().is_ok(), "44 of 55 are 80 %");
    assert!(Counts { ended: 6, ..good() }.judge().is_err());
    assert!(Counts { lost: 1, ..good() }.judge().is_err());
    assert!(Counts { wrong: 1, ..good() }.judge().is_err());
    assert!(Counts { failed_checks: 1, ..good() }.judge().is_err());
}

/// What the stores below have in common. `kausal TASK DB --memory-budget SIZE …`, flat trees only.
#[cfg(unix)]
const STORE: &str = r#"#!/bin/sh
db=$2
case $1 in
import)
    mkdir -p "$db"; cd "$5" || exit 3
    for key in *; do
        store_and_acknowledge "$key" "$8"
        sleep 0.004
    done ;;
check) exit 0 ;;
export) mkdir -p "$5"; cp "$db"/* "$5"/ || true ;;
esac
"#;

/// Tortures a store that stores and acknowledges `$1` in the file `$2` as `body` does.
#[cfg(unix)]
fn torture(body: &str, check: &str) -> (Result<(), Failure>, Counts) {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("a folder");
    for number in 10..60 {
        fs::write(source.join(format!("key{number}")), format!("content {number}")).expect("a file");
    }
    let program = folder.path().join("kausal");
    let function = format!("#!/bin/sh\nstore_and_acknowledge() {{ {body}; }}\n");
    let script = STORE.replace("#!/bin/sh\n", &function).replace("check) exit 0", &format!("check) {check}"));
    // A copy by another process: a file that this one has open for writing, even through a fork of another test's thread,
    // cannot be executed.
    let text = folder.path().join("kausal.sh");
    fs::write(&text, script).expect("a script");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("our own file");
    command::run(std::process::Command::new("cp").arg(&text).arg(&program)).expect("a copy");

    let mut rng = Rng::with_seed(1);
    let tree = Tree::sample(&source, folder.path(), &mut rng).expect("a sample");
    let mut torture = Torture::new(program, folder.path(), tree);
    let outcome = torture.rehearse().and_then(|()| torture.kill_all(6, &mut rng));
    (outcome, torture.counts)
}

#[cfg(unix)]
const HONEST: &str = r#"cp "$1" "$db/.new" && mv "$db/.new" "$db/$1" && echo "$1" >> "$2""#;

#[cfg(unix)]
#[test]
fn a_store_that_keeps_its_promise_survives() {
    let (outcome, counts) = torture(HONEST, "exit 0");
    outcome.expect("nothing is lost");
    assert_eq!((counts.kills, counts.lost, counts.wrong, counts.failed_checks), (6, 0, 0, 0));
    assert!(counts.kills_in_time > 0 && counts.acknowledged > 50, "{counts:?}");
}

#[cfg(unix)]
#[test]
fn a_store_that_loses_a_write_is_found() {
    let (outcome, counts) = torture(r#"[ "$1" = key33 ] || cp "$1" "$db/$1"; echo "$1" >> "$2""#, "exit 0");
    let failure = outcome.expect_err("key33 is lost").to_string();
    assert!(failure.starts_with("1 keys lost (key33)"), "{failure}");
    assert_eq!((counts.lost, counts.wrong), (1, 0));
}

#[cfg(unix)]
#[test]
fn a_store_that_forgets_overwrites_is_found() {
    let (outcome, counts) = torture(r#"[ -e "$db/$1" ] || cp "$1" "$db/$1"; echo "$1" >> "$2""#, "exit 0");
    let failure = outcome.expect_err("old contents show").to_string();
    assert!(failure.contains("keys lost"), "{failure}");
    assert!(counts.lost > 0 && counts.kills <= 6);
}

#[cfg(unix)]
#[test]
fn a_store_that_mixes_up_contents_is_found() {
    let (outcome, counts) = torture(r#"echo other > "$db/$1"; echo "$1" >> "$2""#, "exit 0");
    assert!(outcome.is_err());
    assert_eq!((counts.lost, counts.wrong), (0, 50));
}

#[cfg(unix)]
#[test]
fn a_check_that_finds_damage_ends_the_torture() {
    let (outcome, counts) = torture(HONEST, "echo damaged at byte 7; exit 3");
    assert!(outcome.expect_err("the check fails").to_string().contains("damaged at byte 7"));
    assert_eq!(counts.failed_checks, 1);
}

#[cfg(unix)]
#[test]
fn an_import_that_fails_by_itself_is_no_kill() {
    let (outcome, counts) = torture("echo no space >&2; exit 3", "exit 0");
    let failure = outcome.expect_err("the import fails").to_string();
    assert!(failure.contains("failed by itself") && failure.contains("no space"), "{failure}");
    assert_eq!(counts, Counts::default());
}
