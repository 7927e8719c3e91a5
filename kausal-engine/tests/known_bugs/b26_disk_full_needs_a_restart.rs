//! rocksdb#9762, rocksdb-js#730: the disk was full for a moment, and the database took no more writes until it was opened
//! again. The moment that is hardest to get over is an edit of the manifest: half of it is there, and it names files that go.
//!
//! Every append to the manifest finds the disk full once, half of its record written: in flushes, compactions, batches of the
//! size of tables, and where keyspaces come and go. The operation waits and succeeds, and a crash at any call around it leaves
//! what was acknowledged, and every file that is named.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::sim::{CrashMode, History, SimVfs};
use kausal_engine::{Durability, Error, StorageEngine, WriteBatch, WriteOptions};

use crate::fault::{Fault, FaultyVfs};
use crate::{State, check, crashes, open, options, put, read_all, try_open_with};

/// Calls after the full disk at which the machine crashes.
const CRASH_CALLS: u64 = 40;

/// What is in both keyspaces: the other one's keys after a mark that no key of the default one begins with.
type Both = State;

fn both(engine: &StorageEngine) -> Both {
    let mut state = read_all(engine);
    if let Some(other) = engine.keyspace("other") {
        state.insert(b"other".to_vec(), Vec::new());
        for number in 0..2_u32 {
            let key = number.to_be_bytes();
            let value = other.get(&key).unwrap();
            state.extend(value.map(|value| ([b"other", &key[..]].concat(), value)));
        }
    }
    state
}

/// A script, and what was there after each of its steps.
struct Run {
    /// Calls made when a step was acknowledged, and the state from then on.
    states: Vec<(u64, Both)>,
    history: History,
    failed_at: Option<u64>,
}

type Step = fn(&StorageEngine) -> Result<(), Error>;

fn write_numbers(engine: &StorageEngine, first: u32) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    for number in first..first + 3 {
        batch.put(&number.to_be_bytes(), &[number as u8; 30])?;
    }
    engine.write(&batch, WriteOptions::durable(Durability::Power))
}

/// More than half a memtable: written as tables.
fn write_large(engine: &StorageEngine) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    for number in 2..30_u32 {
        batch.put(&number.to_be_bytes(), &vec![!(number as u8); 50_000])?;
    }
    engine.write(&batch, WriteOptions::default())
}

fn write_other(engine: &StorageEngine) -> Result<(), Error> {
    let other = engine.keyspace("other").unwrap().id();
    let mut batch = WriteBatch::new();
    batch.put_in(other, &0_u32.to_be_bytes(), b"of the other one")?;
    engine.write(&batch, WriteOptions::durable(Durability::Power))
}

const STEPS: [Step; 11] = [
    |engine| write_numbers(engine, 0),
    StorageEngine::flush,
    |engine| engine.create_keyspace("other").map(drop),
    write_other,
    |engine| write_numbers(engine, 3),
    StorageEngine::flush,
    StorageEngine::compact,
    write_large,
    |engine| engine.drop_keyspace("other").map(drop),
    |engine| write_numbers(engine, 6),
    StorageEngine::flush,
];

/// Runs the script; an error is one of the step with that number.
fn run(fault: Fault) -> (Run, FaultyVfs, Result<(), (usize, Error)>) {
    let disk = SimVfs::new();
    disk.record();
    let vfs = FaultyVfs::new(&disk, fault);
    let (engine, _scheduler) =
        try_open_with(Arc::new(vfs.clone()), options().stall_timeout(Duration::from_secs(60)));
    let engine = engine.unwrap();
    let mut states = vec![(disk.call_count(), both(&engine))];
    let mut ended = Ok(());
    for (place, step) in STEPS.iter().enumerate() {
        if let Err(error) = step(&engine) {
            ended = Err((place, error));
            let refused = put(&engine, b"later", b"", Durability::Process);
            assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
            break;
        }
        states.push((disk.call_count(), both(&engine)));
    }
    if ended.is_ok() {
        engine.close().unwrap();
    }
    (Run { states, history: disk.take_history(), failed_at: vfs.failed_at() }, vfs, ended)
}

impl Run {
    /// Crashes at each of the calls from the full disk on: what was acknowledged is there, or that and the step under way.
    fn crash_after_the_fault(&self) -> u32 {
        let failed_at = self.failed_at.unwrap();
        let near = |&place: &usize| {
            let call = self.history.call(place);
            failed_at <= call && call <= failed_at + CRASH_CALLS
        };
        let mut count = 0;
        for place in (0..self.history.len()).filter(near) {
            let call = self.history.call(place);
            let acknowledged = self.states.iter().rposition(|(then, _)| *then <= call).unwrap_or(0);
            let modes =
                [(CrashMode::DropUnsynced, 0), (CrashMode::KeepUnsynced, 0), (CrashMode::Random, call)];
            for (mode, seed) in modes {
                let (left, _) = self.history.crash(place, mode, seed);
                self.compare(&left, acknowledged, &format!("crash at call {call}, {mode:?}"));
                count += 1;
            }
        }
        count
    }

    fn compare(&self, left: &SimVfs, acknowledged: usize, what: &str) {
        // A table or blob that is named and not there fails this.
        check(left).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = both(&open(left));
        let next = self.states.get(acknowledged + 1).map(|(_, state)| state);
        assert!(
            found == self.states[acknowledged].1 || next == Some(&found),
            "{what}: after step {acknowledged} there is {:?}",
            found.keys()
        );
    }
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"))
}

/// Appends that open makes: the header and the first state.
const APPENDS_OF_OPEN: u64 = 2;

#[test]
fn an_edit_of_the_manifest_that_finds_the_disk_full_is_tried_again() {
    let counts = |name: &str, path: &Path| name == "write" && is_manifest(path);
    let (mut edits, mut crashed) = (0, 0);
    for after in APPENDS_OF_OPEN.. {
        let fault = Fault { after, kind: ErrorKind::StorageFull, is_done: false, lasts: false, counts };
        let (run, vfs, ended) = run(fault);
        ended.unwrap_or_else(|(place, error)| panic!("append {after}, step {place}: {error}"));
        if !vfs.has_failed() {
            break;
        }
        edits += 1;
        crashed += run.crash_after_the_fault();
    }
    // Three flushes, a compaction, the large batch, a keyspace that comes and goes.
    assert!(edits >= 7 && crashed > 200, "{edits} edits, {crashed} crashes");
}

#[test]
fn a_manifest_that_cannot_be_cut_takes_no_more_edits() {
    // The append fails, and then what takes its half away again.
    let cut: fn(&str, &Path) -> bool =
        |name, path| (name == "write" || name == "truncate") && is_manifest(path);
    let sync: fn(&str, &Path) -> bool = |name, path| (name == "write" || name == "sync") && is_manifest(path);
    // An edit is a write alone, or a write and its sync.
    for (counts, first, step) in [(cut, APPENDS_OF_OPEN, 1), (sync, 3, 2)] {
        for after in (0..5).map(|edit| first + edit * step) {
            let fault = Fault { after, kind: ErrorKind::StorageFull, is_done: false, lasts: true, counts };
            let (run, vfs, ended) = run(fault);
            let (place, error) = ended.expect_err("the step fails");
            assert!(vfs.has_failed(), "step {place}: {error}");
            run.crash_after_the_fault();
            for left in crashes(vfs.disk(), 2) {
                run.compare(&left, run.states.len() - 1, &format!("append {after}"));
            }
        }
    }
}

/// A manifest of 4 MiB is followed by a new one. That is no part of the change that made it so long: without room it waits for
/// the next change, and the old manifest goes on.
#[test]
fn a_manifest_that_has_no_room_for_its_successor_goes_on() {
    let counts = |name: &str, path: &Path| {
        let is_temporary = path.ends_with("CURRENT.tmp");
        (name == "create" && (is_manifest(path) || is_temporary)) || (name == "write" && is_temporary)
    };
    let manifests = |disk: &SimVfs| disk.files().iter().filter(|(path, _)| is_manifest(path)).count();
    // Open makes one manifest: three calls.
    for after in 3..6 {
        let fault = Fault { after, kind: ErrorKind::StorageFull, is_done: false, lasts: false, counts };
        let disk = SimVfs::new();
        let vfs = FaultyVfs::new(&disk, fault);
        // What is known of the tables lies in memory as well.
        let roomy = options().memory_budget(64 << 20);
        let (engine, _scheduler) = try_open_with(Arc::new(vfs.clone()), roomy.clone());
        let engine = engine.unwrap();
        let pause = engine.pause_compaction();
        let mut number = 0_u8;
        // The bounds of a table are in its edit.
        let mut flush = || {
            for end in [0, 1] {
                put(&engine, &[&[number; 65_534][..], &[end]].concat(), b"", Durability::Power).unwrap();
            }
            engine.flush().unwrap();
            number += 1;
        };
        while !vfs.has_failed() {
            flush();
        }
        assert!(vfs.call_count() == after + 1 && manifests(&disk) == 1, "the old one goes on");
        let long: u64 = disk.files().iter().filter(|(path, _)| is_manifest(path)).map(|(_, len)| len).sum();
        assert!(long > 4 << 20);
        for left in crashes(&disk, 1) {
            check(&left).unwrap();
        }
        flush();
        assert!(vfs.call_count() == after + 4 && manifests(&disk) == 1, "the next change makes the new one");
        for left in crashes(&disk, 1) {
            check(&left).unwrap();
        }
        drop(pause);
        engine.close().unwrap();
        let reopened = try_open_with(Arc::new(disk.clone()), roomy).0.unwrap();
        for key in (0..number).flat_map(|number| [0, 1].map(|end| [&[number; 65_534][..], &[end]].concat())) {
            assert!(reopened.get(&key).unwrap().is_some());
        }
    }
}
