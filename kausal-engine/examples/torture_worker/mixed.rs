//! Two writers at once, until somebody ends the process.
//!
//! Each goes on where the last audit found it. It knows what its keys hold, since it alone writes them: it reads some
//! again after each operation, and walks over all of them now and then. What it reads must be right at every moment.

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use kausal_engine::sim::SimRandom;
use kausal_engine::{Builder, Cursor, Error, KeyRange, StorageEngine, WriteOptions};

use crate::Ending;
use crate::history::{self, History, KEYS, State, key_bytes};
use crate::phase::{self, Phases};
use crate::place::{Place, acknowledge, options};

/// How often a writer walks over its keys, in operations.
const WALK_EVERY: u64 = 97;

/// Opens the database, lets the writers write for at most `limit`, and closes it.
pub(crate) fn run(place: &Place, salt: u64, limit: Duration) -> Result<(), Ending> {
    let phases = Phases::create(&place.phase())?;
    let mut histories = history::read(&place.history())?;
    histories.iter_mut().for_each(|history| history.begin(salt));
    history::write(&place.history(), &histories)?;
    place.clear_acks()?;
    let engine = open(place, &phases, salt)?;
    let end = Instant::now() + limit;
    thread::scope(|scope| {
        let writers = histories.iter().enumerate().map(|(number, history)| {
            let (engine, phases) = (&engine, &phases);
            let acks = place.open_acks(number);
            scope.spawn(move || {
                phases.become_writer(number);
                let state = history.state(number, history.recovered);
                Writer { number, history, engine, phases, acks: acks?, state }.write_until(end)
            })
        });
        let writers: Vec<_> = writers.collect();
        // A panic of a writer is one of this process.
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or(Err(Ending::Panicked)))
    })?;
    Ok(engine.close()?)
}

/// Opens the database, its recovery marked.
pub(crate) fn open(place: &Place, phases: &Phases, salt: u64) -> Result<StorageEngine, Ending> {
    let environment = phases.environment()?;
    let builder = Builder::new(&place.database, options(salt)).environment(environment);
    Ok(phases.during(phase::RECOVERY, || builder.open())?)
}

struct Writer<'a> {
    number: usize,
    history: &'a History,
    engine: &'a StorageEngine,
    phases: &'a Phases,
    acks: File,
    state: State,
}

impl Writer<'_> {
    fn write_until(mut self, end: Instant) -> Result<(), Ending> {
        let random = SimRandom::new(self.history.recovered ^ (self.number as u64) << 60);
        let mut counter = self.history.recovered;
        while Instant::now() < end {
            counter += 1;
            let op = self.history.op(self.number, counter);
            let batch = op.to_batch(self.number)?;
            let durable = WriteOptions::durable(op.durability);
            self.phases.during(phase::WRITE, || patiently(|| self.engine.write(&batch, durable)))?;
            acknowledge(&mut self.acks, counter, op.durability)?;
            op.apply(&mut self.state);
            if random.below(4) == 0 {
                self.read(random.below(u64::from(KEYS)) as u32)?;
            }
            if counter.is_multiple_of(WALK_EVERY) {
                self.walk()?;
            }
        }
        Ok(())
    }

    /// A key of its own has the last value it was given, or none.
    fn read(&self, key: u32) -> Result<(), Ending> {
        let found = patiently(|| self.engine.get(&key_bytes(self.number, key)))?;
        let expected = self.state.get(&key).map(|version| version.value(self.number, key));
        self.compare("get", key, found.as_deref(), expected.as_deref())
    }

    /// All keys of both writers, in order; its own have their last values.
    fn walk(&self) -> Result<(), Ending> {
        let mut cursor = patiently(|| self.engine.cursor(KeyRange::all()))?;
        let mut expected = self.state.iter();
        let mut last: Vec<u8> = Vec::new();
        let mut more = cursor.seek_to_first()?;
        while more {
            let key = cursor.key().unwrap_or_default();
            if !last.is_empty() && key <= last.as_slice() {
                return Err(Ending::Violation(format!("cursor: {} is out of order", key.escape_ascii())));
            }
            last = key.to_vec();
            if key.first() == Some(&(b'0' + self.number as u8)) {
                let (number, version) = expected.next().ok_or_else(|| {
                    Ending::Violation(format!("cursor: {} should not be there", last.escape_ascii()))
                })?;
                if key_bytes(self.number, *number) != last {
                    return Err(Ending::Violation(format!("cursor: key {number} is missing")));
                }
                let value = patiently(|| read_value(&mut cursor))?;
                self.compare("cursor", *number, Some(&value), Some(&version.value(self.number, *number)))?;
            }
            more = match cursor.next() {
                // A move that failed leaves no place to go on from: to the first key that may follow.
                Err(Error::MemoryBudget(_)) => patiently(|| cursor.seek(&[&last[..], &[0]].concat()))?,
                moved => moved?,
            };
        }
        match expected.next() {
            Some((number, _)) => Err(Ending::Violation(format!("cursor: key {number} is missing"))),
            None => Ok(()),
        }
    }

    fn compare(
        &self,
        how: &str,
        key: u32,
        found: Option<&[u8]>,
        expected: Option<&[u8]>,
    ) -> Result<(), Ending> {
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.map(<[u8]>::len), expected.map(<[u8]>::len));
        let (writer, version) = (self.number, self.state.get(&key));
        Err(Ending::Violation(format!(
            "{how}: writer {writer} key {key}: {found:?} bytes found, {expected:?} expected, version {version:?}"
        )))
    }
}

/// Tries again while the smallest of budgets has no room for what both writers and the background hold at once. Nothing of
/// a refused operation was done.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Err(Error::MemoryBudget(_)) if Instant::now() < patience => {
                thread::sleep(Duration::from_micros(200));
            }
            answer => return answer,
        }
    }
}

/// The value a cursor is at, of whatever size.
pub(crate) fn read_value(cursor: &mut Cursor) -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    match cursor.value_reader()?.read_to_end(&mut value) {
        Ok(_) => Ok(value),
        Err(error) => Err(match error.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Io { op: "read a value of", path: "the cursor".into(), source },
        }),
    }
}
