//! A process that is killed after its last commit, and what the next one finds.
//!
//! 1. A child fills a store, every entry a commit, and says so; it is killed (SIGKILL) then, with everything in the log.
//! 2. This process opens the store. The time is that until the first look-up has been answered.
//! 3. What is not there any more is counted. An entry that is there but wrong is an error.
//!
//! Ours has a floor beside it: reading the same files, checksumming them, and inserting as many entries in order.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kausal_arena::{Budget, RegionPool};
use kausal_engine::DefaultIndex;
use kausal_index::{BlockIndex as _, EntryRef, Kind, SeqNo};
use xxhash_rust::xxh3::xxh3_64;

use super::bench::Bench;
use super::data::{Key, Order, key, number_of};
use super::store::Outcome;
use super::stores::OURS;

/// The group of the child that fills.
pub const FILL: &str = "fill-and-wait";

/// What the child says when it has filled the store.
const FILLED: &str = "filled";

/// Fills, kills, opens.
pub fn run(bench: &Bench) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fill_and_kill(bench, folder.path())?;
    let count = bench.plan.logged_entries();
    if bench.kind.name == OURS {
        let per_entry = floor(bench, folder.path())?.as_secs_f64() * 1e6 / count as f64;
        bench.tell_lower("open", "floor", per_entry, "us")?;
    }
    let begun = Instant::now();
    let store = bench.open(folder.path(), bench.plan.logged())?;
    store.get(&key(0), &mut |_| {})?;
    let time = begun.elapsed();
    let (mut found, mut wrong) = (0_u64, 0_u64);
    store.read(&mut |view| {
        view.scan(&key(0), usize::MAX, &mut |key, value| {
            let is_right = number_of(key).is_some_and(|number| bench.values.is(number, 0, value));
            found += 1;
            wrong += u64::from(!is_right);
        })?;
        Ok(())
    })?;
    if wrong > 0 || found > count {
        return Err(format!("{wrong} of {found} entries are wrong after a kill").into());
    }
    bench.tell_lower("open", "per_entry", time.as_secs_f64() * 1e6 / count as f64, "us")?;
    bench.tell_lower("open", "lost", (count - found) as f64 * 100.0 / count as f64, "percent")?;
    store.close()
}

fn fill_and_kill(bench: &Bench, folder: &Path) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["peer", bench.kind.name, FILL])
        .arg(folder)
        .args(["--entries", &bench.plan.entries.to_string(), "--seed", &bench.options.seed.to_string()])
        .args(bench.options.quick.then_some("--quick"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().expect("it was asked for");
    let is_filled = BufReader::new(stdout).lines().any(|line| line.is_ok_and(|line| line == FILLED));
    child.kill()?;
    child.wait()?;
    if is_filled { Ok(()) } else { Err("the process that was to be killed failed before".into()) }
}

/// The least that recovery has to do with the files in `folder`, one thread: their bytes read and checksummed, their entries sorted
/// and inserted in order.
fn floor(bench: &Bench, folder: &Path) -> Outcome<Duration> {
    let count = bench.plan.logged_entries();
    let order = Order::new(count, bench.options.seed);
    let mut keys: Vec<(Key, SeqNo)> =
        order.iter().zip(1..).filter_map(|(number, seqno)| Some((key(number), SeqNo::new(seqno)?))).collect();
    let mut value = Vec::new();
    bench.values.fill(0, 0, &mut value);
    let pool = RegionPool::new(&Budget::unlimited("floor"), bench.plan.logged().write_buffer, 1, || {})?;
    let region = pool.coordinator().take().expect("a new pool has its region");
    let begun = Instant::now();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            black_box(xxh3_64(&fs::read(path)?));
        }
    }
    keys.sort_unstable();
    let writer = region.writer();
    let index = DefaultIndex::create(region.lease(), &writer)?;
    for (key, seqno) in &keys {
        index.insert(&writer, EntryRef { key, seqno: *seqno, kind: Kind::Put, value: &value })?;
    }
    Ok(begun.elapsed())
}

/// The child: fills the store in `folder`, says so, and waits to be killed.
pub fn fill_and_wait(bench: &Bench, folder: &Path) -> Outcome<()> {
    let store = bench.open(folder, bench.plan.logged())?;
    let order = Order::new(bench.plan.logged_entries(), bench.options.seed);
    bench.put_all(&*store, order.iter(), 0)?;
    println!("{FILLED}");
    // Ends with the process that started this one, if that forgets it.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
