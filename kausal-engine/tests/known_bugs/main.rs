//! Bugs that other storage engines had, one file each: the situation that broke them, built here.
//!
//! The first line of each file names the bug, as repository#issue, and what went wrong. Where another test of this workspace
//! shows the same at large, the file says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod b01_compaction_output_not_synced;
mod b02_only_the_newest_log_replayed;
mod b03_logs_deleted_during_recovery;
mod b04_record_cut_at_the_end_of_a_log;
mod b05_append_behind_a_torn_tail;
mod b06_stale_records_behind_the_tail;
mod b07_replay_past_a_corrupt_log;
mod b08_crash_during_recovery;
mod b09_obsolete_log_comes_back;
mod b10_manifest_sync_fails_but_lasts;
mod b11_disk_full;
mod b12_rename_and_unlink_reordered;
mod b13_crash_during_creation;
mod b14_hole_between_logs;
mod b15_garbage_tail;
mod b16_transient_error_then_clean_close;
mod b17_hostile_bytes;
mod b18_absurd_lengths;
mod b19_deleted_keys_come_back;
mod b20_range_delete_and_snapshot;
mod b21_interrupted_compaction;
mod b22_two_openers;
mod b23_leak;
mod b24_arena_escapes;
mod b25_filter_hides_keys;
mod b26_disk_full_needs_a_restart;
mod fault;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_engine::sim::{self, CrashMode, SimScheduler, SimVfs};
use kausal_engine::vfs::{OpenMode, Vfs};
use kausal_engine::{
    Builder, CheckReport, Durability, Error, KeyRange, MEMORY_BUDGET_MIN, Options, StorageEngine, WriteBatch,
    WriteOptions,
};

const FOLDER: &str = "/db";

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> Options {
    Options::new().memory_budget(MEMORY_BUDGET_MIN).block_bytes(256).level0_compaction_count(2)
}

/// Opens the database on `vfs`; background jobs run when somebody waits for them.
fn try_open_with(vfs: Arc<dyn Vfs>, options: Options) -> (Result<StorageEngine, Error>, Arc<SimScheduler>) {
    let (mut environment, scheduler) = sim::environment(&SimVfs::new(), 7);
    environment.vfs = vfs;
    (Builder::new(FOLDER, options).environment(environment).open(), scheduler)
}

fn try_open(vfs: &SimVfs) -> Result<StorageEngine, Error> {
    try_open_with(Arc::new(vfs.clone()), options()).0
}

fn open(vfs: &SimVfs) -> StorageEngine {
    try_open(vfs).unwrap()
}

fn put(engine: &StorageEngine, key: &[u8], value: &[u8], durability: Durability) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    batch.put(key, value)?;
    engine.write(&batch, WriteOptions::durable(durability))
}

fn check(vfs: &SimVfs) -> Result<CheckReport, Error> {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    kausal_engine::check(&vfs, FOLDER.as_ref(), 8 << 20)
}

/// Every key with its value, by cursor; `get` must agree.
fn read_all(engine: &StorageEngine) -> State {
    let mut state = State::new();
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        state.insert(cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec());
        more = cursor.next().unwrap();
    }
    for (key, value) in &state {
        assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
    }
    state
}

/// The disk after a crash that loses what was not synced, after one that loses nothing, and after some in between.
fn crashes(vfs: &SimVfs, seeds: u64) -> impl Iterator<Item = SimVfs> {
    let always = [CrashMode::DropUnsynced, CrashMode::KeepUnsynced].map(|mode| (mode, 0));
    let random = (0..seeds).map(|seed| (CrashMode::Random, seed));
    always.into_iter().chain(random).map(|(mode, seed)| vfs.crash(mode, seed))
}

/// What a process that is killed now leaves.
fn killed(vfs: &SimVfs) -> SimVfs {
    vfs.crash(CrashMode::KeepUnsynced, 0)
}

/// The files with this extension, in order of their numbers.
fn files(vfs: &SimVfs, extension: &str) -> Vec<PathBuf> {
    let names = vfs.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name);
    let paths = names.map(|name| Path::new(FOLDER).join(name));
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn read_file(vfs: &SimVfs, path: &Path) -> Vec<u8> {
    let file = vfs.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The bytes of a log without the zeros that were allocated ahead of its records. The last byte of a record must not be zero.
fn without_window(mut log: Vec<u8>) -> Vec<u8> {
    let end = log.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    log.truncate(end.next_multiple_of(8));
    log
}

fn replace_file(vfs: &SimVfs, path: &Path, bytes: &[u8]) {
    let file = vfs.open(path, OpenMode::ReadWrite).unwrap();
    file.truncate(0).unwrap();
    file.write_at(bytes, 0).unwrap();
}

/// Writes of `value_bytes` each, numbered, until there is a second log: none of them is in a table yet. Answers how many.
fn fill_two_logs(vfs: &SimVfs, engine: &StorageEngine, value_bytes: usize, durability: Durability) -> u32 {
    let mut number = 0_u32;
    while files(vfs, "wal").len() < 2 {
        put(engine, &number.to_be_bytes(), &numbered(number, value_bytes), durability).unwrap();
        number += 1;
    }
    for _ in 0..3 {
        put(engine, &number.to_be_bytes(), &numbered(number, value_bytes), durability).unwrap();
        number += 1;
    }
    assert!(files(vfs, "sst").is_empty());
    number
}

fn numbered(number: u32, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| number as u8 ^ place as u8).collect()
}

/// How many of the numbered writes are there; they must be the first ones, and whole.
fn prefix(engine: &StorageEngine, value_bytes: usize) -> u32 {
    let state = read_all(engine);
    for (place, (key, value)) in state.iter().enumerate() {
        assert_eq!(key[..], (place as u32).to_be_bytes(), "what survives is a prefix");
        assert_eq!(*value, numbered(place as u32, value_bytes));
    }
    state.len() as u32
}

/// A script of writes, flushes and a compaction, each write durable when it is acknowledged. Answers how many were.
fn durable_script(vfs: &SimVfs) -> u32 {
    let mut acknowledged = 0_u32;
    let mut script = || -> Result<(), Error> {
        let engine = try_open(vfs)?;
        for round in 0..3_u32 {
            for number in 0..4 {
                put(
                    &engine,
                    &(4 * round + number).to_be_bytes(),
                    &numbered(4 * round + number, 30),
                    Durability::Power,
                )?;
                acknowledged += 1;
            }
            engine.flush()?;
        }
        engine.compact()?;
        put(&engine, &acknowledged.to_be_bytes(), &numbered(acknowledged, 30), Durability::Power)?;
        acknowledged += 1;
        engine.close()
    };
    // An error is the crash; what was acknowledged before it is counted.
    let _ = script();
    acknowledged
}

/// Calls that a whole run of the script makes.
fn durable_script_calls() -> u64 {
    let vfs = SimVfs::new();
    assert_eq!(durable_script(&vfs), 13);
    vfs.call_count()
}
