//! The laws of cursors.

use std::convert::Infallible;

use kausal_arena::Writer;

use crate::block_index::BlockIndex;
use crate::conformance::bed::{self, Bed, built};
use crate::conformance::case::Case;
use crate::conformance::model::{Model, shown, shown_key};
use crate::conformance::reading::probes;
use crate::conformance::{Outcome, ensure};
use crate::cursor::Cursor;
use crate::entry::{Entry, EntryRef, SeqNo};

/// A cursor that must be there.
pub(super) fn cursor_of<I: BlockIndex>(index: &I) -> Result<impl Cursor<Error = Infallible>, String> {
    index.cursor().map_err(|error| format!("no cursor: {error}"))
}

/// Runs `check` on an index that lives, if it claims order then, and again when it is frozen.
fn live_and_frozen<I: BlockIndex>(case: &Case, check: impl Fn(&I, &Model) -> Outcome) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    if I::ORDERED_WHILE_LIVE {
        check(&index, &model).map_err(|what| format!("before freeze, {what}"))?;
    }
    bed::freeze(&index, &bed)?;
    check(&index, &model).map_err(|what| format!("after freeze, {what}"))
}

/// Compares where a movement says the cursor stands, where it does, and where it should.
fn stands(
    cursor: &impl Cursor<Error = Infallible>,
    moved: bool,
    expected: Option<EntryRef<'_>>,
    what: impl Fn() -> String,
) -> Outcome {
    let found = cursor.entry();
    ensure!(found == expected, "after {} it stands on {}, not {}", what(), shown(found), shown(expected));
    ensure!(moved == found.is_some(), "{} answers {moved}, but it stands on {}", what(), shown(found));
    Ok(())
}

pub(super) fn walk<I: BlockIndex>(case: &Case) -> Outcome {
    live_and_frozen::<I>(case, |index, model| {
        let mut cursor = cursor_of(index)?;
        ensure!(cursor.entry().is_none(), "a new cursor stands on {}", shown(cursor.entry()));
        let Ok(mut moved) = cursor.seek_to_first();
        for (place, entry) in model.entries().iter().enumerate() {
            stands(&cursor, moved, Some(entry.as_ref()), || format!("{place} steps from the first entry"))?;
            Ok(moved) = cursor.next();
        }
        stands(&cursor, moved, None, || "a step from the last entry".into())?;
        Ok(moved) = cursor.seek_to_last();
        for (place, entry) in model.entries().iter().rev().enumerate() {
            stands(&cursor, moved, Some(entry.as_ref()), || {
                format!("{place} steps back from the last entry")
            })?;
            Ok(moved) = cursor.prev();
        }
        stands(&cursor, moved, None, || "a step back from the first entry".into())
    })
}

pub(super) fn seek<I: BlockIndex>(case: &Case) -> Outcome {
    live_and_frozen::<I>(case, |index, model| {
        let mut cursor = cursor_of(index)?;
        for (key, at) in probes(case, model) {
            let Ok(moved) = cursor.seek(&key, at);
            let expected = model.at(model.count_before(&key, at));
            stands(&cursor, moved, expected, || format!("seek({}, {at})", shown_key(&key)))?;
            let Ok(moved) = cursor.seek_for_prev(&key, at);
            let expected = model.count_upto(&key, at).checked_sub(1).and_then(|place| model.at(place));
            stands(&cursor, moved, expected, || format!("seek_for_prev({}, {at})", shown_key(&key)))?;
        }
        Ok(())
    })
}

/// Where a cursor over `model` stands: a place, or nowhere.
type Place = Option<usize>;

/// Random movements, from nowhere and over both ends.
pub(super) fn moves<I: BlockIndex>(case: &Case) -> Outcome {
    live_and_frozen::<I>(case, |index, model| {
        let (mut cursor, probes) = (cursor_of(index)?, probes(case, model));
        let mut place: Place = None;
        for step in 0..case.picks.len() {
            let (movement, to) = (case.pick(step, 9), &probes[case.pick(step + 1, probes.len())]);
            let moved;
            (moved, place) = apply(&mut cursor, model, movement, place, to);
            stands(&cursor, moved, place.and_then(|place| model.at(place)), || {
                let name = ["seek_to_first", "seek_to_last", "seek", "seek_for_prev", "next", "prev"]
                    [movement.min(5)];
                format!("movement {step} ({name})")
            })?;
        }
        Ok(())
    })
}

/// Moves the cursor and the model's place. From nowhere, `next` and `prev` stay there.
fn apply(
    cursor: &mut impl Cursor<Error = Infallible>,
    model: &Model,
    movement: usize,
    place: Place,
    to: &(Vec<u8>, SeqNo),
) -> (bool, Place) {
    let len = model.entries().len();
    let (moved, place) = match movement {
        0 => (cursor.seek_to_first(), Some(0)),
        1 => (cursor.seek_to_last(), len.checked_sub(1)),
        2 => (cursor.seek(&to.0, to.1), Some(model.count_before(&to.0, to.1))),
        3 => (cursor.seek_for_prev(&to.0, to.1), model.count_upto(&to.0, to.1).checked_sub(1)),
        4 => (cursor.next(), place.map(|place| place + 1)),
        6 => {
            // Over the entry stood on, to the one behind it.
            let mut shown = 0;
            let walked = cursor.walk(|_| {
                shown += 1;
                shown < 2
            });
            (walked, place.map(|place| place + 1))
        }
        _ => (cursor.prev(), place.and_then(|place| place.checked_sub(1))),
    };
    let Ok(moved) = moved;
    (moved, place.filter(|place| *place < len))
}

/// One thread inserts and moves in turn. What a cursor meets between a seek and now may be as old as the seek, not older.
pub(super) fn while_inserting<I: BlockIndex>(case: &Case) -> Outcome {
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, mut model) = bed.create::<I>(case)?;
    let pen = bed.region.writer();
    let mut cursor = cursor_of(&index)?;
    // Entries that the cursor has to know: those that were there at its last seek.
    let mut known = Model::default();
    for (step, entries) in entries.chunks(3).enumerate() {
        stands_through(&cursor, &index, &pen, &mut model, entries)?;
        let here = cursor.entry().map(|entry| entry.to_owned());
        match (case.pick(step, 5), here) {
            (0, _) | (_, None) => {
                let Entry { key, seqno, .. } = &entries[0];
                let Ok(moved) = cursor.seek(key, *seqno);
                let expected = model.at(model.count_before(key, *seqno));
                stands(&cursor, moved, expected, || format!("seek({}, {seqno})", shown_key(key)))?;
                known = Model::default();
                model.entries().iter().for_each(|entry| _ = known.insert(entry));
            }
            (1 | 2, Some(here)) => {
                let Ok(_) = cursor.prev();
                check_step(cursor.entry(), &here, &model, &known, false)?;
            }
            (_, Some(here)) => {
                let Ok(_) = cursor.next();
                check_step(cursor.entry(), &here, &model, &known, true)?;
            }
        }
    }
    Ok(())
}

/// Inserts below a cursor, which must not move by that.
fn stands_through<I: BlockIndex>(
    cursor: &impl Cursor<Error = Infallible>,
    index: &I,
    pen: &Writer,
    model: &mut Model,
    entries: &[Entry],
) -> Outcome {
    let before = cursor.entry().map(|entry| entry.to_owned());
    for entry in entries {
        bed::insert(index, pen, entry)?;
        model.insert(entry);
    }
    let (found, before) = (cursor.entry(), before.as_ref().map(Entry::as_ref));
    ensure!(found == before, "an insert moved a cursor from {} to {}", shown(before), shown(found));
    Ok(())
}

/// Whether a step from `here` leads to an entry beyond it, over none that had to be met.
fn check_step(
    found: Option<EntryRef<'_>>,
    here: &Entry,
    model: &Model,
    known: &Model,
    forward: bool,
) -> Outcome {
    let (key, at) = (&here.key, here.seqno);
    let next_known = match forward {
        true => known.at(known.count_upto(key, at)),
        false => known.count_before(key, at).checked_sub(1).and_then(|place| known.at(place)),
    };
    let from = shown(Some(here.as_ref()));
    let Some(found) = found else {
        ensure!(next_known.is_none(), "a step from {from} leads nowhere, not to {}", shown(next_known));
        return Ok(());
    };
    let to = shown(Some(found));
    let is_beyond = |other: EntryRef<'_>| match forward {
        true => found.cmp_position(other.key, other.seqno).is_gt(),
        false => found.cmp_position(other.key, other.seqno).is_lt(),
    };
    ensure!(is_beyond(here.as_ref()), "a step from {from} leads to {to}, against the order");
    ensure!(
        model.get(found.key, found.seqno) == Some(found),
        "a step from {from} leads to {to}, which nobody inserted"
    );
    ensure!(
        !next_known.is_some_and(is_beyond),
        "a step from {from} leads to {to}, over {}",
        shown(next_known)
    );
    Ok(())
}
