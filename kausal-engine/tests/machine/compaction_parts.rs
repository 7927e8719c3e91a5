//! Compactions in parts on a simulated machine: whoever merges the parts, and whatever happens to them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use kausal_engine::event::{Event, Ticket};
use kausal_engine::scheduler::{Job, Lane, Scheduler, Waited};
use kausal_engine::sim::{self, CrashMode, Fault, SimScheduler, SimVfs};
use kausal_engine::vfs::Vfs;
use kausal_engine::{Builder, Environment, Error, KeyRange, Options, StorageEngine};

const FOLDER: &str = "/db";

const KEYS: u32 = 400;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Who merges the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The thread that compacts; the helpers come when the merge is over.
    Compactor,
    /// The first helper.
    Helper,
    /// Threads.
    All,
}

/// Runs helpers at once, as if their threads were faster than the one that compacts; and waits as the simulation.
struct HelpersFirst {
    simulated: Arc<SimScheduler>,
    /// Whose requests take all the memory that they get while a helper works.
    short_of_memory: OnceLock<Weak<StorageEngine>>,
}

impl Scheduler for HelpersFirst {
    fn spawn(&self, lane: Lane, job: Job) {
        if lane == Lane::Flush {
            return self.simulated.spawn(lane, job);
        }
        let engine = self.short_of_memory.get().and_then(Weak::upgrade);
        let mut requests = Vec::new();
        if let Some(engine) = &engine {
            let sizes = [256 << 10, 64 << 10, 16 << 10, 4 << 10];
            requests.extend(
                sizes.iter().flat_map(|&bytes| {
                    std::iter::from_fn(move || engine.request_with(bytes).ok()).take(1_000)
                }),
            );
            assert!(!requests.is_empty());
        }
        job();
    }

    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        self.simulated.wait(event, ticket, deadline)
    }

    fn shutdown(&self) {
        self.simulated.shutdown();
    }

    fn panic_count(&self) -> usize {
        0
    }
}

impl fmt::Debug for HelpersFirst {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HelpersFirst").finish_non_exhaustive()
    }
}

fn environment(vfs: &SimVfs, who: Who) -> Environment {
    if who == Who::All {
        return Environment { vfs: Arc::new(vfs.clone()), ..Environment::system_with(4).unwrap() };
    }
    let (mut environment, simulated) = sim::environment(vfs, 1);
    if who == Who::Helper {
        environment.scheduler = Arc::new(HelpersFirst { simulated, short_of_memory: OnceLock::new() });
    }
    environment
}

/// Nothing is compacted unless it is asked for, and then in four parts.
fn options() -> Options {
    let options = Options::new().memory_budget(32 << 20).compaction_threads(4).block_bytes(512);
    options.table_bytes(6 << 10).level1_bytes(1 << 30).level0_compaction_count(1_000).settle_after(None)
}

fn open(vfs: &SimVfs, who: Who) -> StorageEngine {
    Builder::new(FOLDER, options()).environment(environment(vfs, who)).open().unwrap()
}

fn read_all(engine: &StorageEngine) -> State {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut state = State::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        state.insert(cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec());
        more = cursor.next().unwrap();
    }
    state
}

fn tables(vfs: &SimVfs) -> Vec<PathBuf> {
    let names = vfs.files().into_iter().map(|(path, _)| path);
    names.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}

/// Three tables over the same keys, with range tombstones, and what is there.
fn filled() -> (SimVfs, State) {
    let vfs = SimVfs::new();
    let engine = open(&vfs, Who::Compactor);
    for round in 0..3_u32 {
        for number in (0..KEYS).filter(|number| number % 3 != round) {
            engine.put(&number.to_be_bytes(), &[(number + round) as u8; 150]).unwrap();
        }
        let start = 50 + 90 * round;
        engine.delete_range(&start.to_be_bytes(), &(start + 60).to_be_bytes()).unwrap();
        engine.flush().unwrap();
    }
    let state = read_all(&engine);
    engine.close().unwrap();
    (vfs, state)
}

/// The disk as it is left now, to go on with by itself.
fn copy(vfs: &SimVfs) -> SimVfs {
    vfs.crash(CrashMode::KeepUnsynced, 0)
}

fn check(vfs: &SimVfs) {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let report = kausal_engine::check(&vfs, FOLDER.as_ref(), 8 << 20).unwrap();
    assert_eq!(report.unnamed_file_count, 0, "{report:?}");
}

#[test]
fn it_makes_no_difference_who_merges_the_parts() {
    let (filled, state) = filled();
    for who in [Who::Compactor, Who::Helper, Who::All] {
        let vfs = copy(&filled);
        let engine = open(&vfs, who);
        engine.compact().unwrap();
        let stats = engine.stats();
        assert_eq!((stats.compactions, stats.compaction_parts), (1, 4), "{who:?}: {stats:?}");
        assert!(read_all(&engine) == state, "{who:?}");
        engine.close().unwrap();
        check(&vfs);
    }
}

/// Lets `fault` happen at the call that so many others which it could happen at come before. Answers whether it did.
fn fail(filled: &SimVfs, state: &State, who: Who, fault: Fault, skipped: u64) -> bool {
    let vfs = copy(filled);
    let engine = open(&vfs, who);
    let before = tables(&vfs);
    vfs.inject(fault, skipped);
    let compacted = engine.compact();
    let has_happened = vfs.injected().of(fault) > 0;
    vfs.mend();
    let what = format!("{who:?}, {fault:?} after {skipped}: {compacted:?}");
    assert!(has_happened || compacted.is_ok(), "{what}");
    assert!(read_all(&engine) == *state, "{what}");
    let is_poisoned = matches!(engine.put(b"z", b""), Err(Error::Poisoned { .. }));
    if compacted.is_err() && !is_poisoned {
        // What a part wrote is gone, whichever of them failed.
        assert_eq!(tables(&vfs), before, "{what}");
        engine.delete(b"z").unwrap();
        engine.compact().unwrap();
        assert!(read_all(&engine) == *state, "{what}");
    }
    drop(engine);
    let vfs = copy(&vfs);
    let engine = open(&vfs, who);
    engine.delete(b"z").unwrap();
    engine.compact().unwrap();
    assert!(read_all(&engine) == *state, "{what}");
    engine.close().unwrap();
    check(&vfs);
    has_happened
}

#[test]
fn a_part_that_fails_anywhere_takes_all_files_with_it_and_loses_nothing() {
    let (filled, state) = filled();
    let faults =
        [Fault::ReadError, Fault::WriteError, Fault::SyncErrorLost, Fault::SyncErrorKept, Fault::NameError];
    for who in [Who::Compactor, Who::Helper] {
        for fault in faults {
            let count = (0..).take_while(|&skipped| fail(&filled, &state, who, fault, skipped)).count();
            assert!(count >= 8, "{who:?}: {count} times {fault:?}");
        }
    }
    for fault in faults {
        for skipped in 0..8 {
            fail(&filled, &state, Who::All, fault, skipped);
        }
    }
}

#[test]
fn a_full_disk_in_a_part_is_waited_for_and_leaves_nothing() {
    let (filled, state) = filled();
    for who in [Who::Compactor, Who::Helper, Who::All] {
        for skipped in [0, 3, 7, 11, 15] {
            let vfs = copy(&filled);
            let engine = open(&vfs, who);
            vfs.inject(Fault::NoSpace, skipped);
            engine.compact().unwrap();
            assert_eq!(vfs.injected().of(Fault::NoSpace), 1);
            assert!(read_all(&engine) == state, "{who:?}, {skipped}");
            engine.close().unwrap();
            check(&vfs);
        }
    }
}

/// Of a crash at any call a part of the outputs is left, and no more than the next open removes.
#[test]
fn a_crash_between_the_parts_loses_nothing() {
    let (filled, state) = filled();
    for who in [Who::Compactor, Who::Helper] {
        let vfs = copy(&filled);
        vfs.record();
        let engine = open(&vfs, who);
        engine.compact().unwrap();
        drop(engine);
        let history = vfs.take_history();
        for moment in 0..history.len() {
            let (left, _) = history.crash(moment, CrashMode::Random, moment as u64);
            let engine = open(&left, who);
            assert!(read_all(&engine) == state, "{who:?}, {moment}");
            engine.close().unwrap();
            check(&left);
        }
    }
}

/// Keys and values so long that a part needs more than it said, which requests have meanwhile.
#[test]
fn a_part_that_meets_want_of_memory_lets_the_merge_be_done_whole() {
    let vfs = SimVfs::new();
    let (mut environment, simulated) = sim::environment(&vfs, 1);
    let scheduler = Arc::new(HelpersFirst { simulated, short_of_memory: OnceLock::new() });
    environment.scheduler = Arc::clone(&scheduler) as Arc<dyn Scheduler>;
    let options = options().memory_budget(8 << 20).table_bytes(64 << 10);
    let engine: StorageEngine = Builder::new(FOLDER, options).environment(environment).open().unwrap();
    let engine = Arc::new(engine);
    let mut state = State::new();
    for round in 0..5_u8 {
        for number in 0..4_000_u32 {
            let len = if number % 400 == 0 { 60_000 } else { 4 };
            let (mut key, value) = (number.to_be_bytes().to_vec(), vec![round; len]);
            key.resize(len.min(20_000), 0);
            engine.put(&key, &value).unwrap();
            state.insert(key, value);
        }
        engine.flush().unwrap();
    }
    assert!(scheduler.short_of_memory.set(Arc::downgrade(&engine)).is_ok());
    engine.compact().unwrap();
    let (stats, report) = (engine.stats(), engine.memory_report());
    assert_eq!(stats.compaction_parts, 0, "the part was not done: {stats:?}");
    assert!(stats.compactions > 0, "{stats:?}");
    assert!(
        report.nodes().iter().any(|node| &*node.name == "compaction parts" && node.used_max > 0),
        "{report}"
    );
    assert!(report.root().used_max <= 8 << 20, "{report}");
    assert!(read_all(&engine) == state);
    assert_eq!(tables(&vfs).len(), stats.levels.iter().map(|level| level.table_count).sum::<usize>());
}
