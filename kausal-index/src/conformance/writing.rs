//! The laws of inserts: what is taken, what is refused, and that a refusal changes nothing.

use std::collections::BTreeMap;

use kausal_arena::AllocError;

use crate::block_index::{BlockIndex, InsertError};
use crate::conformance::bed::{self, Bed, built};
use crate::conformance::case::{Case, Start};
use crate::conformance::cursors::cursor_of;
use crate::conformance::model::{Model, shown, shown_key};
use crate::conformance::{Outcome, ensure};
use crate::cursor::Cursor;
use crate::entry::{Entry, EntryRef, KEY_BYTES_MAX, Kind, SeqNo};

pub(super) fn insert<I: BlockIndex>(case: &Case) -> Outcome {
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, mut model) = bed.create::<I>(case)?;
    let pen = bed.region.writer();
    for entry in &entries {
        ensure!(index.is_empty() == model.entries().is_empty(), "is_empty is {}", index.is_empty());
        bed::insert(&index, &pen, entry)?;
        model.insert(entry);
        ensure!(
            index.len() == model.entries().len(),
            "len is {}, not {}",
            index.len(),
            model.entries().len()
        );
    }
    bed.check_neighbours()
}

pub(super) fn duplicate<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    let pen = bed.region.writer();
    for (place, held) in model.entries().iter().enumerate().take(400) {
        // Another kind and value make it no other entry: the position is its name.
        let kind = if case.pick(place, 2) == 0 { Kind::Put } else { Kind::Blob };
        let again = EntryRef { value: b"another value", kind, ..held.as_ref() };
        let refused = index.insert(&pen, again);
        let position = shown(Some(again));
        match refused {
            Err(InsertError::Duplicate(seqno)) if seqno == held.seqno => {}
            Err(other) => return Err(format!("a second {position} is refused with: {other}")),
            Ok(()) => return Err(format!("a second {position} is taken")),
        }
        let found = index.get(&held.key, held.seqno);
        ensure!(
            found == Some(held.as_ref()),
            "after a second {position} was refused, get is {}",
            shown(found)
        );
    }
    let (len, expected) = (index.len(), model.entries().len());
    ensure!(len == expected, "refused duplicates change len from {expected} to {len}");
    Ok(())
}

pub(super) fn key_too_long<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    let pen = bed.region.writer();
    for len in [KEY_BYTES_MAX + 1, KEY_BYTES_MAX + 2, 2 * (KEY_BYTES_MAX + 1)] {
        let key = vec![b'k'; len];
        let refused =
            index.insert(&pen, EntryRef { key: &key, seqno: SeqNo::MAX, kind: Kind::Put, value: b"" });
        let said = matches!(refused, Err(InsertError::KeyTooLong { len: said }) if said == len);
        ensure!(said, "a key of {len} bytes is answered with {refused:?}");
        ensure!(index.get(&key, SeqNo::MAX).is_none(), "a key of {len} bytes is found");
        ensure!(index.len() == model.entries().len(), "a refused key changes len to {}", index.len());
    }
    Ok(())
}

pub(super) fn extreme_sizes<I: BlockIndex>(case: &Case) -> Outcome {
    let long = |last: u8| [vec![b'k'; KEY_BYTES_MAX - 1], vec![last]].concat();
    let eighth = 1 << 20;
    let extremes = [
        (Vec::new(), Vec::new()),
        (Vec::new(), vec![1; eighth]),
        (long(0), Vec::new()),
        (long(1), vec![2; 3]),
        (long(0xFF), vec![3; eighth]),
        (vec![0], vec![4; eighth - 1]),
        (vec![b'k'; KEY_BYTES_MAX - 1], vec![5]),
    ];
    let number = |place: usize| SeqNo::new(SeqNo::MAX.get() - 10 - place as u64).expect("in range");
    let extreme = |(place, (key, value))| Entry { key, seqno: number(place), kind: Kind::Put, value };
    let mut entries = case.unique();
    let bound = I::bytes_max(0, 0) + I::bytes_max(1, eighth + KEY_BYTES_MAX);
    ensure!(
        bound <= 8 * eighth,
        "an empty region cannot take a value of its eighth: that may need {bound} bytes"
    );
    for entry in extremes.into_iter().enumerate().map(extreme) {
        let place = case.pick(entries.len(), entries.len() + 1);
        entries.insert(place, entry);
    }
    let (bed, index, model) = built::<I>(&Case { entries, ..case.clone() })?;
    let expect_all = || -> Outcome {
        for entry in model.entries() {
            let found = index.get(&entry.key, entry.seqno);
            let expected = Some(entry.as_ref());
            ensure!(found == expected, "get of {} is {}", shown(expected), shown(found));
        }
        Ok(())
    };
    expect_all()?;
    bed::freeze(&index, &bed)?;
    expect_all()?;
    let mut cursor = cursor_of(&index)?;
    let Ok(mut more) = cursor.seek(&[], SeqNo::MAX);
    for entry in model.entries() {
        ensure!(
            more && cursor.entry() == Some(entry.as_ref()),
            "the walk misses {}",
            shown(Some(entry.as_ref()))
        );
        Ok(more) = cursor.next();
    }
    Ok(())
}

/// Sorted batches between single inserts; some out of order, some with a duplicate, some on a pen that runs dry.
pub(super) fn insert_sorted<I: BlockIndex>(case: &Case) -> Outcome {
    let mut entries = case.unique();
    entries.truncate(120);
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, mut model) = bed.create::<I>(case)?;
    let (mut begin, mut batch) = (0, 0);
    while begin < entries.len() {
        let end = (begin + 1 + case.pick(batch, 40)).min(entries.len());
        let mut run = entries[begin..end].to_vec();
        let trouble = case.pick(batch + 1, 6);
        if trouble != 0 {
            run.sort_by(|left, right| left.as_ref().cmp_position(&right.key, right.seqno));
        }
        if trouble == 1 && !model.entries().is_empty() {
            let held = &model.entries()[case.pick(batch + 2, model.entries().len())];
            run.insert(case.pick(batch + 3, run.len() + 1), held.clone());
        }
        let payload = run.iter().map(|entry| entry.as_ref().payload_bytes()).sum();
        let bytes = I::bytes_max(run.len(), payload);
        let dry = trouble == 2;
        let permit =
            bed.region.permit(if dry { bytes / 3 } else { 2 * bytes }).map_err(|error| error.to_string())?;
        let answer = index.insert_sorted(permit.pen(), run.iter().map(Entry::as_ref));
        check_sorted(&index, &mut model, &run, answer, dry)?;
        (begin, batch) = (end, batch + 1);
    }
    let (len, expected) = (index.len(), model.entries().len());
    ensure!(len == expected, "len is {len} after sorted batches, not {expected}");
    bed.check_neighbours()
}

/// Whether the entries of `run` before the refused one are there, and those from it on are not.
fn check_sorted<I: BlockIndex>(
    index: &I,
    model: &mut Model,
    run: &[Entry],
    answer: Result<(), InsertError>,
    dry: bool,
) -> Outcome {
    let taken = match &answer {
        Ok(()) => run.len(),
        Err(InsertError::Duplicate(_)) => {
            let is_held = |entry: &Entry| {
                model.get(&entry.key, entry.seqno).is_some_and(|held| held.seqno == entry.seqno)
            };
            run.iter().position(is_held).ok_or("insert_sorted reports a duplicate where there is none")?
        }
        Err(InsertError::Alloc(AllocError::Exhausted { .. })) if dry => {
            let is_missing = |entry: &Entry| index.get(&entry.key, entry.seqno) != Some(entry.as_ref());
            run.iter().position(is_missing).unwrap_or(run.len())
        }
        Err(other) => return Err(format!("insert_sorted of {} entries is refused: {other}", run.len())),
    };
    for (place, entry) in run.iter().enumerate() {
        let (key, seqno) = (&entry.key, entry.seqno);
        let new = place < taken && model.insert(entry);
        ensure!(new || place >= taken, "insert_sorted took {} a second time", shown(Some(entry.as_ref())));
        let (found, expected) = (index.get(key, seqno), model.get(key, seqno));
        ensure!(
            found == expected || place > taken,
            "insert_sorted answered {answer:?}; entry {place} of {} is {}, not {}",
            run.len(),
            shown(found),
            shown(expected)
        );
    }
    // Those behind the refused one are compared when the model has all before them.
    for entry in &run[taken..] {
        let (found, expected) = (index.get(&entry.key, entry.seqno), model.get(&entry.key, entry.seqno));
        ensure!(found == expected, "insert_sorted left {} behind a refused entry", shown(found));
    }
    Ok(())
}

/// Before every insert of a fill, the same insert on pens too short for it; at last a region filled to its end.
pub(super) fn exhaustion<I: BlockIndex>(case: &Case) -> Outcome {
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    // Refused inserts may use their pens up, so the region is larger than the entries need.
    let bed = Bed::new(case.start, 40 * bed.region.capacity());
    let (index, mut model) = bed.create::<I>(case)?;
    for entry in &entries {
        starve(&index, &bed, &model, entry)?;
        model.insert(entry);
    }
    bed.check_neighbours()?;
    fill_to_the_end::<I>(case)
}

/// Offers `entry` pens of growing length until one is long enough.
fn starve<I: BlockIndex>(index: &I, bed: &Bed, model: &Model, entry: &Entry) -> Outcome {
    let before = visible(index, model, entry)?;
    let enough = 2 * I::bytes_max(1, entry.as_ref().payload_bytes()) + 4096;
    let mut bytes = 0;
    loop {
        let permit = bed.region.permit(bytes).map_err(|error| error.to_string())?;
        match index.insert(permit.pen(), entry.as_ref()) {
            Ok(()) => return Ok(()),
            Err(InsertError::Alloc(_)) if bytes < enough => {}
            Err(error) => {
                let entry = shown(Some(entry.as_ref()));
                return Err(format!("insert of {entry} with {bytes} bytes is refused with: {error}"));
            }
        }
        let after = visible(index, model, entry)?;
        for (before, after) in before.iter().zip(&after) {
            ensure!(
                before == after,
                "insert of {} with {bytes} bytes was refused, but {} {} became {}",
                shown(Some(entry.as_ref())),
                before.0,
                shown(before.1.as_ref().map(Entry::as_ref)),
                shown(after.1.as_ref().map(Entry::as_ref))
            );
        }
        ensure!(before.len() == after.len(), "a refused insert changed how much there is to see");
        // Small steps first: a split that gets its first node and not its second happens in few bytes.
        bytes += if bytes < 256 { 16 } else { bytes / 4 };
    }
}

/// What a reader sees, each with the name of the look-up.
type Visible = Vec<(&'static str, Option<Entry>)>;

fn visible<I: BlockIndex>(index: &I, model: &Model, entry: &Entry) -> Result<Visible, String> {
    let owned = |found: Option<EntryRef<'_>>| found.map(|entry| entry.to_owned());
    let len = Entry { key: Vec::new(), seqno: SeqNo::MAX, kind: Kind::Put, value: vec![0; index.len()] };
    let mut seen = vec![("len of", Some(len))];
    seen.push(("get of the entry", owned(index.get(&entry.key, entry.seqno))));
    seen.push(("get of the newest", owned(index.get(&entry.key, SeqNo::MAX))));
    seen.extend(index.versions(&entry.key, SeqNo::MAX).map(|found| ("version", Some(found.to_owned()))));
    seen.extend(model.entries().iter().map(|held| ("get", owned(index.get(&held.key, held.seqno)))));
    if I::ORDERED_WHILE_LIVE {
        let mut cursor = cursor_of(index)?;
        let Ok(mut more) = cursor.seek_to_first();
        while more {
            seen.push(("walked over", owned(cursor.entry())));
            Ok(more) = cursor.next();
        }
    }
    Ok(seen)
}

/// Inserts into a small region until it refuses, and then a little more.
fn fill_to_the_end<I: BlockIndex>(case: &Case) -> Outcome {
    let bed = Bed::new(Start::Fresh, I::bytes_max(0, 0));
    let (index, _) = bed.create::<I>(&Case { loaded: 0, ..case.clone() })?;
    let pen = bed.region.writer();
    let mut held = BTreeMap::new();
    let (mut refused, mut number) = (0, 0_u64);
    // An index that takes nothing from its pens is never refused.
    while refused < 20 && number < 3000 {
        number += 1;
        let key =
            [b"fill/".as_slice(), &(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).to_be_bytes()].concat();
        let value = vec![number as u8; case.pick(number as usize, 200)];
        let seqno = SeqNo::new(number).expect("small");
        match index.insert(&pen, EntryRef { key: &key, seqno, kind: Kind::Put, value: &value }) {
            Ok(()) => _ = held.insert(key, (seqno, value)),
            Err(InsertError::Alloc(_)) => {
                refused += 1;
                let found = index.get(&key, seqno);
                ensure!(
                    found.is_none_or(|found| found.seqno != seqno),
                    "a full region shows {}",
                    shown(found)
                );
            }
            Err(error) => return Err(format!("insert into a full region is refused with: {error}")),
        }
    }
    for (key, (seqno, value)) in &held {
        let found = index.get(key, *seqno);
        let kept = found.is_some_and(|found| found.seqno == *seqno && found.value == value);
        ensure!(kept, "a full region lost {}#{seqno}: get is {}", shown_key(key), shown(found));
    }
    ensure!(index.len() == held.len(), "a full region of {} entries says it has {}", held.len(), index.len());
    Ok(())
}
