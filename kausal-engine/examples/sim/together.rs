//! Batches that several threads write at the same time, in turns that the seed decides.
//!
//! 1. The threads pass the turn on while one of them has taken its group to the log, so that the others gather behind it.
//! 2. In which order the batches were numbered is read from the database: every two of them write one key both, and its
//!    value is of the later one. A batch that is not whole gives no order.
//! 3. In that order what each requires must hold, and the states after each are what a crash may leave. What a refused
//!    batch requires must fail at some place of the order; nothing of it is in the database.
//!
//! Not here: faults. Of batches that fail in the middle nobody could tell the order.

use std::sync::Arc;

use kausal_engine::sim::{SimScheduler, SimVfs};
use kausal_engine::{Durability, Error, StorageEngine, WriteOptions};
use parking_lot::Mutex;

use crate::counts::Counts;
use crate::machine::Outcome;
use crate::model::{Model, State, changed, name};
use crate::reads;
use crate::script::{Change, Expected, Key, Member};

/// How a member ended: what it was answered, and the calls before that.
struct Ended {
    result: Result<(), Error>,
    call: u64,
}

/// Writes the batches of all members. The outer error is a violation, the inner one what the engine answered.
pub(crate) fn write(
    vfs: &SimVfs,
    engine: &StorageEngine,
    scheduler: &SimScheduler,
    model: &mut Model,
    counts: &mut Counts,
    members: &[Member],
) -> Outcome<Result<(), Error>> {
    let (begun, before) = (vfs.call_count(), Arc::clone(model.state()));
    let groups = engine.metrics().writes;
    let ended: Vec<Mutex<Option<Ended>>> = members.iter().map(|_| Mutex::new(None)).collect();
    let task = |(member, slot)| -> Box<dyn FnOnce() + Send + '_> {
        let (before, slot): (&State, &Mutex<Option<Ended>>) = (&before, slot);
        Box::new(move || {
            let result = write_member(engine, before, member);
            *slot.lock() = Some(Ended { result, call: vfs.call_count() });
        })
    };
    scheduler.run_together(members.iter().zip(&ended).map(task).collect());
    let ended: Option<Vec<Ended>> = ended.into_iter().map(Mutex::into_inner).collect();
    let ended = ended.ok_or("a thread ended without an answer")?;
    let grouped = engine.metrics().writes;
    let alone = grouped.groups - groups.groups;
    counts.members += members.len() as u64;
    counts.members_grouped += (grouped.group_writes - groups.group_writes).saturating_sub(alone);
    let judged = Judge { engine, before, members, ended: &ended }.judge(begun, model, counts)?;
    if let Err(error) = judged {
        return Ok(Err(error));
    }
    let failed = ended.into_iter().filter_map(|ended| ended.result.err());
    let mut failed = failed.filter(|error| !matches!(error, Error::Conflict { .. }));
    failed.next().map_or_else(|| reads::all(engine, None, model.state()), |error| Ok(Err(error)))
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
}

impl Judge<'_> {
    /// Holds the answers against the order, and tells the model.
    fn judge(&self, begun: u64, model: &mut Model, counts: &mut Counts) -> Outcome<Result<(), Error>> {
        let order = match self.order()? {
            Ok(order) => order,
            Err(error) => return Ok(Err(error)),
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
        model.made_together(begun, &writes);
        Ok(Ok(()))
    }

    fn holds(&self, member: &Member, state: &State) -> bool {
        member.required.iter().all(|&(key, expected)| {
            let expected = value_of(key, expected, &self.before);
            state.get(&name(key)).map(|value| &**value) == expected.as_deref()
        })
    }

    /// The members that were written, in the order of their numbers.
    fn order(&self) -> Outcome<Result<Vec<usize>, Error>> {
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

    fn is_later(&self, one: usize, other: usize) -> Outcome<Result<bool, Error>> {
        let key = Key::of_pair(one, other);
        let found = match reads::look_up(self.engine, None, key) {
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
}
