//! The process of `cargo xtask torture --memory`: fills a database of many times its budget, works on it from four threads, and
//! looks at its own memory all the while.
//!
//! 1. *Fill*: the files of a tree, each a value under its path, and random entries. Then a snapshot, held to the end.
//! 2. *Work*: four threads read (now and at the snapshot), write, walk, and ask for everything to be compacted.
//! 3. *Look*: a thread takes the memory report at random moments and checks its sums; another samples what the kernel says is
//!    resident. The work goes on until the time is up and as many reports as are wanted were looked at, those of the
//!    filling not counted; but no longer than twice the time.
//!
//! It keeps no model of the data: a value tells its entry and version and is made of both, so a few bytes of state
//! check any of them. Prints one line of JSON at the end.
//!
//! Usage: `memory_worker FOLDER TREE BUDGET_MIB ENTRIES SECONDS REPORTS SEED`

use std::error::Error;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kausal_engine::{KeyRange, MemoryReport, Options, Snapshot, Stats, StorageEngine};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const MIB: usize = 1 << 20;
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Every so many operations of a thread one is a value of up to 8 MiB.
const LARGE_EVERY: u64 = 4_000;
const WALK_ENTRIES: u32 = 200;
/// Parts of the time that operations are counted in.
const PARTS: usize = 30;
/// How long after the last forced compaction the next one is asked for, in parts.
const COMPACTED_EVERY: u32 = 6;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, tree, budget, entries, seconds, reports, seed] = arguments.as_slice() else {
        return Err("usage: memory_worker FOLDER TREE BUDGET_MIB ENTRIES SECONDS REPORTS SEED".into());
    };
    let budget = budget.parse::<usize>()? * MIB;
    let work = Work {
        engine: StorageEngine::open(folder, Options::new().memory_budget(budget))?,
        entries: entries.parse()?,
        time: Duration::from_secs(seconds.parse()?),
        reports: reports.parse()?,
        seed: seed.parse()?,
        began: OnceLock::new(),
        ended: AtomicBool::new(false),
        operations: [const { AtomicU64::new(0) }; 2 * PARTS],
        others: [const { AtomicU64::new(0) }; 2 * PARTS],
        checked: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        rested: AtomicU64::new(0),
        resident: Default::default(),
    };
    let outcome = std::thread::scope(|scope| -> Outcome<(u64, u64)> {
        let looking = [scope.spawn(|| work.check_reports()), scope.spawn(|| work.sample_resident())];
        let outcome = work.fill_and_work(Path::new(tree), scope);
        work.ended.store(true, Ordering::SeqCst);
        for thread in looking {
            thread.join().map_err(|_| "a looking thread panicked")??;
        }
        outcome
    });
    let (files, data_bytes) = outcome?;
    work.print(budget, files, data_bytes);
    Ok(())
}

struct Work {
    engine: StorageEngine,
    entries: u64,
    /// How long to work, at least.
    time: Duration,
    /// How many reports to look at meanwhile.
    reports: u64,
    seed: u64,
    /// When the work began, after the filling.
    began: OnceLock<Instant>,
    ended: AtomicBool,
    /// In each part of the time, and in as many after it for a work that goes on.
    operations: [AtomicU64; 2 * PARTS],
    /// Ticks of processor time that others had in each part: the machine's without this process's.
    others: [AtomicU64; 2 * PARTS],
    /// Reports whose sums were found exact during the work.
    checked: AtomicU64,
    /// Reads, writes and walks that got no memory.
    refused: AtomicU64,
    /// Compactions asked for that found no memory beyond their floor, and are asked for again later.
    rested: AtomicU64,
    /// Most that was anonymous or shared, and most that was of files, in KiB.
    resident: [AtomicU64; 2],
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % limit.max(1)
    }
}

fn key_of(entry: u64) -> [u8; 17] {
    let mut key = [b'e'; 17];
    key[1..9].copy_from_slice(&mix(entry).to_be_bytes());
    key[9..].copy_from_slice(&entry.to_be_bytes());
    key
}

/// Its entry, its version, and bytes that follow from both.
fn fill_value(entry: u64, version: u64, value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&entry.to_le_bytes());
    value.extend_from_slice(&version.to_le_bytes());
    let mut word = mix(entry ^ version << 40);
    let wanted = 20 + (word % 280) as usize;
    while value.len() < wanted {
        value.extend_from_slice(&word.to_le_bytes());
        word = mix(word);
    }
}

/// The version of a value, if it is one of this entry.
fn check_value(entry: u64, value: &[u8], expected: &mut Vec<u8>) -> Outcome<u64> {
    let version = value.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    fill_value(entry, version, expected);
    if expected == value { Ok(version) } else { Err(format!("entry {entry} has a wrong value").into()) }
}

impl Work {
    /// Fills, then works. Returns how many files were taken in, and the bytes of all data then.
    fn fill_and_work<'scope>(
        &'scope self,
        tree: &Path,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Outcome<(u64, u64)> {
        let files = self.fill_tree(tree)?;
        let mut value = Vec::new();
        for entry in 0..self.entries {
            fill_value(entry, 0, &mut value);
            self.engine.put(&key_of(entry), &value)?;
        }
        self.engine.flush()?;
        let stats = self.engine.stats();
        let data_bytes = stats.user_bytes_written + stats.blob_bytes_written;
        let snapshot = self.engine.snapshot();
        let started = *self.began.get_or_init(Instant::now);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let snapshot = snapshot.clone();
                scope.spawn(move || self.operate(thread, &snapshot, started))
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a working thread panicked")??;
        }
        // The snapshot saw nothing of it all.
        let mut random = Random(self.seed);
        for _ in 0..1_000 {
            let entry = random.below(self.entries);
            let found = self.engine.get_at(&snapshot, &key_of(entry))?.ok_or("an entry is missing")?;
            if check_value(entry, &found, &mut value)? != 0 {
                return Err(format!("the snapshot sees a later version of entry {entry}").into());
            }
        }
        self.check_tree(tree)?;
        Ok((files, data_bytes))
    }

    fn operate(&self, thread: u64, snapshot: &Snapshot, started: Instant) -> Outcome<()> {
        let mut random = Random(mix(self.seed) ^ thread);
        let mut expected = Vec::new();
        let mut version = 0;
        let part = self.part();
        let mut compacted = Instant::now();
        for operation in 1_u64.. {
            let place = (started.elapsed().as_nanos() / part.as_nanos().max(1)) as usize;
            let is_enough = place >= PARTS && self.checked.load(Ordering::Relaxed) >= self.reports;
            let Some(count) = self.operations.get(place).filter(|_| !is_enough) else { return Ok(()) };
            let entry = random.below(self.entries);
            version += 1;
            let done = match random.below(100) {
                _ if operation % LARGE_EVERY == 0 => self.write_large(&mut random),
                _ if thread == 0 && compacted.elapsed() > part * COMPACTED_EVERY => {
                    compacted = Instant::now();
                    self.compact()
                }
                0..2 => self.walk(entry, &mut expected),
                2..30 => {
                    fill_value(entry, version, &mut expected);
                    self.engine.put(&key_of(entry), &expected).map_err(Into::into)
                }
                30..45 => self.read_at(snapshot, entry, &mut expected),
                _ => self.read(entry, &mut expected),
            };
            match done {
                Ok(()) => count.fetch_add(1, Ordering::Relaxed),
                Err(error) if error.downcast_ref().is_some_and(is_refusal) => {
                    eprintln!("operation {operation} of thread {thread}: {error:?}");
                    self.refused.fetch_add(1, Ordering::Relaxed)
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn part(&self) -> Duration {
        self.time / PARTS as u32
    }

    fn compact(&self) -> Outcome<()> {
        match self.engine.compact() {
            Err(error) if is_refusal(&error) => {
                eprintln!("a compaction rests: {error:?}");
                self.rested.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            compacted => compacted.map_err(Into::into),
        }
    }

    fn read(&self, entry: u64, expected: &mut Vec<u8>) -> Outcome<()> {
        let found = self.engine.get(&key_of(entry))?.ok_or("an entry is missing")?;
        check_value(entry, &found, expected).map(drop)
    }

    fn read_at(&self, snapshot: &Snapshot, entry: u64, expected: &mut Vec<u8>) -> Outcome<()> {
        let found = self.engine.get_at(snapshot, &key_of(entry))?.ok_or("an entry is missing")?;
        match check_value(entry, &found, expected)? {
            0 => Ok(()),
            version => Err(format!("the snapshot sees version {version} of entry {entry}").into()),
        }
    }

    fn walk(&self, entry: u64, expected: &mut Vec<u8>) -> Outcome<()> {
        let range = KeyRange {
            lower: Bound::Included(key_of(entry).to_vec()),
            upper: Bound::Excluded(b"f".to_vec()),
        };
        let mut cursor = self.engine.cursor(range)?;
        let mut stands = cursor.seek_to_first()?;
        for _ in 0..WALK_ENTRIES {
            let (Some(key), Some(value)) = (cursor.key(), cursor.value()) else { break };
            let entry = key[9..].try_into().map_or(0, u64::from_be_bytes);
            check_value(entry, value, expected)?;
            stands = stands && cursor.next()?;
        }
        Ok(())
    }

    /// A value of up to 8 MiB, streamed, over an earlier one; and read again.
    fn write_large(&self, random: &mut Random) -> Outcome<()> {
        let len = random.below(FILE_BYTES_MAX) + 1;
        let key = [b"large".as_slice(), &random.below(8).to_be_bytes()].concat();
        let source = std::io::repeat(len as u8);
        self.engine.put_reader(&key, &mut std::io::Read::take(source, len), len, Default::default())?;
        let Some(mut reader) = self.engine.get_reader(&key)? else {
            return Err("a large value is missing".into());
        };
        let mut piece = [0; 4096];
        let first = std::io::Read::read(&mut reader, &mut piece)?;
        let is_even = piece[..first].iter().all(|&byte| byte == piece[0]);
        if is_even { Ok(()) } else { Err("a large value is torn".into()) }
    }

    /// Puts the files of the tree in, each under its path.
    fn fill_tree(&self, tree: &Path) -> Outcome<u64> {
        let mut count = 0;
        each_file(tree, &mut |path, len| {
            let mut file = std::fs::File::open(path)?;
            let key = path_key(path);
            // A file that changes under us is not ours to judge.
            if self.engine.put_reader(&key, &mut file, len, Default::default()).is_ok() {
                count += 1;
            }
            Ok(())
        })?;
        Ok(count)
    }

    fn check_tree(&self, tree: &Path) -> Outcome<()> {
        each_file(tree, &mut |path, len| {
            let Some(found) = self.engine.get_reader(&path_key(path))? else { return Ok(()) };
            let same = found.len() != len || same_bytes(found, std::fs::File::open(path)?)?;
            if same { Ok(()) } else { Err(format!("{} has other bytes", path.display()).into()) }
        })
    }

    /// Takes reports at random moments until the work ends: as often as it takes to have seen all that are wanted a little
    /// before the time is up, however busy the machine is.
    fn check_reports(&self) -> Outcome<()> {
        let mut random = Random(self.seed ^ 0xC0FFEE);
        while !self.ended.load(Ordering::SeqCst) {
            check_report(&self.engine.memory_report())?;
            let pause = match self.began.get() {
                None => Duration::from_millis(20),
                Some(began) => {
                    let checked = 1 + self.checked.fetch_add(1, Ordering::Relaxed);
                    let usual = self.time / self.reports.max(1) as u32;
                    match self.reports.saturating_sub(checked) as u32 {
                        // The rest of the time, and whatever is after it.
                        0 => usual,
                        left => {
                            let time_left = (self.time * 9 / 10).saturating_sub(began.elapsed());
                            (time_left / left).clamp(Duration::from_micros(100), usual)
                        }
                    }
                }
            };
            std::thread::sleep(Duration::from_nanos(random.below(2 * pause.as_nanos() as u64)));
        }
        Ok(())
    }

    fn sample_resident(&self) -> Outcome<()> {
        let mut before = ticks_of_others();
        while !self.ended.load(Ordering::SeqCst) {
            let now = ticks_of_others();
            let place =
                self.began.get().map(|began| began.elapsed().as_nanos() / self.part().as_nanos().max(1));
            if let Some(others) = place.and_then(|place| self.others.get(place as usize)) {
                others.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
            }
            // Both counts are read one after the other: what seems to go back comes again.
            before = now.max(before);
            if let Some(now) = resident() {
                self.resident.iter().zip(now).for_each(|(most, now)| {
                    most.fetch_max(now, Ordering::Relaxed);
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn print(&self, budget: usize, files: u64, data_bytes: u64) {
        let report = self.engine.memory_report();
        let Stats { flushes, compactions, write_stalls, compaction_bytes_written, .. } = self.engine.stats();
        // What is done after the time, for the sake of the reports, is no part of it.
        let parts = self.operations[..PARTS].iter().map(|part| part.load(Ordering::Relaxed).to_string());
        let (parts, part_millis) = (parts.collect::<Vec<_>>().join(","), self.part().as_millis());
        let others = self.others[..PARTS].iter().map(|part| (10 * part.load(Ordering::Relaxed)).to_string());
        let others = others.collect::<Vec<_>>().join(",");
        let [anonymous, of_files] = self.resident.each_ref().map(|most| 1024 * most.load(Ordering::Relaxed));
        println!(
            "{{\"budget\":{budget},\"peak\":{},\"files\":{files},\"data\":{data_bytes},\"anonymous\":{anonymous},\
             \"of_files\":{of_files},\"high_water\":{},\"checked\":{},\"refused\":{},\"rested\":{},\"parts\":[{parts}],\
             \"part_millis\":{part_millis},\"others_millis\":[{others}],\"flushes\":{flushes},\"compactions\":{compactions},\"compacted\":{compaction_bytes_written},\
             \"stalls\":{write_stalls}}}",
            report.root().used_max,
            1024 * status("VmHWM:").unwrap_or(0),
            self.checked.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
            self.rested.load(Ordering::Relaxed),
        );
    }
}

fn is_refusal(error: &kausal_engine::Error) -> bool {
    matches!(error, kausal_engine::Error::MemoryBudget(_))
}

/// Nothing above its limit, and every sum exact: own and children are what a node uses, and what it holds leaves the rest free.
fn check_report(report: &MemoryReport) -> Outcome<()> {
    let nodes = report.nodes();
    for (place, node) in nodes.iter().enumerate() {
        let below = nodes[place + 1..].iter().take_while(|other| other.depth > node.depth);
        let children = below.filter(|other| other.depth == node.depth + 1);
        let (used, held) = children.fold((0, 0), |sum, child| (sum.0 + child.used, sum.1 + child.reserved));
        let own = node.used.checked_sub(used).ok_or_else(|| format!("{}: children use more", node.name))?;
        let is_exact = node.reserved == node.floor.max(own + held) && (node.depth > 0 || own == 0);
        if !is_exact || own + held > node.limit || node.used_max > node.limit || node.used > node.used_max {
            return Err(format!("node {} of this report is not exact:\n{report}", node.name).into());
        }
    }
    Ok(())
}

/// KiB that are anonymous or shared, and KiB of files: the program, and the window of the mapped log.
fn resident() -> Option<[u64; 2]> {
    Some([status("RssAnon:")? + status("RssShmem:")?, status("RssFile:")?])
}

fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time that others had since the machine started, in hundredths of a second.
fn ticks_of_others() -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let numbers =
        |text: &str| -> Vec<u64> { text.split_whitespace().filter_map(|word| word.parse().ok()).collect() };
    // All that is not idle or waiting for a disk; guests are in the first two already (proc_stat(5)).
    let machine = numbers(read("/proc/stat").lines().next().unwrap_or_default());
    let busy: u64 = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|place| machine.get(place)).sum();
    // Fields 14 and 15 from the first on; the second is a name, which may have spaces (proc_pid_stat(5)).
    let own = read("/proc/self/stat");
    let behind_name = own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let own = behind_name.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    busy.saturating_sub(own)
}

fn path_key(path: &Path) -> Vec<u8> {
    [b"f".as_slice(), path.as_os_str().as_encoded_bytes()].concat()
}

/// Regular files of up to 8 MiB under `folder`, in order of their names; links are not followed.
fn each_file(folder: &Path, work: &mut dyn FnMut(&Path, u64) -> Outcome<()>) -> Outcome<()> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(_) => return Ok(()),
    };
    paths.sort();
    for path in paths {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            each_file(&path, work)?;
        } else if metadata.is_file() && metadata.len() <= FILE_BYTES_MAX {
            work(&path, metadata.len())?;
        }
    }
    Ok(())
}

fn same_bytes(mut left: impl std::io::Read, mut right: impl std::io::Read) -> Outcome<bool> {
    let (mut ours, mut theirs) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let read = left.read(&mut ours)?;
        if read == 0 {
            return Ok(right.read(&mut theirs)? == 0);
        }
        right.read_exact(&mut theirs[..read])?;
        if ours[..read] != theirs[..read] {
            return Ok(false);
        }
    }
}
