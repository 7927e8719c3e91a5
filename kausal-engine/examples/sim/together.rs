//! Batches that several threads write at the same time, in turns that the seed decides.
//!
//! 1. The threads pass the turn on while one of them has taken its group to the log, so that the others gather behind it.
//! 2. In which order the batches were numbered is read from the database: every two of them write one key both, and its
//!    value is of the later one. A batch that is not whole gives no order.
//! 3. In that order what each requires must hold, and the states after each are what a crash may leave. What a refused
//!    batch requires must fail at some place of the order; nothing of it is in the database.
//! 4. In a seed whose calls fail a batch may fail, too: reads show nothing of it. But in the log it may have come before
//!    others, and others before those that are written in the end; so a crash may leave what some of the batches make in
//!    some order, as long as each has what it requires, and it begins with those that were acknowledged.

use std::sync::Arc;

use kausal_engine::sim::{SimScheduler, SimVfs};
use kausal_engine::{Durability, Error, StorageEngine, WriteOptions};
use parking_lot::Mutex;

use crate::counts::Counts;
use crate::machine::Outcome;
use crate::model::{Model, State, Stray, changed, name};
use crate::reads;
use crate::script::{Change, Expected, Key, Member};

/// How often a read that fails is tried before the database is taken to be unreadable.
const READS_MAX: usize = 100;

/// How a member ended: what it was answered, and the calls before that.
struct Ended {
    result: Result<(), Error>,
    call: u64,
}

/// What the engine answered, and how often it was asked in vain.
pub(crate) struct Answers {
    /// Of batches that failed, or because the database cannot be read.
    pub(crate) failed: Vec<Error>,
    /// Of reads that were tried again.
    pub(crate) read_again: Vec<Error>,
}

/// The place where batches are written.
pub(crate) struct Place<'a> {
    pub(crate) vfs: &'a SimVfs,
    pub(crate) engine: &'a StorageEngine,
    pub(crate) scheduler: &'a SimScheduler,
    /// Whether calls may fail.
    pub(crate) has_mishaps: bool,
}

impl Place<'_> {
    /// Writes the batches of all members, and tells the model.
    pub(crate) fn write(
        &self,
        model: &mut Model,
        counts: &mut Counts,
        members: &[Member],
    ) -> Outcome<Answers> {
        let (begun, before) = (self.vfs.call_count(), Arc::clone(model.state()));
        let groups = self.engine.metrics().writes;
        let ended = self.run(&before, members)?;
        let grouped = self.engine.metrics().writes;
        let alone = grouped.groups - groups.groups;
        counts.members += members.len() as u64;
        counts.members_grouped += (grouped.group_writes - groups.group_writes).saturating_sub(alone);
        let mut judge = Judge { engine: self.engine, before, members, ended: &ended, read_again: Vec::new() };
        let unreadable = judge.judge(begun, self.has_mishaps, model, counts)?;
        let read_again = judge.read_again;
        let failed = ended.into_iter().filter_map(|ended| ended.result.err());
        let mut failed: Vec<Error> =
            failed.filter(|error| !matches!(error, Error::Conflict { .. })).collect();
        counts.members_failed += failed.len() as u64;
        failed.extend(unreadable);
        if failed.is_empty() {
            model.forget_strays(self.vfs.call_count());
            failed.extend(reads::all(self.engine, None, model.state())?.err());
        }
        Ok(Answers { failed, read_again })
    }

    fn run(&self, before: &State, members: &[Member]) -> Outcome<Vec<Ended>> {
        let ended: Vec<Mutex<Option<Ended>>> = members.iter().map(|_| Mutex::new(None)).collect();
        let task = |(member, slot)| -> Box<dyn FnOnce() + Send + '_> {
            let slot: &Mutex<Option<Ended>> = slot;
            Box::new(move || {
                let result = write_member(self.engine, before, member);
                *slot.lock() = Some(Ended { result, call: self.vfs.call_count() });
            })
        };
        self.scheduler.run_together(members.iter().zip(&ended).map(task).collect());
        let ended: Option<Vec<Ended>> = ended.into_iter().map(Mutex::into_inner).collect();
        ended.ok_or_else(|| "a thread ended without an answer".into())
    }
}

fn write_member(engine: &StorageEngine, before: &State, member: &Member) -> Result<(), Error> {
    let mut batch = reads::batch(engine, &member.changes)?;
    for (key, expected) in &member.required {
        batch.require(&key.bytes(), value_of(*key, *expected, before).as_deref())?;
    }
    engine.write(&batch, WriteOptions::durable(member.durability))
}

/// The value that a key is required to have.
fn value_of(key: Key, expected: Expected, before: &State) -> Option<Vec<u8>> {
    match expected {
        Expected::AsBefore => before.get(&name(key)).map(|value| value.to_vec()),
        Expected::Value(value) => Some(value.bytes()),
        Expected::Nothing => None,
    }
}

/// What is known when all have ended.
struct Judge<'a> {
    engine: &'a StorageEngine,
    before: Arc<State>,
    members: &'a [Member],
    ended: &'a [Ended],
    /// Errors of reads that were tried again.
    read_again: Vec<Error>,
}

impl Judge<'_> {
    /// Holds the answers against the order, and tells the model. Answers an error if the order cannot be read.
    fn judge(
        &mut self,
        begun: u64,
        has_mishaps: bool,
        model: &mut Model,
        counts: &mut Counts,
    ) -> Outcome<Option<Error>> {
        let order = match self.order()? {
            Ok(order) => order,
            Err(error) => {
                model.made_together(begun, &[], self.strays(&[]));
                return Ok(Some(error));
            }
        };
        let mut states = vec![State::clone(&self.before)];
        let mut writes: Vec<(State, Durability, u64)> = Vec::new();
        for &place in &order {
            let (member, state) = (&self.members[place], &states[states.len() - 1]);
            if !self.holds(member, state) {
                return Err(format!(
                    "member {place} was written, {order:?} in order, without what it requires"
                ));
            }
            let state = changed(state, &member.changes);
            writes.push((state.clone(), member.durability, self.ended[place].call));
            states.push(state);
        }
        for (place, (member, ended)) in self.members.iter().zip(self.ended).enumerate() {
            counts.members_requiring += u64::from(!member.required.is_empty());
            if matches!(ended.result, Err(Error::Conflict { .. })) {
                counts.members_refused += 1;
                if states.iter().all(|state| self.holds(member, state)) {
                    return Err(format!(
                        "member {place} was refused, {order:?} in order, with what it requires"
                    ));
                }
            }
        }
        let strays = if has_mishaps { self.strays(&order) } else { Vec::new() };
        model.made_together(begun, &writes, strays);
        Ok(None)
    }

    fn holds(&self, member: &Member, state: &State) -> bool {
        member.required.iter().all(|&(key, expected)| {
            let expected = value_of(key, expected, &self.before);
            state.get(&name(key)).map(|value| &**value) == expected.as_deref()
        })
    }

    /// What any of the members leave in any order in which each has what it requires; `order` is that of those written.
    fn strays(&self, order: &[usize]) -> Vec<Stray> {
        let mut strays = Vec::new();
        self.add_strays(&self.before, &mut Vec::new(), order, &mut strays);
        strays
    }

    fn add_strays(&self, state: &State, path: &mut Vec<usize>, order: &[usize], strays: &mut Vec<Stray>) {
        for (place, member) in self.members.iter().enumerate() {
            if path.contains(&place) || !self.holds(member, state) {
                continue;
            }
            let state = changed(state, &member.changes);
            path.push(place);
            let made_count = path.iter().zip(order).take_while(|(one, other)| one == other).count();
            self.add_strays(&state, path, order, strays);
            path.pop();
            strays.push(Stray { state, made_count });
        }
    }

    /// The members that were written, in the order of their numbers.
    fn order(&mut self) -> Outcome<Result<Vec<usize>, Error>> {
        let written: Vec<usize> =
            (0..self.members.len()).filter(|&place| self.ended[place].result.is_ok()).collect();
        let mut ranked = Vec::new();
        for &one in &written {
            let mut rank = 0;
            for &other in written.iter().filter(|&&other| other != one) {
                match self.is_later(one, other)? {
                    Ok(is_later) => rank += usize::from(is_later),
                    Err(error) => return Ok(Err(error)),
                }
            }
            ranked.push((rank, one));
        }
        ranked.sort_unstable();
        if ranked.iter().enumerate().any(|(place, &(rank, _))| place != rank) {
            return Err(format!("no order of the batches leaves what is there: {ranked:?}"));
        }
        Ok(Ok(ranked.into_iter().map(|(_, member)| member).collect()))
    }

    fn is_later(&mut self, one: usize, other: usize) -> Outcome<Result<bool, Error>> {
        let key = Key::of_pair(one, other);
        let found = match self.look_up(key) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let has_put = |member: usize| {
            self.members[member].changes.iter().any(|change| match change {
                Change::Put(put, value) => *put == key && found.as_deref() == Some(&value.bytes()[..]),
                _ => false,
            })
        };
        match (has_put(one), has_put(other)) {
            (true, false) => Ok(Ok(true)),
            (false, true) => Ok(Ok(false)),
            _ => Err(format!("members {one} and {other} were written, and neither shows")),
        }
    }

    /// A value of the database, for which a read that fails is tried again.
    fn look_up(&mut self, key: Key) -> Result<Option<Vec<u8>>, Error> {
        for _ in 1..READS_MAX {
            match reads::look_up(self.engine, None, key) {
                Err(error) => self.read_again.push(error),
                found => return found,
            }
        }
        reads::look_up(self.engine, None, key)
    }
}
