//! The commit queue: how batches of many threads reach the log, one after the other and many at a time.
//!
//! 1. Under the writer's lock a batch gets its permit and its sequence numbers. Where the log is mapped and nobody asks for
//!    a sync, its frame goes straight to its place in the file, and that was the log's part.
//! 2. Otherwise the frame goes behind those of the *group* that is being gathered. Whoever finds the *turn* on the file free
//!    takes it and the group (the leader), stores all frames at once without the lock, syncs once if a member wants that, and
//!    gives the turn back. Meanwhile the next group gathers; its first member leads it. Before a sync the leader waits a moment
//!    for members that are likely to come ([`CommitDelay`](delay::CommitDelay)).
//! 3. With its record in the log each member fills the memtable, on its own thread and permit, and is published in order
//!    ([`Order`]).
//!
//! A lone writer finds the turn free and leads itself: two uncontended locks more than the store, no event, no allocation.
//!
//! - **Nobody waits for the turn while holding the lock**, and who waits is woken through an event: the first member of a
//!   group, and whoever wants the log for himself, when the turn comes back; the other members when their group is settled.
//! - **A full disk fails nobody for good.** Nothing of the group is left in the log, its numbers are given again, and its
//!   members try again. Any other failure of a store, and any failure of a sync, poisons the database.
//! - **Buffered writes** are acknowledged in the group while nobody waits in it; they stay in memory until the group has
//!   64 KiB or a member. What survives is a prefix.

mod delay;
mod order;
mod queue;

use kausal_arena::Permit;
use kausal_arena::sync::MutexGuard;
use kausal_index::{BlockIndex, SeqNo};

pub(crate) use order::{IsFreezing, Order, OrderBroken};
pub(crate) use queue::WriteState;
use queue::{DiskFull, Group, Recovered, Turn};

use crate::changes::Changes;
use crate::core::Core;
use crate::error::{Error, is_disk_full};
use crate::event::Event;
use crate::options::Durability;
use crate::planted::is_planted;
use crate::scheduler::Waited;
use crate::wal::{FrameBytes, PreviousLog, WalWriter, store_frames};

/// Bytes of buffered writes that are kept in memory before they go to the kernel.
const BUFFERED_BYTES_MAX: usize = 64 << 10;

/// What wakes those who wait in the queue.
#[derive(Debug, Default)]
pub(crate) struct QueueEvents {
    /// The turn came back, or a fence fell.
    turn: Event,
    /// A group is settled: one for even numbers, one for odd ones, so that the next group sleeps on.
    settled: [Event; 2],
    /// The gathered group has the members that its leader waits for, or no room for them.
    gathered: Event,
}

impl QueueEvents {
    /// Wakes everybody.
    pub(crate) fn signal_all(&self) {
        self.turn.signal();
        self.settled.iter().for_each(Event::signal);
        self.gathered.signal();
    }
}

/// A batch whose record is in the log, or on its way there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered {
    pub(crate) first: SeqNo,
    pub(crate) last: SeqNo,
}

/// What became of a batch's record.
#[derive(Debug)]
pub(crate) enum Logged {
    /// It is there, as durable as was asked for.
    Yes(Numbered),
    /// It is not; the lock was given up meanwhile: begin again.
    Again,
    /// It is not: the disk is full.
    DiskFull,
}

pub(crate) type Guard<'a> = MutexGuard<'a, WriteState>;

impl<I: BlockIndex + 'static> Core<I> {
    /// The writer's lock, when no fence stands.
    pub(crate) fn lock_writer(&self) -> Result<Guard<'_>, Error> {
        let mut state = self.writer.lock();
        self.health.check()?;
        while state.is_fenced {
            if state.fenced_by.is_some_and(|owner| owner == std::thread::current().id()) {
                return Err(Error::invalid(
                    "a write from within an ingestion would wait for its end for ever",
                ));
            }
            state = self.wait_for_turn(state);
            self.health.check()?;
        }
        Ok(state)
    }

    /// The writer's lock when every batch that has a number is in the log, but for acknowledged buffered ones, which are in
    /// memory.
    pub(crate) fn lock_quiet(&self) -> Result<Guard<'_>, Error> {
        let mut state = self.lock_writer()?;
        while !state.is_quiet() || state.is_fenced {
            state = self.approach_turn(state);
            self.health.check_poisoned()?;
        }
        Ok(state)
    }

    /// The writer's lock when every batch that has a number is visible. Later ones wait meanwhile.
    pub(crate) fn lock_alone(&self) -> Result<Guard<'_>, Error> {
        let mut state = self.lock_writer()?;
        if state.is_quiet() && self.order.visible() == state.last_seqno {
            return Ok(state);
        }
        state.is_fenced = true;
        let result = self.wait_alone(state);
        let mut state = self.writer.lock();
        state.is_fenced = false;
        if state.waiting > 0 {
            self.queue_events.turn.signal();
        }
        result.map(|()| state)
    }

    /// Keeps every other writer out, when every batch that has a number is visible, until the fence falls. Nobody is held by a
    /// lock meanwhile.
    pub(crate) fn fence(&self) -> Result<Fence<'_, I>, Error> {
        let mut state = self.lock_writer()?;
        state.is_fenced = true;
        let fence = Fence { core: self };
        self.wait_alone(state)?;
        Ok(fence)
    }

    /// Publishes a batch that is durable without the log. The caller has a fence.
    pub(crate) fn publish_alone(&self, first: SeqNo, last: SeqNo) -> Result<(), Error> {
        let mut state = self.writer.lock();
        debug_assert!(state.is_fenced && state.is_quiet());
        state.last_seqno = last;
        state.group.base = last;
        drop(state);
        let finished = self.order.finish(first, last, &*self.environment.scheduler);
        finished.map(|_| ()).map_err(|OrderBroken| self.broken())
    }

    /// Waits behind a fence until every batch that has a number is visible.
    fn wait_alone<'a>(&'a self, mut state: Guard<'a>) -> Result<(), Error> {
        while !state.is_quiet() {
            state = self.approach_turn(state);
            self.health.check_poisoned()?;
        }
        // Nobody gets a number behind the fence.
        let last = state.last_seqno;
        drop(state);
        self.order.wait_until(last, &*self.environment.scheduler).map_err(|_| self.broken())
    }

    /// Waits for the turn, or takes it for the group that is there. The caller looks again.
    pub(crate) fn approach_turn<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        if state.turn.is_none() || state.is_quiet() {
            return self.wait_for_turn(state);
        }
        // What comes of it is told to its members.
        let _ = self.lead(state, false);
        self.writer.lock()
    }

    fn wait_for_turn<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        state.waiting += 1;
        let mut state = self.wait_for(state, &self.queue_events.turn);
        state.waiting -= 1;
        state
    }

    fn wait_for<'a>(&'a self, state: Guard<'a>, event: &Event) -> Guard<'a> {
        // Under the lock: what happens from here on moves the event past it.
        let ticket = event.ticket();
        drop(state);
        self.environment.scheduler.wait(event, ticket, None);
        self.writer.lock()
    }

    /// Numbers a batch and brings its record to the log.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Poisoned`], [`Error::MemoryBudget`], [`Error::SequenceExhausted`].
    pub(crate) fn log(
        &self,
        mut state: Guard<'_>,
        permit: &Permit,
        changes: &impl Changes,
        durability: Durability,
    ) -> Result<Logged, Error> {
        let count = changes.count() as u64;
        let first = state.last_seqno.checked_add(1).ok_or(Error::SequenceExhausted)?;
        let last = state.last_seqno.checked_add(count).ok_or(Error::SequenceExhausted)?;
        let (numbered, bytes) = (Numbered { first, last }, FrameBytes::of(changes));
        if durability != Durability::Power && state.can_fill() {
            match state.log.fill(permit, bytes, first, changes) {
                Ok(true) => {
                    state.last_seqno = last;
                    state.group.begin = state.log.len();
                    state.group.base = last;
                    return Ok(Logged::Yes(numbered));
                }
                Ok(false) => {}
                Err(error) if is_disk_full(&error) => return Ok(Logged::DiskFull),
                Err(error) => return Err(self.fail_store(&state.log, error)),
            }
        }
        self.log_in_group(state, permit, changes, durability, numbered, bytes)
    }

    fn log_in_group(
        &self,
        mut state: Guard<'_>,
        permit: &Permit,
        changes: &impl Changes,
        durability: Durability,
        numbered: Numbered,
        bytes: FrameBytes,
    ) -> Result<Logged, Error> {
        let group_bytes_max = (self.plan.wal.ceiling() / 16).clamp(BUFFERED_BYTES_MAX, 1 << 20);
        if !state.has_room(bytes.total(), group_bytes_max) {
            drop(self.approach_group(state));
            return Ok(Logged::Again);
        }
        if let Err(error) = state.group.frames.reserve(bytes.total(), group_bytes_max) {
            if state.turn.is_some() {
                return Err(error.into());
            }
            // Its memory comes back with the turn.
            drop(self.wait_for_turn(state));
            return Ok(Logged::Again);
        }
        let WriteState { log, group, turn, last_seqno, .. } = &mut *state;
        log.frame_into(&mut group.frames.bytes, permit, bytes, numbered.first, changes);
        *last_seqno = numbered.last;
        let is_kept = durability == Durability::Buffered && group.frames.bytes.len() <= BUFFERED_BYTES_MAX;
        if is_kept && group.members == 0 && turn.is_some() {
            group.acknowledge(numbered.last);
            return Ok(Logged::Yes(numbered));
        }
        let stored = self.join(state, durability == Durability::Power)?;
        Ok(if stored.is_ok() { Logged::Yes(numbered) } else { Logged::DiskFull })
    }

    /// For a group that is full: sees to it that it is stored, whether or not somebody waits in it.
    fn approach_group<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        if state.turn.is_none() {
            if std::mem::take(&mut state.awaited) > 0 {
                self.queue_events.gathered.signal();
            }
            return self.wait_for_turn(state);
        }
        let _ = self.lead(state, false);
        self.writer.lock()
    }

    /// Becomes a member of the group that is gathered, and waits until it is stored, or stores it.
    fn join<'a>(&'a self, mut state: Guard<'a>, wants_sync: bool) -> Result<Result<(), DiskFull>, Error> {
        let number = state.group.number;
        let event = match state.group.members {
            0 => &self.queue_events.turn,
            _ => &self.queue_events.settled[(number % 2) as usize],
        };
        state.group.members += 1;
        state.group.wants_sync |= wants_sync;
        if state.group.members == state.awaited {
            state.awaited = 0;
            self.queue_events.gathered.signal();
        }
        loop {
            if let Some(outcome) = state.outcome(number) {
                return Ok(outcome);
            }
            self.health.check_poisoned()?;
            if state.turn.is_some() {
                debug_assert_eq!(
                    state.group.number, number,
                    "an earlier group is settled when the turn is free"
                );
                return self.lead(state, true);
            }
            state.waiting += 1;
            state = self.wait_for(state, event);
            state.waiting -= 1;
        }
    }

    /// Lets the group grow to the size that is expected of it, up to the commit delay. The caller has the turn.
    fn gather<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let members = state.group.members;
        let Some((expected, longest)) = state.delay.begin(members) else { return state };
        let deadline = self.environment.clock.now() + longest;
        state.awaited = expected;
        while state.awaited > 0 {
            // Under the lock: who comes from here on moves the event past it.
            let ticket = self.queue_events.gathered.ticket();
            drop(state);
            let waited = self.environment.scheduler.wait(&self.queue_events.gathered, ticket, Some(deadline));
            state = self.writer.lock();
            if waited == Waited::DeadlinePassed {
                break;
            }
        }
        state.awaited = 0;
        let is_vain = state.group.members < expected;
        state.delay.end(is_vain);
        state
    }

    /// Takes the turn, stores the group that is gathered, and gives the turn back.
    fn lead<'a>(&'a self, mut state: Guard<'a>, is_member: bool) -> Result<Result<(), DiskFull>, Error> {
        let mut leader = Leader { core: self, turn: Some(state.take_turn()) };
        if is_member && state.group.wants_sync {
            state = self.gather(state);
        }
        let turn = leader.turn.as_mut().expect("taken above");
        let group = state.take_group(turn);
        let file = std::sync::Arc::clone(state.log.file());
        drop(state);
        self.environment.scheduler.let_others_go();
        let is_cut = group.members > 1 && is_planted("lose_last_of_group");
        let frames = &group.frames.bytes[..group.frames.bytes.len() - usize::from(is_cut)];
        let reserved = group.wants_sync.then_some(&mut turn.reserved_bytes);
        let recovered = if group.wants_sync { self.confirm_recovered(&mut turn.recovered) } else { Ok(()) };
        let stored = recovered.and_then(|()| match frames {
            [] => Ok(()),
            frames => store_frames(&*file, group.begin, frames, reserved),
        });
        let synced = match stored {
            Ok(()) if group.wants_sync => {
                let begun = self.environment.clock.now();
                let synced = self.sync_behind(turn, &*file, &group);
                let took = self.environment.clock.now().saturating_sub(begun);
                self.metrics.count_sync(took);
                Some(synced.map(|()| took))
            }
            _ => None,
        };
        let mut state = self.writer.lock();
        let turn = leader.turn.take().expect("taken above");
        let (number, members, waiting) = (group.number, group.members, state.waiting);
        let outcome = match (stored, synced) {
            (Ok(()), synced @ (None | Some(Ok(_)))) => {
                self.metrics.count_group(group.members);
                if let Some(Ok(took)) = synced {
                    let gathered = state.group.members;
                    state.delay.note_sync(members, gathered, took);
                }
                state.settle(turn, group);
                Ok(Ok(()))
            }
            (Err((error, true)), _) if is_disk_full(&error) => {
                state.fail(turn, group, is_member);
                drop(state);
                self.queue_events.signal_all();
                return Ok(Err(DiskFull));
            }
            (Err((error, _)), _) => Err(self.fail_store(&state.log, error)),
            (Ok(()), Some(Err(error))) => {
                self.poison(&error);
                Err(error)
            }
        };
        drop(state);
        if waiting > 0 {
            self.queue_events.turn.signal();
            if members > 1 || !is_member {
                self.queue_events.settled[(number % 2) as usize].signal();
            }
        }
        outcome
    }

    /// Makes the logs durable that the oldest memtable was recovered from, unless it is in tables meanwhile.
    ///
    /// # Errors
    ///
    /// As the system gives them, and whether nothing has happened and it may be tried again.
    fn confirm_recovered(&self, recovered: &mut Option<Recovered>) -> Result<(), (std::io::Error, bool)> {
        if is_planted("recovered_log_not_synced") {
            return Ok(());
        }
        while let Some(log) = recovered.as_ref().and_then(|recovered| recovered.logs.last()) {
            if self.recovered_logs().is_empty() {
                break;
            }
            match log.confirm(&*self.environment.vfs, &self.directory, self.database_id) {
                // The flush that ended meanwhile has removed it.
                Err((error, _))
                    if error.kind() == std::io::ErrorKind::NotFound && self.recovered_logs().is_empty() => {}
                confirmed => confirmed?,
            }
            recovered.as_mut().and_then(|recovered| recovered.logs.pop());
        }
        *recovered = None;
        Ok(())
    }

    /// Makes everything up to the end of `group` durable: the name of the log, older logs, then itself.
    fn sync_behind(
        &self,
        turn: &mut Turn,
        file: &dyn crate::vfs::LogFile,
        group: &Group,
    ) -> Result<(), Error> {
        if !turn.is_name_synced {
            let vfs = &self.environment.vfs;
            vfs.sync_dir(&self.directory).map_err(Error::io("sync", &self.directory))?;
            turn.is_name_synced = true;
        }
        if !turn.unsynced.is_empty() {
            let oldest = self.oldest_log();
            turn.unsynced.retain(|log| log.number() >= oldest);
            turn.unsynced.iter_mut().try_for_each(WalWriter::sync)?;
            turn.unsynced.clear();
        }
        let end = group.begin + group.frames.bytes.len() as u64;
        let mut synced = file.sync_to(end);
        if synced.is_err() && is_planted("retry_after_failed_fsync") {
            synced = file.sync_to(end);
        }
        synced.map_err(Error::io("sync", &self.directory))
    }

    /// Makes everything logged so far durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Poisoned`], [`Error::Stalled`] if buffered writes found the disk full.
    pub(crate) fn sync_logs(&self) -> Result<(), Error> {
        let state = self.writer.lock();
        self.health.check_poisoned()?;
        self.join(state, true)?.map_err(|DiskFull| Error::disk_full())
    }

    /// Brings acknowledged buffered writes to the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Stalled`] if the disk is full: they stay in memory.
    pub(crate) fn store_buffered(&self, state: &mut WriteState) -> Result<(), Error> {
        debug_assert!(state.is_quiet());
        let frames = &mut state.group.frames.bytes;
        if frames.is_empty() {
            return Ok(());
        }
        match store_frames(&**state.log.file(), state.group.begin, frames, None) {
            Ok(()) => {
                frames.clear();
                (state.group.begin, state.group.acknowledged_bytes) = (state.log.len(), 0);
                Ok(())
            }
            Err((error, true)) if is_disk_full(&error) => Err(Error::disk_full()),
            Err((error, _)) => Err(self.fail_store(&state.log, error)),
        }
    }

    /// Begins `log` behind the current one. The caller has stored what was buffered.
    pub(crate) fn begin_log(&self, state: &mut WriteState, log: WalWriter) {
        debug_assert!(state.is_quiet() && state.group.frames.bytes.is_empty());
        let old = std::mem::replace(&mut state.log, log);
        state.group.begin = state.log.len();
        // What is allocated behind its end stays for the moments until its flush removes it: to cut it off may wait for the file
        // system's journal, and every writer with it. Zeros count as nothing to whoever recovers it.
        let turn = state.turn.as_mut().expect("the queue is quiet");
        (turn.is_name_synced, turn.reserved_bytes) = (false, 0);
        if !old.is_synced() {
            turn.unsynced.push(old);
        }
    }

    /// Lets go of logs whose memtables are in tables: their files are closed, which gives their space back. Holds no lock
    /// meanwhile. Answers whether nobody has one of them any more.
    pub(crate) fn forget_flushed_logs(&self) -> bool {
        let oldest = self.oldest_log();
        let mut state = self.writer.lock();
        // Who has the turn keeps them until the next flush, or syncs and forgets them himself.
        let gone: Option<Vec<WalWriter>> = state.turn.as_mut().map(|turn| {
            // What was recovered is in the oldest memtable.
            turn.recovered.take_if(|_| self.recovered_logs().is_empty());
            turn.unsynced.extract_if(.., |log| log.number() < oldest).collect()
        });
        drop(state);
        gone.is_some()
    }

    /// How the current log ends; what a mapping has allocated behind it is cut off. The caller has synced it.
    pub(crate) fn end_log(&self, state: &mut WriteState) -> PreviousLog {
        state.log.cut_tail();
        PreviousLog::of(&state.log)
    }

    /// Poisons the database after a store that failed for another reason than a full disk.
    fn fail_store(&self, log: &WalWriter, error: std::io::Error) -> Error {
        let error = Error::io("write", log.path())(error);
        self.poison(&error);
        error
    }

    /// The error of those who wait behind a writer that ended in a panic.
    pub(crate) fn broken(&self) -> Error {
        self.health.check_poisoned().err().unwrap_or(Error::BackgroundPanic)
    }
}

/// Other writers wait while this lives.
pub(crate) struct Fence<'a, I: BlockIndex + 'static> {
    core: &'a Core<I>,
}

impl<I: BlockIndex + 'static> Fence<'_, I> {
    /// Writes of this thread are refused from here on, rather than wait for the thread itself: somebody else's code runs behind
    /// the fence.
    pub(crate) fn refuse_own_writes(&self) {
        self.core.writer.lock().fenced_by = Some(std::thread::current().id());
    }
}

impl<I: BlockIndex + 'static> Drop for Fence<'_, I> {
    fn drop(&mut self) {
        let mut state = self.core.writer.lock();
        (state.is_fenced, state.fenced_by) = (false, None);
        let waiting = state.waiting;
        drop(state);
        if waiting > 0 {
            self.core.queue_events.turn.signal();
        }
    }
}

/// Whoever has the turn. If it does not come back, because the file system's code panicked, nobody waits for it for ever.
struct Leader<'a, I: BlockIndex + 'static> {
    core: &'a Core<I>,
    turn: Option<Turn>,
}

impl<I: BlockIndex + 'static> Drop for Leader<'_, I> {
    fn drop(&mut self) {
        if self.turn.is_some() {
            self.core.poison(&Error::BackgroundPanic);
        }
    }
}
