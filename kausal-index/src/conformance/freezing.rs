//! The laws of order: who has it before `freeze`, and what `freeze` keeps.

use crate::block_index::{BlockIndex, Unordered};
use crate::conformance::bed::{self, built};
use crate::conformance::case::Case;
use crate::conformance::cursors::cursor_of;
use crate::conformance::model::{Model, shown};
use crate::conformance::{Outcome, ensure};
use crate::cursor::Cursor;
use crate::entry::SeqNo;

pub(super) fn order_as_claimed<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, _) = built::<I>(case)?;
    let before = index.cursor().map(|_| ());
    match I::ORDERED_WHILE_LIVE {
        true => ensure!(before == Ok(()), "the index claims order while it lives, and has no cursor"),
        false => {
            ensure!(before == Err(Unordered), "the index claims no order while it lives, and has a cursor")
        }
    }
    bed::freeze(&index, &bed)?;
    ensure!(index.cursor().is_ok(), "a frozen index has no cursor");
    Ok(())
}

pub(super) fn freeze<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    bed::freeze(&index, &bed)?;
    readable(&index, &model)?;
    let mut cursor = cursor_of(&index)?;
    let (mut count, mut last) = (0, None);
    let Ok(mut more) = cursor.seek_to_first();
    while let (true, Some(entry)) = (more, cursor.entry()) {
        let behind = last
            .as_ref()
            .is_none_or(|(key, seqno): &(Vec<u8>, SeqNo)| entry.cmp_position(key, *seqno).is_gt());
        ensure!(behind, "a frozen index is out of order at {}", shown(Some(entry)));
        last = Some((entry.key.to_vec(), entry.seqno));
        count += 1;
        Ok(more) = cursor.next();
    }
    let held = model.entries().len();
    ensure!(count == held, "the walk of a frozen index meets {count} of {held} entries");
    bed.check_neighbours()
}

pub(super) fn freeze_refused<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    let permit = bed.region.permit(16 * case.pick(0, 4)).map_err(|error| error.to_string())?;
    // An index that is ordered anyway needs nothing and succeeds.
    let _ = index.freeze(permit.pen());
    readable(&index, &model)
}

fn readable<I: BlockIndex>(index: &I, model: &Model) -> Outcome {
    for entry in model.entries() {
        let (found, expected) = (index.get(&entry.key, entry.seqno), Some(entry.as_ref()));
        ensure!(found == expected, "after freeze, get of {} is {}", shown(expected), shown(found));
    }
    let (len, expected) = (index.len(), model.entries().len());
    ensure!(len == expected, "freeze changes len from {expected} to {len}");
    Ok(())
}
