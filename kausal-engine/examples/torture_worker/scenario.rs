//! A script of one thread that makes every kind of call to files, for faults at each of them.
//!
//! Create, write, flush, write, flush, compact, read, close, open, read, write, close. Background jobs run on the same
//! thread, identities come from a seed: the n-th call is the same call in every run, up to the fault.
//!
//! A write that fails is tried once more; a handle that has said that it is poisoned must never acknowledge again. What is
//! read must be right or an error.

use std::fs::File;
use std::sync::Arc;

use kausal_engine::sim::{SimClock, SimRandom, SimScheduler};
use kausal_engine::vfs::StdVfs;
use kausal_engine::{Builder, Environment, Error, StorageEngine, WriteOptions};

use crate::Ending;
use crate::history::{self, History, KEYS, State, key_bytes};
use crate::place::{Place, acknowledge, options};

/// What decides the order of background jobs and the identities.
const SEED: u64 = 5;

/// Operations before each of the steps.
const STEPS: [(u64, Step); 5] =
    [(9, Step::Flush), (18, Step::Flush), (21, Step::Compact), (26, Step::Reopen), (30, Step::Close)];

#[derive(Clone, Copy)]
enum Step {
    Flush,
    Compact,
    Reopen,
    Close,
}

/// Runs the script to its end, or to the first error that stays.
pub(crate) fn run(place: &Place) -> Result<(), Ending> {
    let mut histories = history::read(&place.history())?;
    let salt = (0..).find(|&salt| is_varied(salt)).unwrap_or_default();
    histories[0].begin(salt);
    history::write(&place.history(), &histories)?;
    place.clear_acks()?;
    let [history, _] = histories;
    let acks = place.open_acks(0)?;
    let mut script = Script { place, history, acks, state: State::new(), counter: 0 };
    let mut engine = open(place)?;
    for (until, step) in STEPS {
        while script.counter < until {
            script.write(&engine)?;
        }
        match step {
            Step::Flush => engine.flush()?,
            Step::Compact => engine.compact()?,
            Step::Reopen | Step::Close => {
                script.read_all(&engine)?;
                engine.close()?;
                if matches!(step, Step::Close) {
                    return Ok(());
                }
                engine = open(place)?;
            }
        }
        script.read_all(&engine)?;
    }
    Ok(())
}

/// Whether the operations before the first flush hold a blob, a batch and a deletion.
fn is_varied(salt: u64) -> bool {
    let mut history = History::default();
    history.begin(salt);
    let ops: Vec<_> = (1..=STEPS[0].0).map(|counter| history.op(0, counter)).collect();
    ops.iter().any(|op| op.has_blob())
        && ops.iter().any(|op| op.changes.len() > 1)
        && ops.iter().any(|op| op.changes.values().any(Option::is_none))
}

fn open(place: &Place) -> Result<StorageEngine, Ending> {
    let clock = Arc::new(SimClock::default());
    let environment = Environment {
        vfs: Arc::new(StdVfs),
        scheduler: Arc::new(SimScheduler::new(SEED, Arc::clone(&clock))),
        clock,
        entropy: Arc::new(SimRandom::new(SEED)),
    };
    Ok(Builder::new(&place.database, options(0)).environment(environment).open()?)
}

struct Script<'a> {
    place: &'a Place,
    history: History,
    acks: File,
    state: State,
    counter: u64,
}

impl Script<'_> {
    /// The next operation; once more if it fails.
    fn write(&mut self, engine: &StorageEngine) -> Result<(), Ending> {
        let counter = self.counter + 1;
        let op = self.history.op(0, counter);
        let batch = op.to_batch(0)?;
        let options = WriteOptions::durable(op.durability);
        if let Err(error) = engine.write(&batch, options) {
            eprintln!("operation {counter}: {}", crate::chain(&error));
            let again = engine.write(&batch, options);
            if again.is_ok() && matches!(error, Error::Poisoned { .. }) {
                return Err(Ending::Violation(format!("operation {counter} acknowledged after poison")));
            }
            if let Err(error) = again {
                self.read_after(engine, &op)?;
                return Err(error.into());
            }
        }
        acknowledge(&mut self.acks, counter, op.durability)?;
        op.apply(&mut self.state);
        self.counter = counter;
        Ok(())
    }

    /// Reads go on after a failed write: they show it whole or not at all.
    fn read_after(&mut self, engine: &StorageEngine, op: &history::Op) -> Result<(), Ending> {
        let without = self.read_all(engine);
        if matches!(without, Err(Ending::Violation(_))) {
            let before = self.state.clone();
            op.apply(&mut self.state);
            let with = self.read_all(engine);
            self.state = before;
            with?;
        }
        Ok(())
    }

    /// Each key is what it should be, or an error says that it cannot be read.
    fn read_all(&self, engine: &StorageEngine) -> Result<(), Ending> {
        for key in 0..KEYS {
            let found = match engine.get(&key_bytes(0, key)) {
                Ok(found) => found,
                Err(error) => {
                    eprintln!("get of key {key}: {}", crate::chain(&error));
                    continue;
                }
            };
            if found != self.state.get(&key).map(|version| version.value(0, key)) {
                let (len, version) = (found.map(|value| value.len()), self.state.get(&key));
                let place = self.place.database.display();
                return Err(Ending::Violation(format!(
                    "{place}: get: key {key}: {len:?} bytes, {version:?} expected"
                )));
            }
        }
        Ok(())
    }
}
