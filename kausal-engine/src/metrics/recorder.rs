//! Where everything is counted while it happens.
//!
//! 1. What look-ups and writes count lies in a cell of their thread, on cache lines of its own
//!    ([`PerThread`]): a plain load and store, no lock, and no read-modify-write of a word that another thread writes.
//!    Threads beyond the table share one cell, and pay a read-modify-write for each count; they are not sampled.
//! 2. One operation in 64 of a thread is measured: no other asks the clock.
//! 3. What jobs and groups count is counted once for a file or a sync: shared words are good enough there.
//!
//! The cells are charged to a node of the budget; their number depends on the budget, their size on nothing.

use std::time::Duration;

use kausal_arena::sync::{AtomicU64, Mutex, Ordering};
use kausal_arena::{AllocError, Budget, PerThread, Reservation};

use crate::clock::Clock;
use crate::level0::Done;
use crate::metrics::latency::{Durations, Sum};
use crate::metrics::{LevelFlow, Metrics, StallReason, StallTotals};
use crate::read::Origin;
use crate::stats::Counter;
use crate::version::LEVEL_COUNT;

/// One operation in so many is measured.
const SAMPLED_ONE_IN: u64 = 64;

/// Bytes that a thread writes between two looks at whether writers have to slow down.
const LOOK_BYTES: u64 = 16 << 10;

/// Counts of a thread: look-ups by where they ended, and writes.
const ABSENT: usize = 0;
const MEMTABLE: usize = 1;
const LEVEL0: usize = 2;
const WRITES: usize = LEVEL0 + LEVEL_COUNT;
const CHANGES: usize = WRITES + 1;
const BYTES: usize = CHANGES + 1;
const TICKS: usize = BYTES + 1;
const VISITS: usize = TICKS + 1;
const COUNTS: usize = VISITS + 1;

/// What one thread counts.
#[derive(Debug)]
struct Cell {
    counts: [AtomicU64; COUNTS],
    gets: Durations,
    writes: Durations,
}

impl Cell {
    fn new() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { counts, gets: Durations::new(), writes: Durations::new() }
    }

    /// Adds to a count that only this thread writes. Answers what was there.
    #[inline]
    fn add(&self, count: usize, more: u64) -> u64 {
        // Relaxed: a statistic; nothing is published by it.
        let before = self.counts[count].load(Ordering::Relaxed);
        self.counts[count].store(before.wrapping_add(more), Ordering::Relaxed);
        before
    }

    fn get(&self, count: usize) -> u64 {
        self.counts[count].load(Ordering::Relaxed)
    }
}

/// When a sampled operation began.
pub(crate) type Begun = Option<Duration>;

/// Counts of levels, as they are kept.
#[derive(Debug, Default)]
struct LevelCounters {
    compactions: Counter,
    bytes_in: Counter,
    bytes_merged: Counter,
    bytes_out: Counter,
    bytes_moved: Counter,
}

/// Counts everything of one database.
#[derive(Debug)]
pub(crate) struct Recorder {
    cells: PerThread<Cell>,
    /// Of the threads beyond the table.
    shared: [AtomicU64; COUNTS],
    syncs: Mutex<Durations>,
    group_count: Counter,
    group_writes: Counter,
    group_writes_max: AtomicU64,
    levels: [LevelCounters; LEVEL_COUNT],
    stalls: Mutex<[StallTotals; StallReason::COUNT]>,
    _charge: Reservation,
}

impl Recorder {
    /// A recorder with cells for 32 threads, or for 128 with a budget of 32 MiB and more.
    pub(crate) fn new(root: &Budget) -> Result<Self, AllocError> {
        let threads = if root.ceiling() < 32 << 20 { 32 } else { 128 };
        let bytes = PerThread::<Cell>::bytes(threads) + size_of::<Self>();
        let charge = root.child("metrics", bytes, bytes)?.reserve(bytes)?;
        Ok(Self {
            cells: PerThread::new(threads, Cell::new),
            shared: std::array::from_fn(|_| AtomicU64::new(0)),
            syncs: Mutex::new(Durations::new()),
            group_count: Counter::default(),
            group_writes: Counter::default(),
            group_writes_max: AtomicU64::new(0),
            levels: std::array::from_fn(|_| LevelCounters::default()),
            stalls: Mutex::new([StallTotals::default(); StallReason::COUNT]),
            _charge: charge,
        })
    }

    /// Begins an operation: the time, if this one is measured.
    #[inline]
    pub(crate) fn begin(&self, clock: &dyn Clock) -> Begun {
        let is_sampled =
            self.cells.with(|cell| cell.is_some_and(|cell| cell.add(TICKS, 1) % SAMPLED_ONE_IN == 0));
        is_sampled.then(|| clock.now())
    }

    /// Counts one of several operations that nobody measures.
    #[inline]
    pub(crate) fn count_get(&self, origin: Option<Origin>) {
        self.end_get(None, origin, None);
    }

    /// Ends a look-up of one key that ended at `origin`.
    #[inline]
    pub(crate) fn end_get(&self, begun: Begun, origin: Option<Origin>, clock: Option<&dyn Clock>) {
        let place = match origin {
            None => ABSENT,
            Some(Origin::Memtable) => MEMTABLE,
            Some(Origin::Table { level, .. }) => LEVEL0 + usize::from(level),
        };
        self.cells.with(|cell| match cell {
            Some(cell) => {
                cell.add(place, 1);
                if let (Some(begun), Some(clock)) = (begun, clock) {
                    cell.gets.note(clock.now().saturating_sub(begun));
                }
            }
            None => self.count_shared(place, 1),
        });
    }

    /// Counts a visit of a cursor to what is written.
    #[inline]
    pub(crate) fn count_visit(&self) {
        self.cells.with(|cell| match cell {
            Some(cell) => _ = cell.add(VISITS, 1),
            None => self.count_shared(VISITS, 1),
        });
    }

    /// Ends a write of `changes` with `bytes` of keys and values, in the memtable or in tables of its own.
    #[inline]
    pub(crate) fn end_write(&self, begun: Begun, changes: usize, bytes: usize, clock: &dyn Clock) {
        self.cells.with(|cell| match cell {
            Some(cell) => {
                cell.add(WRITES, 1);
                cell.add(CHANGES, changes as u64);
                cell.add(BYTES, bytes as u64);
                if let Some(begun) = begun {
                    cell.writes.note(clock.now().saturating_sub(begun));
                }
            }
            None => {
                self.count_shared(WRITES, 1);
                self.count_shared(CHANGES, changes as u64);
                self.count_shared(BYTES, bytes as u64);
            }
        });
    }

    /// Whether this thread, with `bytes` more, has written enough to look whether writers have to slow down.
    #[inline]
    pub(crate) fn is_time_to_look(&self, bytes: usize) -> bool {
        self.cells.with(|cell| {
            let Some(cell) = cell else { return true };
            let before = cell.get(BYTES);
            before / LOOK_BYTES != (before + bytes as u64) / LOOK_BYTES
        })
    }

    #[cold]
    fn count_shared(&self, count: usize, more: u64) {
        self.shared[count].fetch_add(more, Ordering::Relaxed);
    }

    /// Counts a group of `writes` that reached the log together.
    pub(crate) fn count_group(&self, writes: usize) {
        self.group_count.add(1);
        self.group_writes.add(writes as u64);
        self.group_writes_max.fetch_max(writes as u64, Ordering::Relaxed);
    }

    /// Counts a sync of the log.
    pub(crate) fn count_sync(&self, took: Duration) {
        self.syncs.lock().note(took);
    }

    /// Counts a compaction into `level`: bytes that came from above, that were there, and that are there instead.
    pub(crate) fn count_compaction(&self, level: usize, bytes_in: u64, bytes_merged: u64, bytes_out: u64) {
        let counters = &self.levels[level];
        counters.compactions.add(1);
        counters.bytes_in.add(bytes_in);
        counters.bytes_merged.add(bytes_merged);
        counters.bytes_out.add(bytes_out);
    }

    /// Counts tables that came to `level` as they were.
    pub(crate) fn count_move(&self, level: usize, bytes: u64) {
        self.levels[level].bytes_moved.add(bytes);
    }

    /// Counts a stall that has ended.
    pub(crate) fn count_stall(&self, reason: StallReason, waited: Duration) {
        let totals = &mut self.stalls.lock()[reason.place()];
        totals.count += 1;
        totals.total += waited;
        totals.longest = totals.longest.max(waited);
    }

    fn sum(&self, count: usize) -> u64 {
        let shared = self.shared[count].load(Ordering::Relaxed);
        self.cells.all().fold(shared, |sum, cell| sum.wrapping_add(cell.get(count)))
    }

    /// Changes written.
    pub(crate) fn changes(&self) -> u64 {
        self.sum(CHANGES)
    }

    /// Bytes of their keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.sum(BYTES)
    }

    /// What readers and writers have done so far, as far as tables may come into it.
    pub(crate) fn done(&self) -> Done {
        let levels = (0..LEVEL_COUNT).map(|level| self.sum(LEVEL0 + level));
        let lookups = levels.fold(self.sum(ABSENT), u64::wrapping_add);
        Done { lookups, visits: self.sum(VISITS), changes: self.changes() }
    }

    /// Puts everything that is counted here into `metrics`.
    pub(crate) fn read(&self, metrics: &mut Metrics) {
        metrics.reads.absent = self.sum(ABSENT);
        metrics.reads.memtable_hits = self.sum(MEMTABLE);
        metrics.reads.level_hits = (0..LEVEL_COUNT).map(|level| self.sum(LEVEL0 + level)).collect();
        metrics.reads.visits = self.sum(VISITS);
        metrics.writes.writes = self.sum(WRITES);
        metrics.writes.changes = self.changes();
        metrics.writes.bytes = self.bytes();
        metrics.writes.groups = self.group_count.get();
        metrics.writes.group_writes = self.group_writes.get();
        metrics.writes.group_writes_max = self.group_writes_max.load(Ordering::Relaxed);
        metrics.get_latency = Sum::of(self.cells.all().map(|cell| &cell.gets)).latency();
        metrics.write_latency = Sum::of(self.cells.all().map(|cell| &cell.writes)).latency();
        metrics.sync_latency = Sum::of(std::iter::once(&*self.syncs.lock())).latency();
        metrics.writes.syncs = metrics.sync_latency.samples;
        metrics.compactions = self.levels.iter().map(LevelCounters::read).collect();
        metrics.stalls = StallReason::ALL.into_iter().zip(*self.stalls.lock()).collect();
    }
}

impl LevelCounters {
    fn read(&self) -> LevelFlow {
        LevelFlow {
            compactions: self.compactions.get(),
            bytes_in: self.bytes_in.get(),
            bytes_merged: self.bytes_merged.get(),
            bytes_out: self.bytes_out.get(),
            bytes_moved: self.bytes_moved.get(),
        }
    }
}
