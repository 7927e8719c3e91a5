//! What a store must be able to do to take part, and what it is given.
//!
//! 1. A [`Kind`] opens a [`Store`] in a folder.
//! 2. Writes are commits of their own, or a batch that is one. A commit survives the death of the process where the store
//!    can do that without a sync, and a loss of power where it is asked to.
//! 3. A [`View`] is one moment of the store. Workloads that only read have one for all of their look-ups; beside a writer,
//!    each look-up is of the present.
//!
//! Values are lent to a closure, so that nobody is made to copy one whose store need not.

use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::usage;

/// What went wrong in a store, of whatever type.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of a data block.
pub const BLOCK_BYTES: usize = 4 << 10;

/// Bits of a filter for each key.
pub const FILTER_BITS: u32 = 10;

/// Threads for flush and compaction.
pub const BACKGROUND_THREADS: usize = 2;

/// The memory that a store is given. Who has one budget for both is given the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of all memtables.
    pub write_buffer: usize,
    /// Bytes of cached blocks, or pages.
    pub cache: usize,
}

impl Memory {
    /// Half for writing, half for reading.
    pub const fn halves(bytes: usize) -> Self {
        Self { write_buffer: bytes / 2, cache: bytes / 2 }
    }

    /// All of it.
    pub const fn total(self) -> usize {
        self.write_buffer + self.cache
    }
}

/// An entry of a batch.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// Takes keys and values in order, one by one.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Outcome<()> + 'a;

/// An open store.
pub trait Store: Sync {
    /// Sets `key` to `value`, as a commit of its own.
    ///
    /// # Errors
    ///
    /// What the store reports, here and below.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// The same, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Sets all `entries`, in any order, in one commit.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()>;

    /// Removes `key`, as a commit of its own.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn delete(&self, key: &[u8]) -> Outcome<()>;

    /// Fills an empty store by the way it has for that: `source` hands entries in order to what it is given.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and what `source` answers.
    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()>;

    /// Lends the present value of `key` to `found`; answers whether there is one.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool>;

    /// Lets `work` read at the present moment.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and what `work` answers.
    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()>;

    /// Brings everything to its place: memtables to tables, tables to levels, or what there is to the disk. Answers when
    /// that was done, which is before this returns where the store has to be watched.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn settle(&self) -> Outcome<Instant>;

    /// Closes the store in order.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// One moment of a store.
pub trait View {
    /// Lends the value of `key` to `found`; answers whether there is one.
    ///
    /// # Errors
    ///
    /// What the store reports.
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool>;

    /// Lends the first `limit` keys at or after `key`, with their values; answers how many there were.
    ///
    /// # Errors
    ///
    /// What the store reports.
    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize>;
}

/// A store that is built in.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name in rows, and on the command line.
    pub name: &'static str,
    /// Opens it in a folder that exists, or finds it there.
    pub open: fn(&Path, Memory) -> Outcome<Box<dyn Store>>,
    /// The workloads that it has rows of, if not of all.
    pub workloads: Option<&'static [&'static str]>,
}

impl Kind {
    /// Whether it has rows of `workload`.
    pub fn takes_part(&self, workload: &str) -> bool {
        self.workloads.is_none_or(|workloads| workloads.contains(&workload))
    }
}

/// Waits until this process has done next to nothing for a tenth of a second, and answers since when: for stores that do not
/// say when they are done.
pub fn quiet() -> Instant {
    const WINDOW: Duration = Duration::from_millis(10);
    const WINDOWS: usize = 10;
    let mut since = Instant::now();
    let mut seen = usage::cpu();
    let mut calm = 0;
    while calm < WINDOWS {
        thread::sleep(WINDOW);
        let now = usage::cpu();
        if now.saturating_sub(seen) < WINDOW / 10 {
            calm += 1;
        } else {
            calm = 0;
            since = Instant::now();
        }
        seen = now;
    }
    since
}
