//! Cursors against an ordered map, while the database changes under them: between any two steps there may be writes, flushes
//! and compactions, and the cursor goes on in its snapshot. A walk that lends its entries does so while it shows one.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use kausal_engine::{Cursor, KeyRange, Lent, StorageEngine};
use proptest::prelude::*;

use crate::{open, open_as};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    First,
    Last,
    Seek(u8),
    SeekForPrev(u8),
    /// So many steps on.
    Next(u8),
    Prev(u8),
    /// Shows so many entries from a key or the beginning, and changes something meanwhile.
    Lend(Option<u8>, u8),
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Flush,
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::First),
        1 => Just(Step::Last),
        3 => any::<u8>().prop_map(Step::Seek),
        3 => any::<u8>().prop_map(Step::SeekForPrev),
        5 => (1..40_u8).prop_map(Step::Next),
        5 => (1..40_u8).prop_map(Step::Prev),
        3 => (proptest::option::of(any::<u8>()), any::<u8>()).prop_map(|(key, count)| Step::Lend(key, count)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => any::<u8>().prop_map(Step::Delete),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Step::DeleteRange(from, to)),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Keys that share nothing, a few bytes, and more than a position has room for.
fn key(number: u8) -> Vec<u8> {
    match number % 3 {
        0 => vec![number],
        1 => format!("shared/{number:03}").into_bytes(),
        _ => format!("{}{number:03}{}", "long".repeat(17), "x".repeat(usize::from(number % 40))).into_bytes(),
    }
}

fn value(number: u8) -> Vec<u8> {
    vec![number; 20 + usize::from(number)]
}

/// Places that hold every key in several versions, some of them deleted: two levels, level 0 and the memtable.
fn filled(engine: &StorageEngine) -> Model {
    let mut model = Model::new();
    for round in 0..4_u8 {
        for number in (0..=255).filter(|number| number % 4 >= round) {
            engine.put(&key(number), &value(number ^ round)).unwrap();
            model.insert(key(number), value(number ^ round));
        }
        for number in (round..=255).step_by(9) {
            engine.delete(&key(number)).unwrap();
            model.remove(&key(number));
        }
        match round {
            0 => engine.compact().unwrap(),
            1 | 2 => engine.flush().unwrap(),
            _ => {}
        }
    }
    model
}

/// What stands where the cursor should, and what the cursor says of it.
fn agree(cursor: &Cursor, stands: bool, model: &Model, at: Option<&Vec<u8>>) {
    assert_eq!(stands, at.is_some());
    let expected = at.map(|key| (key.as_slice(), model[key].as_slice()));
    assert_eq!(cursor.key().zip(cursor.value()), expected);
}

fn change(engine: &StorageEngine, step: &Step) {
    match *step {
        Step::Put(number, with) => engine.put(&key(number), &value(with)).unwrap(),
        Step::Delete(number) => engine.delete(&key(number)).unwrap(),
        Step::DeleteRange(from, to) => {
            let (from, to) = (key(from), key(to));
            if from < to {
                engine.delete_range(&from, &to).unwrap();
            }
        }
        Step::Flush => engine.flush().unwrap(),
        Step::Compact => engine.compact().unwrap(),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_walk_stays_in_its_moment_whatever_happens_between_its_steps(
        before in steps(),
        steps in steps(),
        bounds in proptest::option::of((any::<u8>(), any::<u8>())),
        is_mapped in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let engine = open_as(is_mapped, folder.path());
        let mut model = filled(&engine);
        for step in &before {
            change(&engine, step);
            match *step {
                Step::Put(number, with) => drop(model.insert(key(number), value(with))),
                Step::Delete(number) => drop(model.remove(&key(number))),
                Step::DeleteRange(from, to) => {
                    let (from, to) = (key(from), key(to));
                    model.retain(|key, _| *key < from || to <= *key);
                }
                _ => {}
            }
        }
        let mut range = KeyRange::all();
        if let Some((lower, upper)) = bounds {
            range = KeyRange { lower: Bound::Included(key(lower)), upper: Bound::Excluded(key(upper)) };
            model.retain(|found, _| key(lower) <= *found && *found < key(upper));
        }
        let mut cursor = engine.cursor_at(&engine.snapshot(), range).unwrap();
        let mut at: Option<Vec<u8>> = None;
        for step in &steps {
            let from = |bound: Bound<Vec<u8>>| model.range((bound, Bound::Unbounded)).next();
            let until = |bound: Bound<Vec<u8>>| model.range((Bound::Unbounded, bound)).next_back();
            let taken = |found: Option<(&Vec<u8>, &Vec<u8>)>| found.map(|(key, _)| key.clone());
            match *step {
                Step::First => {
                    let stands = cursor.seek_to_first().unwrap();
                    at = taken(from(Bound::Unbounded));
                    agree(&cursor, stands, &model, at.as_ref());
                }
                Step::Last => {
                    let stands = cursor.seek_to_last().unwrap();
                    at = taken(until(Bound::Unbounded));
                    agree(&cursor, stands, &model, at.as_ref());
                }
                Step::Seek(number) => {
                    let stands = cursor.seek(&key(number)).unwrap();
                    at = taken(from(Bound::Included(key(number))));
                    agree(&cursor, stands, &model, at.as_ref());
                }
                Step::SeekForPrev(number) => {
                    let stands = cursor.seek_for_prev(&key(number)).unwrap();
                    at = taken(until(Bound::Included(key(number))));
                    agree(&cursor, stands, &model, at.as_ref());
                }
                Step::Next(count) => for _ in 0..count {
                    let stands = cursor.next().unwrap();
                    at = at.and_then(|key| taken(from(Bound::Excluded(key))));
                    agree(&cursor, stands, &model, at.as_ref());
                },
                Step::Prev(count) => for _ in 0..count {
                    let stands = cursor.prev().unwrap();
                    at = at.and_then(|key| taken(until(Bound::Excluded(key))));
                    agree(&cursor, stands, &model, at.as_ref());
                },
                Step::Lend(start, count) => {
                    let (mut seen, limit) = (Vec::new(), 1 + usize::from(count));
                    let each = |entry: Lent<'_>| {
                        seen.push((entry.key().to_vec(), entry.value().unwrap().to_vec()));
                        change(&engine, &Step::Put(count, count));
                        if seen.len() == 5 {
                            change(&engine, &Step::Flush);
                        }
                        if seen.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    };
                    let saw_all = match start {
                        Some(number) => cursor.walk_from(&key(number), each),
                        None => cursor.walk(each),
                    }.unwrap();
                    let first = start.map_or(Bound::Unbounded, |number| Bound::Included(key(number)));
                    let all = model.range((first, Bound::Unbounded));
                    let expected: Vec<_> = all.map(|(key, value)| (key.clone(), value.clone())).take(limit).collect();
                    assert_eq!(saw_all, expected.len() < limit);
                    assert_eq!(seen, expected);
                    at = None;
                    agree(&cursor, false, &model, None);
                    assert!(!cursor.next().unwrap());
                }
                _ => change(&engine, step),
            }
        }
        drop(cursor);
        engine.close().unwrap();
    }
}

#[test]
fn who_is_shown_an_entry_may_write_more_than_the_memtables_hold() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    // More keys than a visit shows, of which every third is in a memtable, in more than one chunk.
    let count = 10_000_u32;
    for number in 0..count {
        engine.put(&number.to_be_bytes(), &[1; 50]).unwrap();
    }
    engine.compact().unwrap();
    for number in (0..count).step_by(3) {
        engine.put(&number.to_be_bytes(), &[2; 40]).unwrap();
    }
    for number in (0..count).step_by(7) {
        engine.delete(&number.to_be_bytes()).unwrap();
    }
    let flushes = engine.stats().flushes;
    let mut expected = (0..count).filter(|number| number % 7 != 0);
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let saw_all = cursor.walk(|entry| {
        let number = expected.next().unwrap();
        assert_eq!(entry.key(), number.to_be_bytes());
        let expected = if number % 3 == 0 { &[2; 40][..] } else { &[1; 50] };
        assert_eq!(entry.value(), Some(expected));
        if number % 500 == 1 {
            // Three memtables of a budget of 8 MiB in one go: a walk that kept one would wait for itself.
            for turn in 0..if number == 1 { 90 } else { 4 } {
                engine.put(&(number + turn).to_be_bytes(), &vec![turn as u8; 50_000]).unwrap();
            }
        }
        ControlFlow::Continue(())
    });
    assert!(saw_all.unwrap() && expected.next().is_none());
    assert!(engine.stats().flushes >= flushes + 3, "{:?}", engine.stats());
}

#[test]
fn a_walk_tells_how_long_a_value_is_that_lies_apart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    engine.put(b"large", &vec![7; 2_000_000]).unwrap();
    engine.put(b"small", b"sweet").unwrap();
    for is_flushed in [false, true] {
        let mut seen = Vec::new();
        let mut cursor = engine.cursor(KeyRange::all()).unwrap();
        let each = |entry: Lent<'_>| {
            seen.push((entry.key().to_vec(), entry.value().map(<[u8]>::to_vec), entry.value_len()));
            ControlFlow::Continue(())
        };
        assert!(cursor.walk(each).unwrap());
        let large = (b"large".to_vec(), None, Some(2_000_000));
        assert_eq!(seen, [large, (b"small".to_vec(), Some(b"sweet".to_vec()), Some(5))], "{is_flushed}");
        engine.flush().unwrap();
    }
}
