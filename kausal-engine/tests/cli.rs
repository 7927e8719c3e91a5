//! The command line tool as a person runs it: exit codes, trees in and out, unusual files.

#![cfg(all(feature = "cli", unix))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use kausal_engine::{Options, StorageEngine};

fn kausal(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kausal")).args(arguments).current_dir(folder).output().unwrap()
}

/// Runs, expects exit code `code`, and answers standard output and standard error.
fn expect(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let output = kausal(folder, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out.into_owned(), err.into_owned())
}

#[test]
fn unusual_files_come_back_and_links_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    let large: Vec<u8> = (0..17_000_000_u32).map(|place| (place >> 3) as u8).collect();
    fs::write(tree.join("sub/large"), &large).unwrap();
    fs::write(tree.join("sub/deep").join(OsStr::from_bytes(b"not \xFF utf-8")), b"bytes").unwrap();
    std::os::unix::fs::symlink("empty", tree.join("link")).unwrap();

    let (out, _) = expect(folder.path(), 0, &["import", "T.db", "tree", "--memory-budget", "8M"]);
    assert!(
        out.starts_with("imported 3 files and 0 lines, 17000005 bytes; skipped 1 symbolic links"),
        "{out}"
    );
    expect(folder.path(), 0, &["check", "T.db"]);
    expect(folder.path(), 0, &["export", "T.db", "OUT"]);
    assert_eq!(fs::read(folder.path().join("OUT/empty")).unwrap(), b"");
    assert!(fs::read(folder.path().join("OUT/sub/large")).unwrap() == large);
    let strange = folder.path().join("OUT/sub/deep").join(OsStr::from_bytes(b"not \xFF utf-8"));
    assert_eq!(fs::read(strange).unwrap(), b"bytes");
    assert!(!folder.path().join("OUT/link").exists());
}

#[test]
fn the_database_and_what_ignore_files_name_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".gitignore"), "ignored\n").unwrap();
    fs::write(folder.path().join("ignored"), "x").unwrap();
    fs::write(folder.path().join("kept"), "y").unwrap();
    expect(folder.path(), 0, &["import", "T.db", ".", "--gitignore"]);
    let (out, _) = expect(folder.path(), 0, &["scan", "T.db", "--keys-only"]);
    assert_eq!(out, ".gitignore\nkept\n");
    let (out, _) = expect(folder.path(), 0, &["import", "U.db", "."]);
    assert!(out.contains("imported"), "{out}");
    let (out, _) = expect(folder.path(), 0, &["scan", "U.db", "--keys-only"]);
    assert!(out.contains("ignored\n") && out.contains("T.db/CURRENT\n") && !out.contains("U.db"), "{out}");
}

#[test]
fn single_commands_and_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |code, arguments: &[&str]| expect(folder.path(), code, arguments);
    run(1, &["get", "T.db", "key"]);
    run(0, &["put", "T.db", "b", "two"]);
    run(0, &["put", "T.db", "a", "one", "--sync"]);
    run(0, &["put", "T.db", "c", "three"]);
    assert_eq!(run(0, &["get", "T.db", "b"]).0, "two");
    run(0, &["delete", "T.db", "b"]);
    run(1, &["get", "T.db", "b"]);
    run(0, &["flush", "T.db"]);
    run(0, &["compact", "T.db"]);
    assert_eq!(run(0, &["scan", "T.db", "--reverse"]).0, "c\tthree\na\tone\n");
    assert_eq!(run(0, &["scan", "T.db", "--from", "b", "--json"]).0, "{\"key\":\"c\",\"value\":\"three\"}\n");
    assert_eq!(run(0, &["scan", "T.db", "--limit", "1", "--keys-only"]).0, "a\n");
    run(2, &["put", "T.db"]);
    run(2, &["import", "T.db", "no such file"]);
    run(2, &["get", "T.db", "a", "--memory-budget", "1M"]);
    run(0, &["manifest", "T.db"]);
    let table = fs::read_dir(folder.path().join("T.db")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|end| end == "sst")).max().unwrap();
    assert!(run(0, &["sst", table.to_str().unwrap()]).0.ends_with("sound\n"));
}

#[test]
#[cfg(unix)]
fn mapped_tables_answer_the_same_and_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let run = |code, arguments: &[&str]| expect(folder.path(), code, arguments).0;
    run(0, &["put", "T.db", "b", "two", "--mapped-tables"]);
    run(0, &["compact", "T.db"]);
    assert_eq!(run(0, &["get", "T.db", "b", "--mapped-tables"]), "two");
    run(1, &["get", "T.db", "c", "--mapped-tables"]);
    let told = "mapped tables: 1, of ";
    assert!(run(0, &["stats", "T.db", "--mapped-tables"]).contains(told));
    assert!(!run(0, &["stats", "T.db"]).contains(told));
}

#[test]
fn tables_beyond_what_the_system_lets_a_process_open_are_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().level0_compaction_count(1000).level0_stall_count(1000).settle_after(None);
    let engine: StorageEngine = StorageEngine::open(folder.path().join("T.db"), options).unwrap();
    for number in 0..60 {
        engine.put(format!("key {number}").as_bytes(), b"value").unwrap();
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    // Fewer files than tables, and the engine was told nothing of it.
    let run = "ulimit -n 30 && exec \"$0\" get T.db 'key 0'";
    let output = Command::new("sh")
        .args(["-c", run, env!("CARGO_BIN_EXE_kausal")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"value");
}

#[test]
fn lines_are_imported_and_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lines.tsv"), "a\t1\nb\t2\n\nno tab\n").unwrap();
    fs::write(folder.path().join("lines.jsonl"), "{\"key\":\"c\\n\",\"value\":\"3\"}\n").unwrap();
    let (_, err) = expect(folder.path(), 3, &["import", "T.db", "lines.tsv", "--ack", "acks"]);
    assert!(err.contains("lines.tsv:4: no tab"), "{err}");
    expect(folder.path(), 0, &["import", "T.db", "lines.jsonl", "--sync", "--ack", "acks"]);
    assert_eq!(fs::read_to_string(folder.path().join("acks")).unwrap(), "a\nb\nc\\n\n");
}

#[test]
fn export_refuses_keys_that_would_leave_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for key in ["../out", "/abs", "a/../../b", "good"] {
        expect(folder.path(), 0, &["put", "T.db", key, "x"]);
    }
    let (out, err) = expect(folder.path(), 3, &["export", "T.db", "OUT"]);
    assert_eq!(out, "exported 1 entries; refused 3\n");
    assert!(err.contains("`../out` would leave the folder"), "{err}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn damage_is_exit_code_3_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    expect(folder.path(), 0, &["put", "T.db", "key", "value"]);
    expect(folder.path(), 0, &["flush", "T.db"]);
    expect(folder.path(), 0, &["put", "T.db", "other", "value"]);
    for extension in ["sst", "wal"] {
        let files = fs::read_dir(folder.path().join("T.db")).unwrap().map(|entry| entry.unwrap().path());
        let path = files.filter(|path| path.extension().is_some_and(|end| end == extension)).max().unwrap();
        let sound = fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        damaged[sound.len() / 2] ^= 1;
        fs::write(&path, damaged).unwrap();
        let (out, _) = expect(folder.path(), 3, &["check", "T.db", "--json"]);
        assert!(
            out.contains(path.file_name().unwrap().to_str().unwrap()) && out.contains("\"offset\""),
            "{out}"
        );
        let (_, err) = expect(folder.path(), 3, &["check", "T.db"]);
        assert!(err.contains("corrupt at byte"), "{err}");
        fs::write(&path, sound).unwrap();
    }
    expect(folder.path(), 0, &["check", "T.db"]);
}

#[test]
fn memory_events_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    expect(folder.path(), 0, &["put", "T.db", "key", "value"]);
    let (out, _) = expect(folder.path(), 0, &["memory", "T.db", "--events", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let events = report["events"].as_array().unwrap();
    assert!(!events.is_empty(), "the memtables' regions are obtained at open: {out}");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["number"], number);
        assert!(event["used"].as_u64().unwrap() <= event["limit"].as_u64().unwrap(), "{event}");
    }
    let (out, _) = expect(folder.path(), 0, &["memory", "T.db", "--events"]);
    assert!(out.contains(" memtables: grew by "), "{out}");
}

#[test]
fn memory_is_looked_at_as_often_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    expect(folder.path(), 0, &["put", "T.db", "key", "value"]);
    let watch = ["memory", "T.db", "--watch", "--every", "0", "--count", "2"];
    let (out, _) = expect(folder.path(), 0, &watch);
    assert_eq!(out.lines().filter(|line| line.starts_with("memory ")).count(), 2, "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("database ")).count(), 2, "{out}");
    let last = out.lines().last().unwrap();
    assert!(last == "no change since the last look" || last.contains(", then "), "{out}");
    expect(folder.path(), 2, &["memory", "T.db", "--count", "2"]);
}

#[test]
fn memory_tree_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    expect(folder.path(), 0, &["put", "T.db", "key", "value"]);
    let (out, _) = expect(folder.path(), 0, &["memory", "T.db", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let root = &report["nodes"][0];
    assert_eq!(root["used"], report["leaves_used"]);
    assert_eq!(root["limit"], 64 << 20);
    for name in ["used", "reserved", "limit", "peak"] {
        assert!(root[name].is_u64(), "{out}");
    }
}

/// What `kausal sst` prints of a golden table, without the memory that this build needs for it.
fn explained(golden: &str, code: i32, arguments: &[&str]) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kausal-sstable/tests/golden").join(golden);
    explained_file(&fs::read(golden).unwrap(), code, arguments)
}

fn explained_file(table: &[u8], code: i32, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("000007.sst"), table).unwrap();
    let (out, err) = expect(folder.path(), code, &[&["sst", "000007.sst"], arguments].concat());
    let lines = out.lines().chain(err.lines()).map(|line| match line.split_once(" bytes, ") {
        Some((head, tail)) if tail.ends_with(" resident") => format!("{head} bytes\n"),
        _ if line.contains("\"resident_bytes\"") => String::new(),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn sst_explains_any_table() {
    insta::assert_snapshot!("sst_raw", explained("v1-raw.sst", 0, &[]));
    insta::assert_snapshot!("sst_raw_blocks", explained("v1-raw.sst", 0, &["--blocks"]));
    insta::assert_snapshot!("sst_lz4", explained("v1-lz4.sst", 0, &[]));
    insta::assert_snapshot!("sst_lz4_json", explained("v1-lz4.sst", 0, &["--blocks", "--json"]));
    if cfg!(feature = "zstd") {
        insta::assert_snapshot!("sst_zstd", explained("v1-zstd-dictionary.sst", 0, &[]));
    }
}

#[test]
fn sst_explains_a_damaged_table_as_far_as_it_goes() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kausal-sstable/tests/golden/v1-lz4.sst");
    let table = fs::read(golden).unwrap();
    // In a data block, and in a filter.
    for (name, place) in [("sst_damaged_data", 100), ("sst_damaged_filter", 2000)] {
        let mut table = table.clone();
        table[place] ^= 1;
        insta::assert_snapshot!(name, explained_file(&table, 3, &["--blocks"]));
    }
    insta::assert_snapshot!("sst_truncated", explained_file(&table[..3000], 3, &[]));
}
