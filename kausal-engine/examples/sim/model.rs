//! The model: an ordered map, its states after each write, and which of them a crash may leave.
//!
//! Every write makes a state. At any moment what a crash leaves is the state of one write: at least the last one
//! acknowledged within its durability, at most the one that was under way, and none that was refused before.
//!
//! Of writes made at the same time, of which some failed, nobody knows the order in which they came to the log. What a crash
//! may leave of them is a set of *strays*: states after some of them in some order, each behind what it must contain.

use std::collections::BTreeMap;
use std::sync::Arc;

use kausal_engine::Durability;
use kausal_engine::sim::CrashMode;
use xxhash_rust::xxh3::Xxh3;

use crate::script::{Change, Key};

/// Keys with their values; a key is `(whether it is of the other keyspace, its bytes)`.
pub(crate) type State = BTreeMap<(bool, Vec<u8>), Arc<[u8]>>;

/// A key as the model has it.
pub(crate) fn name(key: Key) -> (bool, Vec<u8>) {
    (key.is_other(), key.bytes())
}

/// The keys and values that a cursor shows, as one number.
pub(crate) fn digest<'a>(pairs: impl Iterator<Item = (bool, &'a [u8], &'a [u8])>) -> u64 {
    let mut hasher = Xxh3::new();
    for (is_other, key, value) in pairs {
        hasher.update(&[u8::from(is_other)]);
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(value);
    }
    hasher.digest()
}

fn digest_of(state: &State) -> u64 {
    digest(state.iter().map(|((is_other, key), value)| (*is_other, key.as_slice(), &**value)))
}

/// The state after `changes`.
pub(crate) fn changed(state: &State, changes: &[Change]) -> State {
    let mut state = state.clone();
    for change in changes {
        match change {
            Change::Put(key, value) => {
                state.insert(name(*key), value.bytes().into());
            }
            Change::Delete(key) => {
                state.remove(&name(*key));
            }
            Change::DeleteRange(start, end) => {
                let range = name(*start)..name(*end);
                state.retain(|key, _| !range.contains(key));
            }
            Change::DropOther => state.retain(|(is_other, _), _| !is_other),
        }
    }
    state
}

/// The state after one write.
struct Step {
    state: Arc<State>,
    digest: u64,
    /// From this call on the write is known not to have happened.
    dead_from: u64,
}

/// A state that writes made at the same time may have left in the log.
pub(crate) struct Stray {
    pub(crate) state: State,
    /// How many of the writes that were made it begins with, in their order.
    pub(crate) made_count: usize,
}

/// The same, once the model has it.
struct Kept {
    /// Nothing once it is dead.
    state: Arc<State>,
    digest: u64,
    /// The last step that it contains.
    behind: usize,
    /// The first call at which a crash may leave it.
    call: u64,
    /// From this call on it is known not to have happened.
    dead_from: u64,
}

impl Kept {
    fn is_alive(&self) -> bool {
        self.dead_from == u64::MAX
    }
}

/// What a database shows, as the model knows it.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// The last write that it contains, of those in order.
    pub(crate) write: usize,
    pub(crate) is_stray: bool,
}

/// What may be found, from one call on until the next mark.
#[derive(Clone, Copy)]
struct Mark {
    call: u64,
    begun: usize,
    killed_floor: usize,
    power_floor: usize,
}

pub(crate) struct Model {
    steps: Vec<Step>,
    strays: Vec<Kept>,
    /// The state that reads see.
    current: usize,
    marks: Vec<Mark>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let state = Arc::new(State::new());
        let steps = vec![Step { state, digest: digest(std::iter::empty()), dead_from: u64::MAX }];
        let marks = vec![Mark { call: 0, begun: 0, killed_floor: 0, power_floor: 0 }];
        Self { steps, strays: Vec::new(), current: 0, marks }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.steps[self.current].state
    }

    fn last(&self) -> Mark {
        self.marks[self.marks.len() - 1]
    }

    fn mark(&mut self, call: u64, change: impl FnOnce(&mut Mark)) {
        let mut mark = self.last();
        mark.call = call;
        change(&mut mark);
        self.marks.push(mark);
    }

    /// A write begins at `call`.
    pub(crate) fn begin(&mut self, call: u64, changes: &[Change]) {
        let state = changed(self.state(), changes);
        let begun = self.push(state);
        self.mark(call, |mark| mark.begun = begun);
    }

    /// Writes that began at `call` were made in this order: the state after each, its durability, and the calls
    /// before it was acknowledged. Until more is known a crash may leave one of the `strays`, too.
    pub(crate) fn made_together(
        &mut self,
        call: u64,
        writes: &[(State, Durability, u64)],
        strays: Vec<Stray>,
    ) {
        let before = self.current;
        let places: Vec<usize> = writes.iter().map(|(state, ..)| self.push(state.clone())).collect();
        for Stray { state, made_count } in strays {
            let behind = made_count.checked_sub(1).map_or(before, |place| places[place]);
            let digest = digest_of(&state);
            self.strays.push(Kept { state: Arc::new(state), digest, behind, call, dead_from: u64::MAX });
        }
        let Some(&last) = places.last() else { return };
        self.mark(call, |mark| mark.begun = last);
        let mut ends: Vec<(u64, usize, Durability)> = places
            .iter()
            .zip(writes)
            .map(|(&place, &(_, durability, call))| (call, place, durability))
            .collect();
        ends.sort_by_key(|&(call, place, _)| (call, place));
        for (call, place, durability) in ends {
            self.note_end(call, place, durability);
        }
        self.current = last;
    }

    fn push(&mut self, state: State) -> usize {
        let digest = digest_of(&state);
        self.steps.push(Step { state: Arc::new(state), digest, dead_from: u64::MAX });
        self.steps.len() - 1
    }

    /// The write that has begun was acknowledged.
    pub(crate) fn acknowledge(&mut self, call: u64, durability: Durability) {
        self.current = self.last().begun;
        self.note_end(call, self.current, durability);
    }

    /// A record that is durable, or in the kernel's hands, stands behind all earlier ones.
    fn note_end(&mut self, call: u64, place: usize, durability: Durability) {
        self.mark(call, |mark| {
            if durability != Durability::Buffered {
                mark.killed_floor = mark.killed_floor.max(place);
            }
            if durability == Durability::Power {
                mark.power_floor = mark.power_floor.max(place);
            }
        });
    }

    /// The write that has begun was refused, and nothing of it was applied; or of several all that is not visible.
    pub(crate) fn refuse(&mut self, call: u64) {
        self.forget_strays(call);
        let (begun, current) = (self.last().begun, self.current);
        if begun != current {
            self.steps[begun].dead_from = call;
            self.mark(call, |mark| mark.begun = current);
        }
    }

    /// From `call` on nothing is in the log but what is visible.
    pub(crate) fn forget_strays(&mut self, call: u64) {
        for stray in self.strays.iter_mut().filter(|stray| stray.is_alive()) {
            (stray.dead_from, stray.state) = (call, Arc::default());
        }
    }

    /// Everything so far is durable.
    pub(crate) fn all_durable(&mut self, call: u64) {
        let current = self.current;
        self.mark(call, |mark| (mark.killed_floor, mark.power_floor) = (current, current));
    }

    /// The database was opened after a failure and shows the state with this digest. `None` if that may not be. What it shows
    /// survives a kill from here on, and a loss of power as well if the open `makes_durable` what it shows.
    pub(crate) fn settle(&mut self, call: u64, found: u64, makes_durable: bool) -> Option<Known> {
        let Mark { begun, killed_floor, power_floor, .. } = self.last();
        let matching =
            |&place: &usize| self.steps[place].digest == found && self.steps[place].dead_from == u64::MAX;
        let is_this =
            |stray: &&Kept| stray.is_alive() && stray.behind >= killed_floor && stray.digest == found;
        let (known, state) = match (killed_floor..=begun).rev().find(matching) {
            Some(write) => (Known { write, is_stray: false }, None),
            None => {
                let stray = self.strays.iter().find(is_this)?;
                (Known { write: stray.behind, is_stray: true }, Some(State::clone(&stray.state)))
            }
        };
        for step in &mut self.steps[known.write + 1..] {
            step.dead_from = step.dead_from.min(call);
        }
        // What comes before a stray in the log may be a stray itself.
        if makes_durable || !known.is_stray {
            self.forget_strays(call);
        }
        let found = state.map_or(known.write, |state| self.push(state));
        self.current = found;
        let power_floor = if makes_durable { found } else { power_floor };
        self.mark(call, |mark| {
            (mark.begun, mark.killed_floor, mark.power_floor) = (found, found, power_floor);
        });
        Some(known)
    }

    /// Which writes' states have this digest: for messages.
    pub(crate) fn places_of(&self, found: u64) -> Vec<usize> {
        (0..self.steps.len()).filter(|&place| self.steps[place].digest == found).collect()
    }

    /// Whether the state with this digest may be found after a crash at `call`; else what may.
    pub(crate) fn admits(&self, call: u64, mode: CrashMode, found: u64) -> Result<Known, String> {
        let place = self.marks.partition_point(|mark| mark.call <= call);
        let mark = self.marks[place.saturating_sub(1)];
        let floor = if mode == CrashMode::KeepUnsynced { mark.killed_floor } else { mark.power_floor };
        let is_step =
            |&place: &usize| self.steps[place].dead_from > call && self.steps[place].digest == found;
        let step = (floor..=mark.begun).find(is_step).map(|write| Known { write, is_stray: false });
        let is_stray = |stray: &&Kept| {
            (stray.call..stray.dead_from).contains(&call) && stray.behind >= floor && stray.digest == found
        };
        let stray = || {
            let stray = self.strays.iter().find(is_stray);
            stray.map(|stray| Known { write: stray.behind, is_stray: true })
        };
        step.or_else(stray).ok_or_else(|| {
            format!(
                "found the state of writes {:?}; write {floor} was safe, write {} the last begun",
                self.places_of(found),
                mark.begun
            )
        })
    }

    pub(crate) fn current_digest(&self) -> u64 {
        self.steps[self.current].digest
    }

    /// Whether reads see the state with this digest.
    pub(crate) fn is_current(&self, found: u64) -> bool {
        self.steps[self.current].digest == found
    }

    /// Whether some prefix of the history has this digest.
    pub(crate) fn is_prefix(&self, found: u64) -> bool {
        self.steps.iter().any(|step| step.digest == found)
            || self.strays.iter().any(|stray| stray.digest == found)
    }
}
