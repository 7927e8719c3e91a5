//! The frame of a workload: stores in fresh folders, what is timed and what it took, what must be found afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::options::Options;
use crate::row::Row;

use super::data::{Order, Values, key, number_of};
use super::plan::{KEY_BYTES, Plan, VALUE_BYTES};
use super::store::{Kind, Memory, Outcome, Store};
use super::usage;

/// Operations between two looks at the clock.
const STRIDE: u64 = 64;

/// One process of one store.
pub struct Bench {
    /// Who is measured.
    pub kind: Kind,
    /// How much of it.
    pub plan: Plan,
    /// What is asked for.
    pub options: Options,
    /// Values of the usual length.
    pub values: Values,
    /// All numbers, shuffled: the order of filling.
    pub order: Order,
    /// All numbers in another order: that of reading, and of who is popular.
    pub other_order: Order,
}

impl Bench {
    /// A process of `kind` that does what `options` ask for.
    pub fn new(kind: Kind, options: Options) -> Self {
        let plan = Plan::new(&options);
        Self {
            kind,
            plan,
            values: Values::new(VALUE_BYTES, options.seed),
            order: Order::new(plan.entries, options.seed),
            other_order: Order::new(plan.entries, options.seed ^ 1),
            options,
        }
    }

    /// The name that `workload` has in rows.
    pub fn named(&self, workload: &str) -> String {
        format!("{workload}/{}", self.plan.entries)
    }

    /// Whether `workload` is asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.options.wants(&self.named(workload))
    }

    /// Hands a number of which less is better to who started this process.
    pub fn tell_lower(&self, workload: &str, metric: &str, value: f64, unit: &str) -> Outcome<()> {
        self.tell(workload, &Row::lower(&self.named(workload), self.kind.name, metric, value, unit))
    }

    /// The same for a number of which more is better.
    pub fn tell_higher(&self, workload: &str, metric: &str, value: f64, unit: &str) -> Outcome<()> {
        self.tell(workload, &Row::higher(&self.named(workload), self.kind.name, metric, value, unit))
    }

    /// What a store does only on its way to what it is measured by, is not told.
    fn tell(&self, workload: &str, row: &Row) -> Outcome<()> {
        if self.kind.takes_part(workload) {
            println!("{}", serde_json::to_string(row)?);
        }
        Ok(())
    }

    /// Operations in a second.
    pub fn tell_rate(&self, workload: &str, done: u64, time: Duration) -> Outcome<()> {
        self.tell_higher(workload, "rate", done as f64 / time.as_secs_f64(), "/s")
    }

    /// A new store in a folder of its own.
    pub fn fresh(&self, memory: Memory) -> Outcome<(TempDir, Box<dyn Store>)> {
        let folder = tempfile::tempdir()?;
        let store = (self.kind.open)(folder.path(), memory)?;
        Ok((folder, store))
    }

    /// The store in `folder`.
    pub fn open(&self, folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
        (self.kind.open)(folder, memory)
    }

    /// Times `work`, which writes `count` entries with values of `value_bytes`, and what comes after it in the background; tells
    /// what both took.
    pub fn filled(
        &self,
        workload: &str,
        store: &dyn Store,
        count: u64,
        value_bytes: usize,
        work: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let (cpu, written) = (usage::cpu(), usage::written());
        let begun = Instant::now();
        work()?;
        let filled = Instant::now();
        let settled = store.settle()?.max(filled);
        let per_entry = (usage::cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
        let user_bytes = count as f64 * (KEY_BYTES + value_bytes) as f64;
        self.tell_rate(workload, count, filled - begun)?;
        self.tell_higher(workload, "rate_with_settle", count as f64 / (settled - begun).as_secs_f64(), "/s")?;
        self.tell_lower(workload, "settle", (settled - filled).as_secs_f64() * 1e3, "ms")?;
        self.tell_lower(workload, "cpu", per_entry, "us")?;
        let amplification = (usage::written() - written) as f64 / user_bytes;
        self.tell_lower(workload, "bytes_written", amplification, "x")
    }

    /// Puts each of `numbers` as a commit of its own.
    pub fn put_all(&self, store: &dyn Store, numbers: impl Iterator<Item = u64>, version: u8) -> Outcome<()> {
        let mut value = Vec::new();
        for number in numbers {
            self.values.fill(number, version, &mut value);
            store.put(&key(number), &value)?;
        }
        Ok(())
    }

    /// Fills a store without being timed, and lets it settle.
    pub fn prepare(&self, store: &dyn Store) -> Outcome<()> {
        let mut numbers = self.order.iter().peekable();
        while numbers.peek().is_some() {
            self.put_batch(store, numbers.by_ref().take(1000), &self.values)?;
        }
        store.settle()?;
        Ok(())
    }

    /// Puts all of `numbers` in one commit.
    pub fn put_batch(
        &self,
        store: &dyn Store,
        numbers: impl Iterator<Item = u64>,
        values: &Values,
    ) -> Outcome<()> {
        let entries: Vec<_> = numbers
            .map(|number| {
                let mut value = Vec::new();
                values.fill(number, 0, &mut value);
                (key(number), value)
            })
            .collect();
        let entries: Vec<_> = entries.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        store.put_batch(&entries)
    }

    /// Fails unless the store holds exactly the entries of `numbers`, which are in order, with values that are `right`.
    pub fn check(
        &self,
        store: &dyn Store,
        mut numbers: impl Iterator<Item = u64>,
        right: impl Fn(u64, &[u8]) -> bool,
    ) -> Outcome<()> {
        let (mut count, mut wrong) = (0_u64, None);
        store.read(&mut |view| {
            view.scan(&key(0), usize::MAX, &mut |found, value| {
                let is_right = numbers
                    .next()
                    .is_some_and(|number| number_of(found) == Some(number) && right(number, value));
                if !is_right {
                    wrong.get_or_insert(count);
                }
                count += 1;
            })?;
            Ok(())
        })?;
        match (wrong, numbers.next()) {
            (Some(place), _) => Err(format!("entry {place} is wrong, or is not to be there").into()),
            (None, Some(number)) => Err(format!("{number} and what follows it are not there").into()),
            (None, None) => Ok(()),
        }
    }

    /// Does `work` with 0, 1, … until it was done `count` times or the time is up; answers how often, and how long that took.
    pub fn repeated(&self, count: u64, mut work: impl FnMut(u64) -> Outcome<()>) -> Outcome<(u64, Duration)> {
        let limit = Duration::from_secs(self.plan.seconds_max);
        let begun = Instant::now();
        let mut done = 0;
        while done < count {
            let until = (done + STRIDE).min(count);
            while done < until {
                work(done)?;
                done += 1;
            }
            if begun.elapsed() >= limit {
                break;
            }
        }
        Ok((done, begun.elapsed()))
    }
}
