//! The laws of memory: how much, from where, and that it comes back.

use std::hint::black_box;

use kausal_arena::Permit;

use crate::block_index::BlockIndex;
use crate::conformance::bed::{self, Bed, built};
use crate::conformance::case::Case;
use crate::conformance::cursors::cursor_of;
use crate::conformance::model::shown;
use crate::conformance::{Outcome, ensure};
use crate::cursor::Cursor;
use crate::entry::{Entry, SeqNo};

/// What `entries` may take from a pen.
pub(super) fn bytes_max_of<I: BlockIndex>(entries: &[Entry]) -> usize {
    I::bytes_max(entries.len(), entries.iter().map(|entry| entry.as_ref().payload_bytes()).sum())
}

/// A permit of `bytes`.
fn permit(bed: &Bed, bytes: usize) -> Result<Permit, String> {
    bed.region.permit(bytes).map_err(|error| format!("the kit's region is too small: {error}"))
}

/// The entries of `case` in the order of its choosing: as they are, up, down, or all versions of one key.
fn in_some_order(case: &Case) -> Vec<Entry> {
    let mut entries = case.unique();
    match case.pick(0, 5) {
        0 => {}
        1 => entries.sort_by(|left, right| left.as_ref().cmp_position(&right.key, right.seqno)),
        2 => entries.sort_by(|left, right| right.as_ref().cmp_position(&left.key, left.seqno)),
        other => {
            let key = entries.first().map(|entry| entry.key.clone()).unwrap_or_default();
            let count = entries.len() as u64;
            for (number, entry) in (1..).zip(&mut entries) {
                let number = if other == 3 { number } else { count + 1 - number };
                entry.key.clone_from(&key);
                entry.seqno = SeqNo::new(number).expect("small");
            }
        }
    }
    entries
}

/// Batches of every length, one by one and sorted, each on a pen of exactly its bound.
pub(super) fn bytes_max<I: BlockIndex>(case: &Case) -> Outcome {
    let mut entries = in_some_order(case);
    let mut batches = Vec::new();
    while !entries.is_empty() {
        let len = (1 + case.pick(batches.len(), 48)).min(entries.len());
        batches.push(entries.drain(..len).collect::<Vec<_>>());
    }
    let most = batches.iter().map(|batch| bytes_max_of::<I>(batch)).sum::<usize>();
    let loaded = case.preloaded().collect::<Vec<_>>();
    let bed = Bed::new(case.start, I::bytes_max(0, 0) + most + 2 * bytes_max_of::<I>(&loaded));
    let create = permit(&bed, I::bytes_max(0, 0))?;
    let before = create.pen().block_bytes_left();
    let index = I::create(bed.region.lease(), create.pen()).map_err(|error| {
        format!("create on a permit of bytes_max(0, 0) = {} bytes is refused: {error}", I::bytes_max(0, 0))
    })?;
    let taken = before - create.pen().block_bytes_left();
    ensure!(
        taken <= I::bytes_max(0, 0),
        "create took {taken} bytes, bytes_max(0, 0) is {}",
        I::bytes_max(0, 0)
    );
    drop(create);
    let pen = bed.region.writer();
    loaded.iter().try_for_each(|entry| bed::insert(&index, &pen, entry))?;
    drop(pen);
    for (number, batch) in batches.iter().enumerate() {
        insert_within(&index, &bed, batch, case.pick(number, 3) == 0)?;
    }
    bed.check_neighbours()
}

/// Inserts a batch on a permit of its `bytes_max`.
fn insert_within<I: BlockIndex>(index: &I, bed: &Bed, batch: &[Entry], sorted: bool) -> Outcome {
    let bytes = bytes_max_of::<I>(batch);
    let permit = permit(bed, bytes)?;
    let before = permit.pen().block_bytes_left();
    let entries = batch.iter().map(Entry::as_ref);
    let done = match sorted {
        true => index.insert_sorted(permit.pen(), entries.clone()),
        false => entries.clone().try_for_each(|entry| index.insert(permit.pen(), entry)),
    };
    let taken = before - permit.pen().block_bytes_left();
    let payload: usize = entries.map(|entry| entry.payload_bytes()).sum();
    let bound = format!("bytes_max({}, {payload}) = {bytes}", batch.len());
    done.map_err(|error| format!("a batch on a permit of {bound} is refused: {error}"))?;
    ensure!(taken <= bytes, "a batch took {taken} bytes, {bound}");
    Ok(())
}

/// Refused duplicates and starved inserts among the rest, so that there are dead bytes as well.
pub(super) fn bytes_accounted<I: BlockIndex>(case: &Case) -> Outcome {
    let entries = in_some_order(case);
    let bed = Bed::for_case::<I>(case, &entries);
    let bed = Bed::new(case.start, 4 * bed.region.capacity());
    let create = permit(&bed, I::bytes_max(0, 0))?;
    let before = create.pen().block_bytes_left();
    let index = I::create(bed.region.lease(), create.pen()).map_err(|error| format!("create: {error}"))?;
    let mut taken = before - create.pen().block_bytes_left();
    drop(create);
    let balanced = |taken: usize, after: &dyn Fn() -> String| -> Outcome {
        let bytes = index.bytes();
        let sum = bytes.live + bytes.dead + bytes.slack;
        ensure!(sum == taken, "after {} {bytes:?} make {sum}, the pens handed out {taken}", after());
        Ok(())
    };
    balanced(taken, &|| "create,".into())?;
    for (number, entry) in case.preloaded().chain(entries).enumerate() {
        for _ in 0..1 + usize::from(case.pick(number, 9) == 0) {
            let short = case.pick(number, 7) == 1;
            let bytes = bytes_max_of::<I>(std::slice::from_ref(&entry));
            let permit = permit(&bed, if short { bytes / 4 } else { bytes })?;
            let before = permit.pen().block_bytes_left();
            let answer = index.insert(permit.pen(), entry.as_ref());
            taken += before - permit.pen().block_bytes_left();
            balanced(taken, &|| format!("insert {number} ({answer:?})"))?;
        }
    }
    Ok(())
}

pub(super) fn only_from_pens<I: BlockIndex>(case: &Case) -> Outcome {
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, _) = bed.create::<I>(case)?;
    // Twice the bound: whether that is enough is another law's question.
    let permit = permit(&bed, 2 * bytes_max_of::<I>(&entries))?;
    let used = bed.region.used();
    for entry in &entries {
        bed::insert(&index, permit.pen(), entry)?;
        let _ = index.get(&entry.key, SeqNo::MAX);
        let now = bed.region.used();
        ensure!(
            now == used,
            "insert of {} took {} bytes beside its pen",
            shown(Some(entry.as_ref())),
            now - used
        );
    }
    bed.check_neighbours()
}

pub(super) fn region_returns<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, _) = built::<I>(case)?;
    bed::freeze(&index, &bed)?;
    let mut cursor = cursor_of(&index)?;
    let Ok(_) = cursor.seek_to_last();
    drop(cursor);
    let (coordinator, budget, generation) =
        (bed.pool.coordinator(), bed.budget.clone(), bed.region.generation());
    let charged = budget.used();
    let pool = bed.into_pool();
    ensure!(coordinator.free_count() == 0, "the index lives, but its region is free: it owns no lease");
    drop(index);
    ensure!(coordinator.free_count() == 1, "the index is gone, but its region is still leased");
    ensure!(
        budget.used() == charged,
        "the budget held {charged} bytes with the index, {} without",
        budget.used()
    );
    let again = coordinator.take().map_err(|error| error.to_string())?;
    ensure!(again.generation() != generation && again.used() == 0, "the next generation is not a fresh one");
    drop((again, pool));
    ensure!(budget.used() == 0, "{} bytes outlive index and region", budget.used());
    Ok(())
}

/// Counts the allocator's calls of this thread while the index works and nobody else does.
pub(super) fn allocator_silent<I: BlockIndex>(case: &Case, calls: fn() -> u64) -> Outcome {
    let before = calls();
    black_box(vec![0_u8; black_box(1)]);
    ensure!(calls() > before, "the counter does not count");
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, _) = bed.create::<I>(case)?;
    let pen = bed.region.writer();
    let before = calls();
    let done = entries.iter().try_for_each(|entry| index.insert(&pen, entry.as_ref()));
    let inserts = calls() - before;
    done.map_err(|error| error.to_string())?;
    for entry in &entries {
        black_box(index.get(&entry.key, entry.seqno));
        black_box(index.get(&entry.key, SeqNo::MAX));
    }
    let gets = calls() - before - inserts;
    ensure!(inserts == 0, "{} inserts called the global allocator {inserts} times", entries.len());
    ensure!(gets == 0, "{} gets called the global allocator {gets} times", 2 * entries.len());
    Ok(())
}
