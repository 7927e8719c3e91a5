//! The engine through its public interface, on real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod checkpoint;
mod compact_range;
mod compaction_parts;
mod compression;
mod damage;
mod durability;
mod errors;
mod faulty;
mod ingest;
mod keyspaces;
mod large_batches;
#[cfg(unix)]
mod mapped;
mod memory;
mod model;
mod observability;
mod open_files;
mod pins;
mod range_deletes;
mod read_only;
mod salvage;
#[cfg(feature = "tracing")]
mod spans;
mod spare_logs;
mod spare_tables;
mod walks;
mod writers;

use kausal_engine::{Options, StorageEngine};

/// The smallest budget: memtables of 2 MiB, so that tests flush and compact.
fn small() -> Options {
    Options::new().memory_budget(8 << 20)
}

/// A copy of the folder while nothing is in motion: what a killed process leaves.
fn killed(folder: &std::path::Path) -> tempfile::TempDir {
    let killed = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    killed
}

/// Whether files that are not needed any more are kept for later ones on the file system of `folder`.
#[cfg(target_os = "linux")]
fn keeps_files(folder: &std::path::Path) -> bool {
    let is_kept = rustix::fs::statfs(folder).unwrap().f_type as i64 == 0xEF53;
    if !is_kept {
        println!("skipped: a file system on which no file is kept");
    }
    is_kept
}

/// A small database, with tables that are mapped, or not.
fn open_as(is_mapped: bool, folder: &std::path::Path) -> StorageEngine {
    StorageEngine::open(folder, small().mapped_tables(is_mapped)).unwrap()
}

fn open(folder: &std::path::Path) -> StorageEngine {
    StorageEngine::open(folder, small()).unwrap()
}
