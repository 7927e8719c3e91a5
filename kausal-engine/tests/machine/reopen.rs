//! What was recovered stays in memory, and its logs stay with it, until its memtable is flushed like any other: no crash before
//! that, and no torn tail, makes a difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kausal_engine::event::{Event, Ticket};
use kausal_engine::scheduler::{Job, Lane, Scheduler, Waited};
use kausal_engine::sim::{self, CrashMode, Fault, SimRandom, SimScheduler, SimVfs};
use kausal_engine::vfs::{OpenMode, Vfs};
use kausal_engine::{
    Builder, Durability, Error, KeyRange, MEMORY_BUDGET_MIN, Options, StorageEngine, WriteBatch, WriteOptions,
};

const FOLDER: &str = "/db";

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn small() -> Options {
    Options::new().memory_budget(MEMORY_BUDGET_MIN)
}

fn try_open(vfs: &SimVfs, options: Options) -> (Result<StorageEngine, Error>, Arc<SimScheduler>) {
    let (environment, scheduler) = sim::environment(vfs, 1);
    (Builder::new(FOLDER, options).environment(environment).open(), scheduler)
}

fn open(vfs: &SimVfs) -> StorageEngine {
    try_open(vfs, small()).0.unwrap()
}

/// What a process that is killed now leaves.
fn killed(vfs: &SimVfs) -> SimVfs {
    vfs.crash(CrashMode::KeepUnsynced, 0)
}

fn files(vfs: &SimVfs, extension: &str) -> Vec<PathBuf> {
    let files = vfs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn put(engine: &StorageEngine, key: &[u8], value: &[u8], durability: Durability) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    batch.put(key, value).unwrap();
    engine.write(&batch, WriteOptions::durable(durability))
}

fn read_all(engine: &StorageEngine) -> State {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut state = State::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let value = engine.get(cursor.key().unwrap()).unwrap().unwrap();
        let is_new = state.insert(cursor.key().unwrap().to_vec(), value).is_none();
        assert!(is_new, "a walk shows a key once");
        more = cursor.next().unwrap();
    }
    state
}

fn check(vfs: &SimVfs) {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    kausal_engine::check(&vfs, Path::new(FOLDER), 64 << 20).unwrap();
}

#[test]
fn a_disk_that_offers_no_mappings_is_read() {
    let vfs = SimVfs::new();
    for _ in 0..2 {
        let engine = try_open(&vfs, small().mapped_tables(true)).0.unwrap();
        for number in 0..500_u32 {
            put(&engine, &number.to_be_bytes(), &[number as u8; 100], Durability::Process).unwrap();
        }
        engine.compact().unwrap();
        assert_eq!(read_all(&engine).len(), 500);
        let stats = engine.stats();
        assert_eq!((stats.mapped_table_count, stats.mapped_block_count), (0, 0), "{stats:?}");
        assert!(stats.block_cache_hits > 0, "{stats:?}");
        engine.close().unwrap();
    }
    check(&vfs);
}

#[test]
fn an_open_after_a_kill_writes_no_table_and_keeps_the_logs_until_the_flush() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    for number in 0..1000_u32 {
        engine.put(&number.to_be_bytes(), &[7; 200]).unwrap();
    }
    let vfs = killed(&vfs);
    let old = files(&vfs, "wal");
    let engine = open(&vfs);
    assert_eq!(engine.get(&500_u32.to_be_bytes()).unwrap().unwrap(), [7; 200]);
    assert_eq!((engine.recovery_report().batch_count, engine.stats().flushes), (1000, 0));
    assert!(files(&vfs, "sst").is_empty(), "{:?}", vfs.files());
    engine.put(b"behind", b"it").unwrap();
    let kept = files(&vfs, "wal");
    assert!(kept.len() == 2 && old.iter().all(|log| kept.contains(log)), "{kept:?}");
    assert_eq!(engine.stats().memtable_entry_count, 1001, "one memtable has both");

    engine.flush().unwrap();
    assert_eq!(engine.stats().flushes, 1);
    let (logs, tables) = (files(&vfs, "wal"), files(&vfs, "sst"));
    assert!(logs.len() == 1 && !kept.contains(&logs[0]) && tables.len() == 1, "{logs:?} {tables:?}");
    let engine = open(&killed(&vfs));
    assert_eq!(engine.recovery_report().batch_count, 0, "what is in tables is not replayed");
    assert_eq!(read_all(&engine).len(), 1001);
}

/// Something of everything that a log may hold. What the database shows then is in `state`, and in `users` of the other keyspace.
fn write_round(engine: &StorageEngine, round: u32, state: &mut State, users: &mut State) {
    let random = SimRandom::new(u64::from(round));
    for number in 0..40 {
        let (key, value) = (vec![b'k', random.below(200) as u8], vec![round as u8; 20 + number]);
        engine.put(&key, &value).unwrap();
        state.insert(key, value);
    }
    let (start, end) = (vec![b'k', 10 * round as u8], vec![b'k', 10 * round as u8 + 5]);
    engine.delete_range(&start, &end).unwrap();
    state.retain(|key, _| !(start.as_slice()..end.as_slice()).contains(&key.as_slice()));
    let large = vec![round as u8; 100_000];
    engine.put(b"large", &large).unwrap();
    state.insert(b"large".to_vec(), large.clone());
    let keyspace = engine.create_keyspace("users").unwrap();
    keyspace.put(&round.to_be_bytes(), &large).unwrap();
    users.insert(round.to_be_bytes().to_vec(), large);
    let gone = engine.create_keyspace("gone").unwrap();
    gone.put(b"large", &[1; 100_000]).unwrap();
    if round.is_multiple_of(2) {
        assert!(engine.drop_keyspace("gone").unwrap());
    }
}

#[test]
fn killed_again_and_again_before_any_flush_it_shows_what_it_showed() {
    let (mut state, mut users) = (State::new(), State::new());
    let mut vfs = SimVfs::new();
    let (mut logs_max, mut flushes) = (0, 0);
    for round in 0..24 {
        let (engine, scheduler) = try_open(&vfs, small());
        let engine = engine.unwrap();
        assert_eq!(engine.recovery_report().dropped_log_count, 0);
        assert_eq!(read_all(&engine), state, "round {round}");
        for (key, value) in &users {
            let keyspace = engine.keyspace("users").unwrap();
            assert_eq!(keyspace.get(key).unwrap().as_ref(), Some(value), "round {round}");
        }
        logs_max = logs_max.max(files(&vfs, "wal").len());
        write_round(&engine, round, &mut state, &mut users);
        if round % 4 == 3 {
            while scheduler.run_one() {}
        }
        flushes += engine.stats().flushes;
        // Some are closed, some read in between.
        if round % 5 == 4 {
            engine.close().unwrap();
        }
        vfs = killed(&vfs);
        check(&vfs);
        if round % 3 == 2 {
            let before = vfs.files();
            let engine = try_open(&vfs, small().read_only(true)).0.unwrap();
            assert_eq!(read_all(&engine), state, "round {round}");
            drop(engine);
            assert_eq!(vfs.files(), before, "who only reads changes nothing");
        }
    }
    assert!((6..24).contains(&logs_max) && flushes > 0, "{logs_max} logs, {flushes} flushes");
    let engine = open(&vfs);
    engine.compact().unwrap();
    assert_eq!(files(&vfs, "wal").len(), 1);
    assert_eq!(files(&vfs, "blob").len(), 1 + users.len() + 1, "of each that is there still");
    drop(engine);
    check(&vfs);
}

#[test]
fn short_lives_pile_up_no_logs_though_no_job_ever_runs() {
    let mut vfs = SimVfs::new();
    let mut counts = Vec::new();
    for round in 0..40_u8 {
        let engine = open(&vfs);
        assert_eq!(read_all(&engine).len(), usize::from(round));
        engine.put(&[round], b"value").unwrap();
        vfs = killed(&vfs);
        counts.push(files(&vfs, "wal").len());
    }
    assert!(counts.iter().all(|&count| count <= 18) && counts.contains(&9), "{counts:?}");
}

#[test]
fn a_crash_at_any_call_of_a_second_recovery_is_recovered_from() {
    let vfs = SimVfs::new();
    let (mut state, mut users) = (State::new(), State::new());
    let engine = open(&vfs);
    write_round(&engine, 1, &mut state, &mut users);
    let vfs = killed(&vfs);
    let engine = open(&vfs);
    write_round(&engine, 2, &mut state, &mut users);
    let vfs = killed(&vfs);
    let whole = killed(&vfs);
    let (engine, scheduler) = try_open(&whole, small());
    engine.as_ref().unwrap().flush().unwrap();
    while scheduler.run_one() {}
    drop(engine);
    for calls in 0..whole.call_count() {
        let again = killed(&vfs);
        again.crash_after(calls);
        if let (Ok(engine), _scheduler) = try_open(&again, small()) {
            let _ = engine.flush();
        }
        for mode in [CrashMode::DropUnsynced, CrashMode::KeepUnsynced, CrashMode::Random] {
            let again = again.crash(mode, calls);
            check(&again);
            assert_eq!(read_all(&open(&again)), state, "crash after call {calls}, {mode:?}");
        }
    }
}

/// Where the last frame of the newest log begins to differ from zeros: a byte of its value.
fn last_byte(vfs: &SimVfs, log: &Path) -> u64 {
    let file = vfs.open(log, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64
}

#[test]
fn a_torn_tail_is_cut_once_and_what_comes_behind_it_counts() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    for key in [b"a", b"b", b"c"] {
        engine.put(key, &[9; 30]).unwrap();
    }
    let vfs = killed(&vfs);
    let first = files(&vfs, "wal").pop().unwrap();
    let first_bit = 8 * last_byte(&vfs, &first);
    vfs.flip(&first, first_bit);
    let engine = open(&vfs);
    assert!(engine.recovery_report().dropped_bytes > 0 && engine.get(b"c").unwrap().is_none());
    engine.put(b"d", &[9; 30]).unwrap();
    engine.put(b"e", &[9; 30]).unwrap();

    // The next crash tears the next log's tail; the first log is no longer the last.
    let vfs = killed(&vfs);
    let second = files(&vfs, "wal").pop().unwrap();
    assert_ne!(first, second);
    vfs.flip(&second, 8 * last_byte(&vfs, &second));
    let engine = open(&vfs);
    let report = engine.recovery_report();
    assert!(report.dropped_bytes > 0 && report.dropped_log_count == 0 && report.log_count == 2, "{report:?}");
    let keys = |engine: &StorageEngine| read_all(engine).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(&engine), [b"a", b"b", b"d"]);
    put(&engine, b"f", b"synced", Durability::Power).unwrap();

    // A tail that is whole again has been cut all the same.
    let vfs = vfs.crash(CrashMode::DropUnsynced, 0);
    vfs.flip(&first, first_bit);
    check(&vfs);
    let engine = open(&vfs);
    assert_eq!(engine.recovery_report().dropped_bytes, 0);
    assert_eq!(keys(&engine), [b"a", b"b", b"d", b"f"]);
    engine.flush().unwrap();
    assert_eq!(keys(&open(&killed(&vfs))), [b"a", b"b", b"d", b"f"]);
}

#[test]
fn logs_beyond_a_memtable_are_flushed_as_it_goes_and_the_rest_is_not_replayed_twice() {
    let mut vfs = SimVfs::new();
    let engine = try_open(&vfs, Options::new().memory_budget(128 << 20)).0.unwrap();
    let mut state = State::new();
    // A value in a file of its own that nobody can see: the flush of what is recovered first takes the file away, and the log, which
    // stays for what comes later, still speaks of it.
    for value in [1, 2] {
        let value = vec![value; 1_500_000];
        engine.put(&u32::MAX.to_be_bytes(), &value).unwrap();
        state.insert(u32::MAX.to_be_bytes().to_vec(), value);
    }
    assert_eq!(files(&vfs, "blob").len(), 2);
    for number in 0..5000_u32 {
        let (key, value) = ((number % 3000).to_be_bytes().to_vec(), vec![number as u8; 1000]);
        engine.put(&key, &value).unwrap();
        state.insert(key, value);
    }
    engine.delete_range(&2900_u32.to_be_bytes(), &2950_u32.to_be_bytes()).unwrap();
    state.retain(|key, _| !(2900_u32..2950).contains(&u32::from_be_bytes(key[..].try_into().unwrap())));
    vfs = killed(&vfs);
    let mut tables = Vec::new();
    for round in 0..4_u8 {
        let engine = open(&vfs);
        assert_eq!(read_all(&engine), state, "round {round}");
        let found = files(&vfs, "sst");
        if round == 0 {
            tables = found;
            assert!(tables.len() > 2, "{tables:?}");
        } else {
            assert_eq!(found, tables, "nothing is flushed again");
        }
        let stats = engine.stats();
        assert!(stats.memtable_entry_count < 2000, "no change is both in a table and in memory: {stats:?}");
        engine.put(&[round], b"later").unwrap();
        state.insert(vec![round], b"later".to_vec());
        vfs = killed(&vfs);
        assert_eq!(files(&vfs, "blob").len(), 1);
        check(&vfs);
    }
}

/// Runs jobs at once, as a second thread would that is faster than the first, or drops them unrun; and waits as the simulation.
#[derive(Debug)]
struct AtOnce {
    simulated: Arc<SimScheduler>,
    job_count: AtomicUsize,
    runs: bool,
}

impl Scheduler for AtOnce {
    fn spawn(&self, _lane: Lane, job: Job) {
        self.job_count.fetch_add(1, Ordering::Relaxed);
        if self.runs {
            job();
        }
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

#[test]
fn parts_of_the_logs_are_read_ahead_or_not_and_that_makes_no_difference() {
    let vfs = SimVfs::new();
    let engine = try_open(&vfs, Options::new().memory_budget(128 << 20)).0.unwrap();
    let mut state = State::new();
    for number in 0..6000_u32 {
        let (key, value) = ((number % 4000).to_be_bytes().to_vec(), vec![number as u8; 700]);
        engine.put(&key, &value).unwrap();
        state.insert(key, value);
    }
    let vfs = killed(&vfs);
    for runs in [true, false] {
        let (mut environment, simulated) = sim::environment(&killed(&vfs), 1);
        let scheduler = Arc::new(AtOnce { simulated, job_count: AtomicUsize::new(0), runs });
        environment.scheduler = Arc::clone(&scheduler) as Arc<dyn Scheduler>;
        // Nothing is compacted.
        let options = small().level0_compaction_count(100);
        let engine: StorageEngine = Builder::new(FOLDER, options).environment(environment).open().unwrap();
        assert!(scheduler.job_count.load(Ordering::Relaxed) > 3, "{scheduler:?}");
        assert!(read_all(&engine) == state, "jobs run: {runs}");
    }
}

/// Replay gathers less than half a mebibyte at a time here.
#[test]
fn batches_longer_than_a_part_of_the_replay_are_found_again() {
    let vfs = SimVfs::new();
    let engine = try_open(&vfs, Options::new().memory_budget(128 << 20)).0.unwrap();
    let mut state = State::new();
    for round in 0..3_u8 {
        let mut batch = WriteBatch::new();
        for number in 0..2000_u16 {
            let (key, value) = (number.to_be_bytes().to_vec(), vec![round; 500]);
            batch.put(&key, &value).unwrap();
            state.insert(key, value);
        }
        batch.delete_range(&100_u16.to_be_bytes(), &200_u16.to_be_bytes()).unwrap();
        state.retain(|key, _| !(100_u16..200).contains(&u16::from_be_bytes(key[..2].try_into().unwrap())));
        for number in [150_u16, 5000] {
            let (key, value) = (number.to_be_bytes().to_vec(), vec![round; 150_000]);
            batch.put(&key, &value).unwrap();
            state.insert(key, value);
        }
        engine.write(&batch, WriteOptions::default()).unwrap();
        let (key, value) = (vec![0xFF, 0xFF, round], vec![round; 150_000]);
        engine.put(&key, &value).unwrap();
        state.insert(key, value);
    }
    let mut vfs = killed(&vfs);
    for round in 0..3_u8 {
        let engine = open(&vfs);
        assert_eq!(engine.recovery_report().batch_count, if round == 0 { 6 } else { 1 });
        assert!(read_all(&engine) == state, "round {round}");
        engine.flush().unwrap();
        engine.put(&[round], b"later").unwrap();
        state.insert(vec![round], b"later".to_vec());
        vfs = killed(&vfs);
    }
}

#[test]
fn what_is_synced_behind_a_recovered_log_is_not_ahead_of_it() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    engine.put(b"a", b"in the kernel").unwrap();
    // The kernel takes for clean what never reached the disk.
    vfs.inject(Fault::SyncErrorLost, 0);
    put(&engine, b"b", b"refused", Durability::Power).unwrap_err();
    drop(engine);
    let engine = open(&vfs);
    let shown = read_all(&engine);
    assert_eq!(shown.len(), 2);
    put(&engine, b"c", b"synced", Durability::Power).unwrap();
    let engine = open(&vfs.crash(CrashMode::DropUnsynced, 0));
    assert_eq!(engine.get(b"c").unwrap().unwrap(), b"synced");
    assert!(shown.iter().all(|(key, value)| engine.get(key).unwrap().as_ref() == Some(value)));
}

#[test]
fn what_an_open_shows_is_durable_for_who_syncs_what_he_writes() {
    for (asks_by_default, first) in [(true, Durability::Process), (false, Durability::Power)] {
        let vfs = SimVfs::new();
        let engine = open(&vfs);
        put(&engine, b"a", b"first", first).unwrap();
        vfs.inject(Fault::SyncErrorLost, 0);
        put(&engine, b"b", b"refused", Durability::Power).unwrap_err();
        drop(engine);
        let options = if asks_by_default { small().durability(Durability::Power) } else { small() };
        let shown = read_all(&try_open(&vfs, options).0.unwrap());
        assert_eq!(shown.len(), 2);
        assert_eq!(read_all(&open(&vfs.crash(CrashMode::DropUnsynced, 0))), shown);
    }
}

#[test]
fn a_recovered_log_that_is_not_as_it_was_is_not_taken_for_durable() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    engine.put(b"a", &[9; 30]).unwrap();
    let vfs = killed(&vfs);
    for byte in [20, 64 + 9, 64 + 60] {
        let vfs = killed(&vfs);
        let log = files(&vfs, "wal").pop().unwrap();
        let engine = open(&vfs);
        vfs.flip(&log, 8 * byte);
        let refused = engine.sync();
        assert!(refused.is_err(), "byte {byte}");
        assert!(matches!(engine.put(b"b", b"b"), Err(Error::Poisoned { .. })), "byte {byte}");
        assert_eq!(engine.get(b"a").unwrap().unwrap(), [9; 30], "reads go on");
    }
}

#[test]
fn damage_to_what_was_synced_of_a_recovered_log_is_refused_or_salvaged() {
    let vfs = SimVfs::new();
    let engine = open(&vfs);
    for key in [b"a", b"b", b"c"] {
        engine.put(key, &[9; 30]).unwrap();
    }
    engine.close().unwrap();
    let log = files(&vfs, "wal").pop().unwrap();
    let place = 8 * last_byte(&vfs, &log);
    let engine = open(&vfs);
    engine.put(b"d", &[9; 30]).unwrap();
    let vfs = killed(&vfs);
    let missing = killed(&vfs);
    missing.remove(&log).unwrap();
    let refused = try_open(&missing, small()).0;
    assert!(matches!(&refused, Err(Error::Corruption { file, .. }) if *file == log), "{refused:?}");

    vfs.flip(&log, place);
    let refused = try_open(&vfs, small()).0;
    assert!(matches!(&refused, Err(Error::Corruption { file, .. }) if *file == log), "{refused:?}");
    let engine = try_open(&vfs, small().salvage(true)).0.unwrap();
    assert_eq!(engine.recovery_report().salvaged.len(), 1);
    assert_eq!(read_all(&engine).into_keys().collect::<Vec<_>>(), [b"a", b"b"]);
    engine.put(b"e", b"after").unwrap();
    // What was salvaged is an ordinary database, however it ends.
    let engine = open(&killed(&vfs));
    assert_eq!(read_all(&engine).into_keys().collect::<Vec<_>>(), [b"a", b"b", b"e"]);
}
