//! Runs a script on a simulated disk, once, and compares everything that the engine answers with the model.
//!
//! An error is right only if something was made to go wrong since the last one. What it leaves is known: a write that
//! failed was not applied, unless the database takes no more writes; then it is opened again and shows what it kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::sim::{Fault, FaultCounts, SimScheduler, SimVfs};
use kausal_engine::{Durability, Error, StorageEngine, WriteBatch, WriteOptions};

use crate::counts::Counts;
use crate::machine::{Checkpoint, FOLDER, Outcome, check_memory, is_power, open, open_read_only};
use crate::model::{Model, State, name};
use crate::reads::{self, Walk};
use crate::script::{Change, Key, Member, OTHER, Op, Script, Value};
use crate::together::{Answers, Place};

/// A database while it is open.
struct Open {
    // Before the engine: they hold it open.
    walks: Vec<Walk>,
    moments: Vec<(kausal_engine::Snapshot, Arc<State>)>,
    engine: StorageEngine,
    scheduler: Arc<SimScheduler>,
}

/// How a run goes on after an operation.
enum Next {
    Go,
    /// A write lied, and that was noticed.
    Stop,
}

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) vfs: SimVfs,
    pub(crate) model: Model,
    pub(crate) counts: Counts,
    script: &'a Script,
    open: Option<Open>,
    openings: u64,
    /// Faults that no error has answered for yet.
    pending: FaultCounts,
    seen: FaultCounts,
    refused: u64,
    pending_refused: u64,
    /// Errors of the same operation as the one that it answered.
    also_failed: Vec<Error>,
    /// Waits of the open database counted so far, and parts of its compactions.
    waits: u64,
    parts: u64,
    /// Calls before the first write that lied.
    pub(crate) lied_at: Option<u64>,
    lie_was_seen: bool,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl<'a> Run<'a> {
    /// A run on an empty disk, recording.
    pub(crate) fn new(script: &'a Script) -> Self {
        let vfs = SimVfs::new();
        vfs.record();
        let odds = script.flavour.fault_odds;
        if odds > 0 {
            let faults = Fault::ALL.into_iter().filter(|&fault| fault != Fault::LyingWrite);
            vfs.inject_at_random(script.seed, odds, &faults.collect::<Vec<_>>());
        }
        Self {
            vfs,
            model: Model::new(),
            counts: Counts::default(),
            script,
            open: None,
            openings: 0,
            pending: FaultCounts::default(),
            seen: FaultCounts::default(),
            refused: 0,
            pending_refused: 0,
            also_failed: Vec::new(),
            waits: 0,
            parts: 0,
            lied_at: None,
            lie_was_seen: false,
            checkpoints: Vec::new(),
        }
    }

    /// Runs every operation, closes, and opens once more.
    pub(crate) fn run(&mut self) -> Outcome {
        self.open_again()?;
        for (place, op) in self.script.places.iter().zip(&self.script.ops) {
            let calls = self.vfs.call_count();
            let next = self.step(op).map_err(|what| format!("operation {place}, {op:?}: {what}"))?;
            if self.lied_at.is_none() && self.has_lied() {
                self.lied_at = Some(calls);
            }
            self.counts.operations += 1;
            // A database that a lie has spoilt stays closed.
            if matches!(next, Next::Stop) || self.open.is_none() {
                break;
            }
        }
        self.vfs.mend();
        self.end().map_err(|what| format!("at the end: {what}"))
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("between two operations the database is open")
    }

    fn end(&mut self) -> Outcome {
        if self.lied_at.is_some() {
            self.open = None;
            return self.look_for_the_lie();
        }
        self.step(&Op::Reopen)?;
        self.step(&Op::ReadAll)?;
        let closed = self.open.take().expect("just opened").engine.close();
        closed.or_else(|error| self.excuse(&error))?;
        self.take_counts();
        Ok(())
    }

    /// After a write that lied the database may be refused, or cut; what it shows is sound.
    fn look_for_the_lie(&mut self) -> Outcome {
        self.openings += 1;
        let (engine, _scheduler) = open(&self.vfs, self.script.seed, self.openings);
        let found = engine
            .map_err(|error| error.to_string())
            .and_then(|engine| reads::digest_all(&engine).map_err(|error| error.to_string()));
        match found {
            Err(_) => self.lie_was_seen = true,
            Ok(found) if !self.model.is_prefix(found) => {
                return Err("a write that lied was believed: what is shown was never written".into());
            }
            Ok(_) => {}
        }
        self.take_counts();
        Ok(())
    }

    fn take_counts(&mut self) {
        self.counts.injected.add(&self.vfs.injected());
        self.counts.short_reads_continued += self.vfs.continued_read_count();
        self.counts.refused_for_space += self.vfs.refused_count();
        self.counts.written_over += self.vfs.written_over_count();
        self.counts.lies_seen += u64::from(self.lie_was_seen);
    }

    fn step(&mut self, op: &Op) -> Outcome<Next> {
        match self.apply(op)? {
            Ok(()) => self.note_pauses(),
            Err(error) => {
                if self.has_lied() {
                    self.lie_was_seen = true;
                    return Ok(Next::Stop);
                }
                let mut errors = std::mem::take(&mut self.also_failed);
                errors.push(error);
                self.excuse_all(&errors)?;
                self.go_on_after_failure(op)?;
            }
        }
        if let Some(open) = &self.open {
            check_memory(&open.engine)?;
            let stats = open.engine.stats();
            self.counts.waits += stats.write_stalls - self.waits;
            self.counts.parts += stats.compaction_parts - self.parts;
            (self.waits, self.parts) = (stats.write_stalls, stats.compaction_parts);
        }
        Ok(Next::Go)
    }

    /// Counts what happened since the last look as not answered for yet.
    fn look(&mut self) {
        let injected = self.vfs.injected();
        self.pending.add(&injected.since(&self.seen));
        self.seen = injected;
        self.pending_refused += self.vfs.refused_count() - self.refused;
        self.refused = self.vfs.refused_count();
    }

    /// An operation that ended well although the disk was full was waited for.
    fn note_pauses(&mut self) {
        self.look();
        if self.pending_refused > 0 {
            self.counts.space_pauses += 1;
            self.pending_refused = 0;
        }
    }

    fn excuse(&mut self, error: &Error) -> Outcome {
        self.excuse_all(std::slice::from_ref(error))
    }

    /// Errors are right if something was made to go wrong.
    fn excuse_all(&mut self, errors: &[Error]) -> Outcome {
        self.look();
        let mut are_answers = false;
        for error in errors {
            if matches!(error, Error::Stalled { .. }) {
                self.counts.stalls += 1;
                if self.is_impatient() || self.refused > 0 {
                    continue;
                }
            }
            let is_excused = Fault::ALL.into_iter().any(|fault| self.pending.of(fault) > 0)
                || self.pending_refused > 0
                || (matches!(error, Error::Poisoned { .. }) && (self.refused > 0 || self.has_faults()));
            if !is_excused {
                return Err(format!("nothing went wrong, but: {}", reads::chain(error)));
            }
            are_answers = true;
        }
        if are_answers {
            self.note_answers();
        }
        Ok(())
    }

    fn note_answers(&mut self) {
        self.counts.observed.add(&self.pending);
        self.pending = FaultCounts::default();
        if self.pending_refused > 0 {
            self.counts.space_errors += 1;
        }
        self.pending_refused = 0;
    }

    /// Whether some waits see their deadline pass before any job has run.
    fn is_impatient(&self) -> bool {
        let flavour = self.script.flavour;
        flavour.is_large || flavour.has_limits || flavour.has_faults
    }

    fn has_lied(&self) -> bool {
        self.vfs.injected().of(Fault::LyingWrite) > 0
    }

    fn has_faults(&self) -> bool {
        self.vfs.injected() != FaultCounts::default()
    }

    /// After an error: the write was not applied, or the database takes no more writes and is opened again.
    fn go_on_after_failure(&mut self, op: &Op) -> Outcome {
        if self.open.is_none() {
            return self.open_again();
        }
        let is_healthy = self.opened().engine.write(&WriteBatch::new(), WriteOptions::default()).is_ok();
        if is_healthy {
            self.model.refuse(self.vfs.call_count());
        }
        // Reads go on, and show nothing of a write that failed.
        if matches!(op, Op::Together(_)) {
            let state = Arc::clone(self.model.state());
            reads::all(&self.opened().engine, None, &state)?.or_else(|error| self.excuse(&error))?;
        }
        if let Op::Write(changes, _) | Op::Ingest(changes) = op {
            let state = Arc::clone(self.model.state());
            for change in changes {
                let (Change::Put(key, _) | Change::Delete(key) | Change::DeleteRange(key, _)) = change else {
                    continue;
                };
                match reads::look_up(&self.opened().engine, None, *key) {
                    Ok(found) if found.as_deref() != state.get(&name(*key)).map(|value| &**value) => {
                        return Err(format!("{key:?} shows a write that failed"));
                    }
                    Ok(_) => {}
                    Err(error) => self.excuse(&error)?,
                }
            }
        }
        if is_healthy {
            return Ok(());
        }
        self.counts.poisoned += 1;
        // What poisoned it may have been the end of a background job.
        self.open = None;
        self.open_again()
    }

    /// Opens the database, trying again when a fault hits, and finds out what it kept. After a write that lied it may
    /// stay closed.
    fn open_again(&mut self) -> Outcome {
        self.open = None;
        for attempt in 0.. {
            if attempt == 3 {
                self.vfs.mend();
            }
            self.openings += 1;
            let (engine, scheduler) = open(&self.vfs, self.script.seed, self.openings);
            let digest = engine.and_then(|engine| reads::digest_all(&engine).map(|digest| (engine, digest)));
            match digest {
                Ok((engine, digest)) => {
                    let calls = self.vfs.call_count();
                    let Some(known) =
                        self.model.settle(calls, digest, is_power(self.script.seed, self.openings))
                    else {
                        if self.has_lied() && self.model.is_prefix(digest) {
                            self.lie_was_seen = true;
                            return Ok(());
                        }
                        let places = self.model.places_of(digest);
                        return Err(format!("opened again it shows the state of writes {places:?}"));
                    };
                    self.counts.strays += u64::from(known.is_stray);
                    if self.is_impatient() {
                        scheduler.let_deadlines_pass(4);
                    }
                    self.open = Some(Open { walks: Vec::new(), moments: Vec::new(), engine, scheduler });
                    self.counts.openings += 1;
                    (self.waits, self.parts) = (0, 0);
                    self.look();
                    return Ok(());
                }
                Err(_) if self.has_lied() => {
                    self.lie_was_seen = true;
                    return Ok(());
                }
                Err(error) if attempt < 5 => self.excuse(&error)?,
                Err(error) => return Err(format!("cannot be opened: {}", reads::chain(&error))),
            }
        }
        Ok(())
    }

    /// Does one operation. The outer error is a violation, the inner one what the engine answered.
    fn apply(&mut self, op: &Op) -> Outcome<Result<(), Error>> {
        let state = Arc::clone(self.model.state());
        match op {
            Op::Write(changes, durability) => {
                self.model.begin(self.vfs.call_count(), changes);
                let written = reads::write(&self.opened().engine, changes, *durability);
                Ok(written.map(|()| self.model.acknowledge(self.vfs.call_count(), *durability)))
            }
            Op::Together(members) => self.together(members),
            Op::PutReader(key, value, durability) => {
                self.model.begin(self.vfs.call_count(), &[Change::Put(*key, *value)]);
                let written = reads::put_reader(&self.opened().engine, *key, &value.bytes(), *durability);
                Ok(written.map(|()| self.model.acknowledge(self.vfs.call_count(), *durability)))
            }
            Op::Ingest(changes) => {
                self.model.begin(self.vfs.call_count(), changes);
                let ingested = reads::ingest(&self.opened().engine, changes);
                self.counts.ingestions += u64::from(ingested.is_ok());
                Ok(ingested.map(|_| self.model.acknowledge(self.vfs.call_count(), Durability::Power)))
            }
            Op::Swap(key, is_right, value) => self.swap(*key, *is_right, *value),
            Op::DropOther => self.drop_other(),
            Op::Checkpoint => self.checkpoint(),
            Op::ReadOnly => self.read_only(),
            Op::Sync | Op::Flush | Op::Compact => {
                let engine = &self.opened().engine;
                let done = match op {
                    Op::Sync => engine.sync(),
                    Op::Flush => engine.flush(),
                    _ => engine.compact(),
                };
                Ok(done.map(|()| self.model.all_durable(self.vfs.call_count())))
            }
            Op::Reopen => self.reopen(),
            Op::RunJob => {
                self.opened().scheduler.run_one();
                Ok(Ok(()))
            }
            Op::Jump(seconds) => {
                self.opened().scheduler.clock().jump(Duration::from_secs(*seconds));
                self.counts.jumps += 1;
                Ok(Ok(()))
            }
            Op::Inject(fault, skipped) => {
                self.vfs.inject(*fault, *skipped);
                Ok(Ok(()))
            }
            Op::LimitSpace(bytes, patience) => {
                self.vfs.limit_space(*bytes, *patience);
                self.counts.space_limits += 1;
                Ok(Ok(()))
            }
            _ => self.read(op, &state),
        }
    }

    fn together(&mut self, members: &[Member]) -> Outcome<Result<(), Error>> {
        let Open { engine, scheduler, .. } = self.open.as_ref().expect("between two operations");
        let has_mishaps = !self.script.flavour.is_sound();
        let place = Place { vfs: &self.vfs, engine, scheduler, has_mishaps };
        let Answers { failed, read_again } = place.write(&mut self.model, &mut self.counts, members)?;
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else {
            return self.excuse_all(&read_again).map(Ok);
        };
        self.also_failed.extend(failed.chain(read_again));
        Ok(Err(first))
    }

    fn read(&mut self, op: &Op, state: &Arc<State>) -> Outcome<Result<(), Error>> {
        let Open { engine, walks, moments, .. } = self.opened();
        match op {
            Op::Get(key) => reads::get(reads::look_up(engine, None, *key), state, *key),
            Op::GetReader(key) => reads::get(reads::read_whole(engine, *key), state, *key),
            Op::GetInto(key) => {
                let mut value = b"what was there before".to_vec();
                let found = engine.get_into(&key.bytes(), &mut value);
                reads::get(found.map(|found| found.then_some(value)), state, *key)
            }
            Op::GetPinned(key) => {
                let found = engine.get_pinned(&key.bytes());
                reads::get(found.map(|found| found.map(|value| value.to_vec())), state, *key)
            }
            Op::MultiGet(keys) => reads::many(engine, state, keys),
            Op::Request(keys, span, limit) => reads::request(engine, state, keys, *span, *limit),
            Op::ReadAll => reads::all(engine, None, state),
            Op::Snapshot => {
                if moments.len() == 3 {
                    moments.remove(0);
                }
                moments.push((engine.snapshot(), Arc::clone(state)));
                Ok(Ok(()))
            }
            Op::DropSnapshot(slot) => {
                if let Some(place) = place(*slot, moments.len()) {
                    moments.remove(place);
                }
                Ok(Ok(()))
            }
            Op::GetAt(slot, key) => {
                let Some(place) = place(*slot, moments.len()) else { return Ok(Ok(())) };
                let (snapshot, state) = &moments[place];
                reads::get(reads::look_up(engine, Some(snapshot), *key), state, *key)
            }
            Op::ReadAllAt(slot) => {
                let Some(place) = place(*slot, moments.len()) else { return Ok(Ok(())) };
                let (snapshot, state) = &moments[place];
                reads::all(engine, Some(snapshot), state)
            }
            Op::Cursor(span, slot) => {
                if walks.len() == 3 {
                    walks.remove(0);
                }
                let moment = slot.and_then(|slot| place(slot, moments.len())).map(|place| &moments[place]);
                let (snapshot, state) =
                    moment.map_or((None, state), |(snapshot, state)| (Some(snapshot), state));
                Ok(Walk::begin(engine, snapshot, state, *span).map(|walk| walks.extend(walk)))
            }
            Op::DropCursor(slot) => {
                if let Some(place) = place(*slot, walks.len()) {
                    walks.remove(place);
                }
                Ok(Ok(()))
            }
            Op::Seek(slot, ..) | Op::SeekEdge(slot, ..) | Op::Step(slot, ..) => {
                let Some(place) = place(*slot, walks.len()) else { return Ok(Ok(())) };
                let moved = walks[place].go(op);
                if !matches!(moved, Ok(Ok(()))) {
                    walks.remove(place);
                }
                moved
            }
            _ => Err("is no read".into()),
        }
    }

    fn swap(&mut self, key: Key, is_right: bool, value: Option<Value>) -> Outcome<Result<(), Error>> {
        let state = Arc::clone(self.model.state());
        let held = state.get(&name(key)).map(|value| &**value);
        let expected = if is_right { held } else { Some(&b"never a value"[..]) };
        let new = value.map(Value::bytes);
        let change = value.map_or(Change::Delete(key), |value| Change::Put(key, value));
        let changes = if is_right { vec![change] } else { Vec::new() };
        self.model.begin(self.vfs.call_count(), &changes);
        match reads::swap(&self.opened().engine, key, expected, new.as_deref()) {
            Ok(swapped) if swapped != is_right => return Err(format!("swapped: {swapped}")),
            Ok(true) => self.model.acknowledge(self.vfs.call_count(), Durability::Process),
            Ok(false) => self.model.refuse(self.vfs.call_count()),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    fn drop_other(&mut self) -> Outcome<Result<(), Error>> {
        self.model.begin(self.vfs.call_count(), &[Change::DropOther]);
        // A snapshot of a keyspace ends with it.
        self.opened().moments.clear();
        self.opened().walks.clear();
        let had_some = self.model.state().keys().any(|(is_other, _)| *is_other);
        let dropped = self.opened().engine.drop_keyspace(OTHER);
        match dropped {
            Ok(true) => self.model.acknowledge(self.vfs.call_count(), Durability::Power),
            Ok(false) if had_some => return Err("a keyspace with keys was not there to be dropped".into()),
            // Nothing was done, and nothing made durable.
            Ok(false) => self.model.refuse(self.vfs.call_count()),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    fn checkpoint(&mut self) -> Outcome<Result<(), Error>> {
        let folder = PathBuf::from(format!("/checkpoint{}", self.checkpoints.len()));
        self.counts.checkpoints += 1;
        if let Err(error) = self.opened().engine.checkpoint(&folder) {
            // Refused or left behind: the next one takes another folder.
            self.checkpoints.push(Checkpoint { folder, call: u64::MAX, digest: 0 });
            return Ok(Err(error));
        }
        let call = self.vfs.call_count();
        self.model.all_durable(call);
        let checkpoint = Checkpoint { folder, call, digest: self.model.current_digest() };
        let compared = checkpoint.compare(&self.vfs, self.script.seed);
        self.checkpoints.push(checkpoint);
        compared
    }

    /// Closes, opens to read only, and opens again.
    fn read_only(&mut self) -> Outcome<Result<(), Error>> {
        if let Err(error) = self.reopen()? {
            return Ok(Err(error));
        }
        let Some(open) = self.open.take() else { return Ok(Ok(())) };
        let Open { engine, .. } = open;
        if let Err(error) = engine.close() {
            return Ok(Err(error));
        }
        self.model.all_durable(self.vfs.call_count());
        let read = open_read_only(&self.vfs, FOLDER.as_ref(), self.script.seed);
        let read = match read {
            Ok(engine) => {
                if !matches!(engine.put(b"a", b"b"), Err(Error::ReadOnly)) {
                    return Err("a database opened to read takes writes".into());
                }
                reads::all(&engine, None, self.model.state())?
            }
            Err(error) => Err(error),
        };
        if read.is_ok() {
            self.open_again()?;
        }
        Ok(read)
    }

    fn reopen(&mut self) -> Outcome<Result<(), Error>> {
        let Open { engine, walks, moments, scheduler } = self.open.take().expect("between two operations");
        drop((walks, moments));
        let closed = engine.close();
        self.counts.jumps_seen += scheduler.clock().seen_jump_count();
        drop(scheduler);
        match closed {
            Ok(()) => self.model.all_durable(self.vfs.call_count()),
            Err(error) => return Ok(Err(error)),
        }
        self.open_again().map(Ok)
    }
}

/// The slot as a place among `len`.
fn place(slot: u8, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::from(slot) % len)
}
