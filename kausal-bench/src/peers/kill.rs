//! A process that is killed after its last commit, and what the next one finds.
//!
//! 1. A child fills a store, every entry a commit, and says so; it is killed (SIGKILL) then, with everything in the log.
//! 2. This process opens the store. The time is that until the first look-up has been answered.
//! 3. What is not there any more is counted. An entry that is there but wrong is an error.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::bench::Bench;
use super::data::{Order, key, number_of};
use super::store::Outcome;

/// The group of the child that fills.
pub const FILL: &str = "fill-and-wait";

/// What the child says when it has filled the store.
const FILLED: &str = "filled";

/// Fills, kills, opens.
pub fn run(bench: &Bench) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fill_and_kill(bench, folder.path())?;
    let count = bench.plan.logged_entries();
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
