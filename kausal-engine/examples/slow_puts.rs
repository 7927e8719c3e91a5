//! What the slowest puts waited for: every file call and every wait of the writing thread, put by put.
//!
//! `cargo run --release -p kausal-engine --example slow_puts [FOLDER] [--puts N] [--budget MIB]`
//!
//! Keys of 16 bytes in random order, values of 100, as fast as one thread can: the workload `latency/put` of `kausal-bench`. A
//! file system and a scheduler that hold a clock to each of their calls stand before the real ones. What a put took beside
//! its calls is the processor: its own work, page faults, and other threads that had its core.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kausal_engine::event::{Event, Ticket};
use kausal_engine::scheduler::{Job, Lane, Scheduler, ThreadScheduler, Waited};
use kausal_engine::vfs::{DirEntry, FileLock, LogFile, OpenMode, StdVfs, Vfs, VfsFile};
use kausal_engine::{Builder, Environment, Options, StorageEngine};

/// Puts that are told of.
const SHOWN: usize = 12;

thread_local! {
    /// What this thread called since the put began, and how long it took.
    static CALLS: RefCell<Vec<(&'static str, Duration)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `call` and notes its time.
fn timed<R>(name: &'static str, call: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = call();
    CALLS.with_borrow_mut(|calls| calls.push((name, begun.elapsed())));
    result
}

#[derive(Debug)]
struct TimedLog(Arc<dyn LogFile>);

impl LogFile for TimedLog {
    fn reserve(&self, len: u64) -> io::Result<()> {
        timed("log reserve", || self.0.reserve(len))
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        timed("log store", || self.0.store(offset, bytes))
    }

    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        timed("log fill", || self.0.fill(offset, len, fill))
    }

    fn sync_to(&self, offset: u64) -> io::Result<()> {
        timed("log sync", || self.0.sync_to(offset))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        timed("log truncate", || self.0.truncate(len))
    }
}

#[derive(Debug)]
struct TimedVfs;

impl Vfs for TimedVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        timed("open", || StdVfs.open(path, mode))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        timed("log open", || StdVfs.open_log(path, mode)).map(|log| Arc::new(TimedLog(log)) as _)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        timed("rename", || StdVfs.rename(source, target))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        timed("remove", || StdVfs.remove(path))
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        StdVfs.hard_link(source, target)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        StdVfs.list(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        timed("sync folder", || StdVfs.sync_dir(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        StdVfs.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        timed("free space", || StdVfs.free_space(path))
    }
}

#[derive(Debug)]
struct TimedScheduler(ThreadScheduler);

impl Scheduler for TimedScheduler {
    fn spawn(&self, lane: Lane, job: Job) {
        self.0.spawn(lane, job);
    }

    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        timed("wait", || self.0.wait(event, ticket, deadline))
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn panic_count(&self) -> usize {
        self.0.panic_count()
    }
}

struct Put {
    took: Duration,
    number: u64,
    calls: Vec<(&'static str, Duration)>,
}

struct Settings {
    folder: PathBuf,
    puts: u64,
    budget: usize,
}

fn settings() -> Settings {
    let mut settings = Settings { folder: std::env::temp_dir(), puts: 200_000, budget: 16 << 20 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
        match argument.as_str() {
            "--puts" => settings.puts = number(),
            "--budget" => settings.budget = (number() as usize) << 20,
            folder => settings.folder = folder.into(),
        }
    }
    settings
}

fn put_all(engine: &StorageEngine, count: u64) -> Vec<Put> {
    let mut slowest: Vec<Put> = Vec::new();
    let mut begun = Instant::now();
    for number in 0..count {
        CALLS.with_borrow_mut(Vec::clear);
        let mut key = *b"........usertabl";
        key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        engine.put(&key, &[number as u8; 100]).expect("room for a put");
        let now = Instant::now();
        let took = now - begun;
        begun = now;
        let is_slow = slowest.len() < SHOWN || slowest.last().is_some_and(|last| last.took < took);
        if is_slow {
            slowest.push(Put { took, number, calls: CALLS.take() });
            slowest.sort_by_key(|put| std::cmp::Reverse(put.took));
            slowest.truncate(SHOWN);
        }
    }
    slowest
}

fn main() {
    let settings = settings();
    let folder = tempfile::tempdir_in(&settings.folder).expect("a folder for the database");
    let scheduler = ThreadScheduler::start().expect("two threads");
    let environment = Environment {
        vfs: Arc::new(TimedVfs),
        scheduler: Arc::new(TimedScheduler(scheduler)),
        ..Environment::system().expect("a clock and random numbers")
    };
    let options = Options::new().memory_budget(settings.budget);
    let engine = Builder::new(folder.path(), options).environment(environment).open().expect("a folder");
    let begun = Instant::now();
    let slowest = put_all(&engine, settings.puts);
    let rate = settings.puts as f64 / begun.elapsed().as_secs_f64() / 1e3;
    println!("{} puts, {rate:.0} thousand a second; the slowest:", settings.puts);
    for Put { took, number, calls } in slowest {
        let told: Duration = calls.iter().map(|call| call.1).sum();
        let calls = calls.iter().filter(|call| call.1.as_micros() >= 20);
        let calls: Vec<String> = calls.map(|(name, took)| format!("{name} {took:.1?}")).collect();
        println!("{took:>9.1?}  put {number:>8}: {}; rest {:.1?}", calls.join(", "), took - told);
    }
}
