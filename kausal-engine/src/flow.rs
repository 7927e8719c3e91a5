//! Flow: writers are slowed down before they would have to stop, and whoever waits can say for what.
//!
//! A stop is a cliff: the put that finds no region waits for a whole flush, the one that finds level 0 full for a whole
//! compaction. Instead every write pays for what it brings, a little later than it could, as soon as what is to be done behind
//! it is more than the room that is left before it (the spring and gear of bLSM, Sears and Ramakrishnan, SIGMOD 2012):
//!
//! 1. **Pressure** is a number from 0 to 1. Of a flush: 0 while the active memtable has half as much room left as the flush has
//!    work left, each a share of the whole; 1 when there is no room. Of level 0: 0 up to halfway from where it is due to where
//!    writers stop, the part of a merge that is done taken off; 1 where they stop. Who is behind is asked, not how fast anything is:
//!    nothing has to be measured or configured.
//! 2. **The price** of a byte grows from 1 ns to 4 µs with the pressure, doubling twelve times on the way, so that it meets
//!    whatever the disk can do, and every writer comes to the speed of the job behind.
//! 3. **Who pays** takes a place in a line of time, and waits through the scheduler when the place is more than
//!    [`WAIT_MIN`] ahead, up to [`WAIT_MAX`]. Without pressure a write looks at one word.
//!
//! Where nothing runs that would make room, because compaction is paused or a job has met an obstacle, waiting would not help:
//! there is no pressure then, and writers go on until they have to stop.
//!
//! Invariant: nobody waits here while holding a lock.
//!
//! Not here: the stop itself, its deadline and its error. `write` has them.

use std::time::Duration;

use kausal_arena::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use kausal_index::BlockIndex;

use crate::core::Core;
use crate::event::Event;
use crate::level0::Level0Limits;
use crate::listener::EngineEvent;
use crate::metrics::StallReason;
use crate::scheduler::Lane;

/// Shorter waits are saved up: a sleep costs about 60 µs whatever was asked for.
const WAIT_MIN: Duration = Duration::from_micros(200);

/// No small write is delayed for longer, and a large one for this long more for each [`WAIT_MAX_BYTES`] of it.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// See [`WAIT_MAX`].
const WAIT_MAX_BYTES: usize = 1 << 10;

/// How often the price doubles from the least pressure to the most.
const DOUBLINGS: f64 = 12.0;

/// Parts of a job that progress is told in.
pub(crate) const PARTS: u64 = 1 << 16;

/// Of a flush, what writing its entries is; the rest are the syncs behind them, which tell no progress.
const FLUSH_WRITING: f64 = 0.6;

/// The same of a merge. It counts for less than it is: its tables leave level 0 all at once, at its very end.
const MERGE_WRITING: f64 = 0.5;

/// How far the jobs are, and what writers pay.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Of [`PARTS`]: what the running flush and the running compaction have done.
    done: [AtomicU64; 2],
    /// Whether a flush and a compaction are under way: not only queued, nor resting.
    is_running: [AtomicBool; 2],
    /// Tables of level 0 that the running compaction takes away; 0 if it takes none, or none runs.
    level0_taken: AtomicUsize,
    /// Millionths of pressure, and behind them the reason's place: what the last look saw.
    pressure: AtomicU64,
    /// The time up to which writers have taken their places.
    line: Mutex<Duration>,
    /// Never signalled: a place in the line comes with time.
    never: Event,
    current: Mutex<[Option<Waiting>; StallReason::COUNT]>,
}

/// A job is under way while this lives.
pub(crate) struct RunningJob<'a> {
    flow: &'a Flow,
    lane: Lane,
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        if self.lane == Lane::Compaction {
            // Its tables have left level 0, or stay there: either way they are not to be taken off any more.
            self.flow.level0_taken.store(0, Ordering::Relaxed);
        }
        self.flow.is_running[self.lane as usize].store(false, Ordering::Relaxed);
    }
}

/// Writers that wait for one reason.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Duration,
    writers: usize,
}

/// Why writers wait at this moment, or are slowed down.
#[derive(Clone, Debug, PartialEq)]
pub struct Stall {
    /// Why.
    pub reason: StallReason,
    /// For how long somebody has been waiting without a break. Zero if writers are slowed down and nobody waits just now.
    pub lasting: Duration,
    /// Writers that wait.
    pub writers: usize,
    /// How strong the pressure is, from 0 to 1. 1 where writers are stopped.
    pub pressure: f64,
    /// What would end it.
    pub ends_when: &'static str,
    /// Who holds what the writers wait for, as far as the engine knows.
    pub holders: Vec<String>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            done: [AtomicU64::new(0), AtomicU64::new(0)],
            is_running: [AtomicBool::new(false), AtomicBool::new(false)],
            level0_taken: AtomicUsize::new(0),
            pressure: AtomicU64::new(0),
            line: Mutex::new(Duration::ZERO),
            never: Event::new(),
            current: Mutex::new([None; StallReason::COUNT]),
        }
    }
}

impl Flow {
    /// A job runs until what this returns is dropped; a compaction takes so many tables of level 0.
    pub(crate) fn begin_job(&self, lane: Lane, level0_taken: usize) -> RunningJob<'_> {
        // Relaxed, here and below: who sees an old value slows down too little or too much for a moment.
        self.done[lane as usize].store(0, Ordering::Relaxed);
        if lane == Lane::Compaction {
            self.level0_taken.store(level0_taken, Ordering::Relaxed);
        }
        self.is_running[lane as usize].store(true, Ordering::Relaxed);
        RunningJob { flow: self, lane }
    }

    fn is_running(&self, lane: Lane) -> bool {
        self.is_running[lane as usize].load(Ordering::Relaxed)
    }

    /// A job has done so much of its work.
    pub(crate) fn advance_job(&self, lane: Lane, done: u64, all: u64) {
        let parts = (u128::from(done) * u128::from(PARTS) / u128::from(all.max(1))) as u64;
        self.done[lane as usize].store(parts.min(PARTS), Ordering::Relaxed);
    }

    /// The share of its work that a job has done.
    pub(crate) fn done(&self, lane: Lane) -> f64 {
        self.done[lane as usize].load(Ordering::Relaxed) as f64 / PARTS as f64
    }

    fn seen(&self) -> Option<(f64, StallReason)> {
        let seen = self.pressure.load(Ordering::Relaxed);
        let reason = StallReason::ALL[(seen & 0xFF) as usize % StallReason::COUNT];
        (seen > 0).then_some(((seen >> 8) as f64 / 1e6, reason))
    }

    fn set_seen(&self, pressure: f64, reason: StallReason) {
        let millionths = (pressure * 1e6) as u64;
        let seen = if millionths == 0 { 0 } else { millionths << 8 | reason.place() as u64 };
        self.pressure.store(seen, Ordering::Relaxed);
    }

    /// Takes a place in the line for `price`. Answers until when to wait, if it is worth a wait.
    fn take_place(&self, now: Duration, price: Duration, longest: Duration) -> Option<Duration> {
        let mut line = self.line.lock();
        *line = (*line).max(now) + price;
        let end = *line;
        if end - now < WAIT_MIN {
            return None;
        }
        // What is beyond the longest wait is forgiven: the pressure grows instead.
        *line = end.min(now + longest);
        Some(*line)
    }
}

/// What `bytes` cost under this pressure.
fn price(pressure: f64, bytes: usize) -> Duration {
    Duration::from_nanos((bytes as f64 * (pressure * DOUBLINGS).exp2()) as u64)
}

/// How strongly a flush presses: the room left in the active memtable against the work left of the flush, shares of each.
fn flush_pressure(room: f64, work: f64) -> f64 {
    (1.0 - 2.0 * room / work.max(1e-3)).clamp(0.0, 1.0)
}

/// How strongly level 0 presses, with so many tables and parts of tables.
fn level0_pressure(tables: f64, Level0Limits { due, stop }: Level0Limits) -> f64 {
    let begin = (due.min(stop) as f64).midpoint(stop as f64);
    let span = (stop as f64 - begin).max(1.0);
    ((tables - begin) / span).clamp(0.0, 1.0)
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Slows a write of `bytes` down, if there is pressure. Holds no lock.
    #[inline]
    pub(crate) fn slow_down(&self, bytes: usize) {
        if self.flow.seen().is_none() && !self.metrics.is_time_to_look(bytes) {
            return;
        }
        self.look_and_wait(bytes);
    }

    #[cold]
    fn look_and_wait(&self, bytes: usize) {
        let (pressure, reason) = self.pressure();
        self.flow.set_seen(pressure, reason);
        if pressure == 0.0 {
            return;
        }
        let now = self.environment.clock.now();
        let longest = WAIT_MAX + WAIT_MAX * (bytes / WAIT_MAX_BYTES) as u32;
        let Some(until) = self.flow.take_place(now, price(pressure, bytes), longest) else { return };
        let _stall = self.begin_stall(reason);
        self.environment.scheduler.wait(&self.flow.never, self.flow.never.ticket(), Some(until));
    }

    /// The strongest pressure now, and its reason.
    fn pressure(&self) -> (f64, StallReason) {
        let tables = self.memtables.tables();
        let active = &tables.active;
        let fill = active.used_bytes() as f64 / active.capacity_bytes().max(1) as f64;
        let flush = if self.memtables.can_rotate() || !self.flow.is_running(Lane::Flush) {
            0.0
        } else {
            flush_pressure(1.0 - fill, 1.0 - FLUSH_WRITING * self.flow.done(Lane::Flush))
        };
        let level0 = self.level0_pressure(fill + tables.frozen.len() as f64);
        if level0 > flush { (level0, StallReason::Level0Pace) } else { (flush, StallReason::FlushPace) }
    }

    /// Whether writers are slowed down or stopped by a flush.
    pub(crate) fn is_flush_awaited(&self) -> bool {
        let is_slowed = self.flow.seen().is_some_and(|seen| seen.1 == StallReason::FlushPace);
        is_slowed && self.flow.is_running(Lane::Flush)
    }

    fn level0_pressure(&self, in_memory: f64) -> f64 {
        if !self.flow.is_running(Lane::Compaction) || !self.compaction_policy.merges() {
            return 0.0;
        }
        let on_disk = self.read_view(|view| view.version.level0_count());
        let taken = self.flow.level0_taken.load(Ordering::Relaxed) as f64;
        let tables = on_disk as f64 + in_memory - taken * MERGE_WRITING * self.flow.done(Lane::Compaction);
        level0_pressure(tables, self.level0_limits())
    }

    /// Notes that a writer waits, until what this returns is dropped.
    pub(crate) fn begin_stall(&self, reason: StallReason) -> StallGuard<'_, I> {
        if reason == StallReason::Disk {
            self.clear_spare_tables();
        }
        let begun = self.environment.clock.now();
        let mut current = self.flow.current.lock();
        let waiting = current[reason.place()].get_or_insert(Waiting { since: begun, writers: 0 });
        waiting.writers += 1;
        let is_first = waiting.writers == 1;
        drop(current);
        // A writer that is slowed down waits a thousand times a second.
        if is_first && !reason.is_pace() {
            self.events.tell(|| EngineEvent::StallBegun { reason });
        }
        StallGuard { core: self, reason, begun }
    }

    /// Why writers wait now, or are slowed down; `None` if nothing is in their way.
    pub(crate) fn explain_stall(&self) -> Option<Stall> {
        let now = self.environment.clock.now();
        let current = *self.flow.current.lock();
        let seen = self.flow.seen();
        let stopped = StallReason::ALL.into_iter().find(|reason| current[reason.place()].is_some());
        let reason = stopped.or(seen.map(|seen| seen.1))?;
        let waiting = current[reason.place()];
        let pressure = if reason.is_pace() { seen.map_or(0.0, |seen| seen.0) } else { 1.0 };
        Some(Stall {
            reason,
            lasting: waiting.map_or(Duration::ZERO, |waiting| now.saturating_sub(waiting.since)),
            writers: waiting.map_or(0, |waiting| waiting.writers),
            pressure,
            ends_when: ends_when(reason),
            holders: self.holders(reason),
        })
    }

    fn holders(&self, reason: StallReason) -> Vec<String> {
        let percent = |lane| 100.0 * self.flow.done(lane);
        match reason {
            StallReason::Memtables | StallReason::FlushPace => {
                let frozen = &self.memtables.tables().frozen;
                if frozen.is_empty() && !self.memtables.can_rotate() {
                    return vec!["a reader that keeps a memtable whose flush has ended".to_owned()];
                }
                let flushing = |memtable: &std::sync::Arc<
                    kausal_memtable::Memtable<_, crate::generation::Generation>,
                >| {
                    let log = memtable.attached().log();
                    format!("memtable of log {log}, {} entries", memtable.len())
                };
                let mut holders: Vec<String> = frozen.iter().map(flushing).collect();
                if let Some(oldest) = holders.first_mut() {
                    oldest.push_str(&format!(", {:.0} % written", percent(Lane::Flush)));
                }
                holders
            }
            StallReason::Level0 | StallReason::Level0Pace => {
                let tables = self.read_view(|view| view.version.level0_count());
                let mut holders = vec![format!("{tables} tables in level 0")];
                if self.flow.is_running(Lane::Compaction) {
                    holders.push(format!("a compaction, {:.0} % merged", percent(Lane::Compaction)));
                }
                if self.background.is_paused() {
                    holders.push("whoever paused compaction".to_owned());
                }
                holders
            }
            StallReason::Disk => {
                let free = self.environment.vfs.free_space(&self.directory);
                free.map(|free| format!("others on the file system: {free} bytes are free"))
                    .into_iter()
                    .collect()
            }
            StallReason::Memory => {
                let report = self.plan.root.report();
                let mut nodes: Vec<_> = report.nodes().iter().filter(|node| node.depth == 1).collect();
                nodes.sort_by_key(|node| std::cmp::Reverse(node.used));
                nodes.iter().take(3).map(|node| format!("{}: {} bytes", node.name, node.used)).collect()
            }
        }
    }
}

fn ends_when(reason: StallReason) -> &'static str {
    match reason {
        StallReason::Memtables => "a memtable is flushed and its last reader has gone",
        StallReason::Level0 => "a compaction has taken tables out of level 0",
        StallReason::Disk => "there is room on the disk",
        StallReason::Memory => "a reader gives memory back",
        StallReason::FlushPace => "the flush is ahead of the active memtable again",
        StallReason::Level0Pace => "compaction is ahead of the flushes again",
    }
}

/// A writer waits while this lives.
pub(crate) struct StallGuard<'a, I: BlockIndex + 'static> {
    core: &'a Core<I>,
    reason: StallReason,
    begun: Duration,
}

impl<I: BlockIndex + 'static> StallGuard<'_, I> {
    pub(crate) fn reason(&self) -> StallReason {
        self.reason
    }
}

impl<I: BlockIndex + 'static> Drop for StallGuard<'_, I> {
    fn drop(&mut self) {
        let (core, reason) = (self.core, self.reason);
        let waited = core.environment.clock.now().saturating_sub(self.begun);
        let mut current = core.flow.current.lock();
        let place = &mut current[reason.place()];
        let is_last = place.as_mut().is_none_or(|waiting| {
            waiting.writers -= 1;
            waiting.writers == 0
        });
        if is_last {
            *place = None;
        }
        drop(current);
        core.metrics.count_stall(reason, waited);
        if is_last && !reason.is_pace() {
            core.events.tell(|| EngineEvent::StallEnded { reason, waited });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_presses_when_less_room_is_left_than_half_its_work() {
        assert_eq!(flush_pressure(1.0, 1.0), 0.0);
        assert_eq!(flush_pressure(0.5, 1.0), 0.0);
        assert_eq!(flush_pressure(0.25, 1.0), 0.5);
        assert_eq!(flush_pressure(0.25, 0.5), 0.0);
        assert_eq!(flush_pressure(0.0, 0.1), 1.0);
    }

    #[test]
    fn level_0_presses_from_halfway_to_where_writers_stop() {
        let pressure = |tables, due, stop| level0_pressure(tables, Level0Limits { due, stop });
        assert_eq!(pressure(8.0, 4, 12), 0.0);
        assert_eq!(pressure(10.0, 4, 12), 0.5);
        assert_eq!(pressure(12.0, 4, 12), 1.0);
        assert_eq!(pressure(30.0, 4, 12), 1.0);
        // A stop below where compaction begins presses at the stop only.
        assert_eq!(pressure(2.0, 100, 2), 0.0);
    }

    #[test]
    fn the_line_moves_with_time_and_asks_for_no_wait_beyond_the_longest() {
        let flow = Flow::default();
        let micros = Duration::from_micros;
        assert_eq!(flow.take_place(micros(1000), micros(150), WAIT_MAX), None);
        assert_eq!(flow.take_place(micros(1000), micros(150), WAIT_MAX), Some(micros(1300)));
        assert_eq!(flow.take_place(micros(1000), micros(50_000), WAIT_MAX), Some(micros(2000)));
        assert_eq!(flow.take_place(micros(9000), micros(100), WAIT_MAX), None);
    }

    #[test]
    fn the_price_of_a_byte_doubles_twelve_times() {
        assert_eq!(price(0.0, 1000), Duration::from_nanos(1000));
        assert_eq!(price(0.5, 1000), Duration::from_micros(64));
        assert_eq!(price(1.0, 1000), Duration::from_micros(4096));
    }
}
