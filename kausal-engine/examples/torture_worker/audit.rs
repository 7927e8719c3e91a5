//! What a crash left, against the acknowledgements.
//!
//! 1. `check`, before anything is repaired, must find nothing.
//! 2. Recovery must succeed. What every key has, by cursor and by `get`, must be the state after some number of each
//!    writer's operations: from the last safe acknowledgement to the operation after the last acknowledgement.
//! 3. `check` again, after a close: nothing torn is left. One audit in two ends without a close instead.
//!
//! The answer is one line of JSON for the task that drives this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kausal_engine::vfs::{StdVfs, Vfs};
use kausal_engine::{Error, KeyRange, RecoveryReport, StorageEngine, check};
use serde_json::{Value, json};

use crate::Ending;
use crate::history::{self, Found, KEYS, WRITERS, key_bytes};
use crate::mixed::{open, read_value};
use crate::phase::Phases;
use crate::place::{Acked, Place};

/// Bytes that a check may hold.
const CHECK_BUDGET: usize = 64 << 20;

/// What the crash was: it says which acknowledgements count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Of the process.
    Kill,
    /// Of the machine.
    Power,
}

/// Recovers and compares.
pub(crate) fn run(place: &Place, crash: Crash, salt: u64) -> Result<Value, Ending> {
    let mut histories = history::read(&place.history())?;
    let mut acked = [Acked::default(); WRITERS];
    for (writer, history) in histories.iter().enumerate() {
        acked[writer] = place.read_acks(writer, history.recovered)?;
    }
    let floors = acked.map(|acked| if crash == Crash::Kill { acked.process } else { acked.power });
    let before = match check_database(place) {
        Ok(()) => Value::Null,
        // Killed before there was one. If something should be there, the comparison says so.
        Err(Error::NotFound { .. }) if floors == [0; WRITERS] => Value::Null,
        Err(error) => return Ok(refusal("check", &error)),
    };
    let phases = Phases::create(&place.phase())?;
    let started = Instant::now();
    let engine = match open(place, &phases, salt) {
        Ok(engine) => engine,
        Err(Ending::Engine(error)) => return Ok(refusal("open", &error)),
        Err(other) => return Err(other),
    };
    let recovery_micros = started.elapsed().as_micros() as u64;
    let report = engine.recovery_report().clone();
    let mut found: [Found; WRITERS] = Default::default();
    if let Err(error) = read_all(&engine, &mut found) {
        return match error {
            Ending::Engine(error) => Ok(refusal("read", &error)),
            other => Err(other),
        };
    }
    let (mut lost, mut wrong, mut torn, mut what) = (0, 0, 0, String::new());
    let (mut late, mut late_lost) = (0, 0);
    for (writer, history) in histories.iter_mut().enumerate() {
        let judgement = history.judge(writer, floors[writer], acked[writer].any + 1, &found[writer]);
        lost += judgement.lost;
        wrong += judgement.wrong;
        torn += judgement.torn;
        what += &judgement.what;
        history.recovered = judgement.recovered.unwrap_or(history.recovered);
        late += u64::from(acked[writer].late > 0);
        late_lost += u64::from(acked[writer].late > history.recovered);
    }
    if salt.is_multiple_of(2) {
        engine.close()?;
        if let Err(error) = check_database(place) {
            return Ok(refusal("check after the close", &error));
        }
    } else {
        // The process ends as if it were killed.
        std::mem::forget(engine);
    }
    history::write(&place.history(), &histories)?;
    place.clear_acks()?;
    Ok(answer(
        &report,
        before,
        &json!({
            "acknowledged": acked.iter().map(|acked| acked.count).sum::<u64>(),
            "lost": lost, "wrong": wrong, "torn": torn, "what": what, "late": late, "late_lost": late_lost,
            "recovery_micros": recovery_micros,
        }),
    ))
}

fn answer(report: &RecoveryReport, refused: Value, counts: &Value) -> Value {
    let mut answer = json!({
        "refused": refused,
        "was_clean": report.was_clean,
        "batches": report.batch_count,
        "dropped_bytes": report.dropped_bytes,
        "dropped_logs": report.dropped_log_count,
    });
    if let (Some(answer), Some(counts)) = (answer.as_object_mut(), counts.as_object()) {
        answer.extend(counts.clone());
    }
    answer
}

/// The database says itself that something is wrong.
fn refusal(step: &str, error: &Error) -> Value {
    json!({ "refused": format!("{step}: {}", crate::chain(error)), "is_corruption": error.is_corruption() })
}

fn check_database(place: &Place) -> Result<(), Error> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    check(&vfs, &place.database, CHECK_BUDGET).map(|_| ())
}

/// Every key with its value, read twice; again while a compaction leaves a small budget no room for it.
fn read_all(engine: &StorageEngine, found: &mut [Found; WRITERS]) -> Result<(), Ending> {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        *found = Default::default();
        match read_once(engine, found) {
            Err(Ending::Engine(Error::MemoryBudget(_))) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(1));
            }
            answer => return answer,
        }
    }
}

fn read_once(engine: &StorageEngine, found: &mut [Found; WRITERS]) -> Result<(), Ending> {
    let mut names = BTreeMap::new();
    for writer in 0..WRITERS {
        names.extend((0..KEYS).map(|key| (key_bytes(writer, key), (writer, key))));
    }
    let mut cursor = engine.cursor(KeyRange::all())?;
    let mut more = cursor.seek_to_first()?;
    while more {
        let name = cursor.key().unwrap_or_default();
        let Some(&(writer, key)) = names.get(name) else {
            return Err(Ending::Violation(format!("a key that nobody wrote: {}", name.escape_ascii())));
        };
        let value = read_value(&mut cursor)?;
        if found[writer].insert(key, value).is_some() {
            return Err(Ending::Violation(format!("cursor: writer {writer} key {key} twice")));
        }
        more = cursor.next()?;
    }
    for (name, (writer, key)) in names {
        if engine.get(&name)?.as_ref() != found[writer].get(&key) {
            return Err(Ending::Violation(format!("get and cursor differ: writer {writer} key {key}")));
        }
    }
    Ok(())
}
