//! The laws of look-ups: `get`, `versions`, `get_many`.

use crate::block_index::BlockIndex;
use crate::conformance::bed::{self, built};
use crate::conformance::case::Case;
use crate::conformance::model::{Model, shown, shown_key};
use crate::conformance::{Outcome, ensure};
use crate::entry::{Entry, EntryRef, SeqNo};

/// Keys and numbers worth asking for: those of the case and their neighbours, some of the loaded ones, and absent ones.
pub(super) fn probes(case: &Case, model: &Model) -> Vec<(Vec<u8>, SeqNo)> {
    let held = model.entries();
    let picked = (0..case.picks.len()).filter_map(|place| held.get(case.pick(place, held.len())));
    let mut probes = Vec::new();
    for Entry { key, seqno, .. } in case.entries.iter().chain(picked) {
        for number in [0, 1, seqno.get() - 1, seqno.get(), seqno.get() + 1, SeqNo::MAX.get()] {
            probes.extend(SeqNo::new(number).map(|at| (key.clone(), at)));
        }
        let longer = [key.as_slice(), &[0]].concat();
        let shorter = key[..key.len().saturating_sub(1)].to_vec();
        probes.extend([(longer, *seqno), (shorter, SeqNo::MAX)]);
    }
    probes.extend([(Vec::new(), SeqNo::MAX), (vec![0xFF; 40], SeqNo::MAX), (b"absent".to_vec(), SeqNo::MAX)]);
    probes
}

pub(super) fn get<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    let check = || -> Outcome {
        for (key, at) in probes(case, &model) {
            let (found, expected) = (index.get(&key, at), model.get(&key, at));
            let (key, found_shown, expected_shown) = (shown_key(&key), shown(found), shown(expected));
            ensure!(found == expected, "get({key}, {at}) is {found_shown}, not {expected_shown}");
        }
        Ok(())
    };
    check()?;
    bed::freeze(&index, &bed)?;
    check().map_err(|what| format!("after freeze, {what}"))
}

pub(super) fn versions<I: BlockIndex>(case: &Case) -> Outcome {
    let (bed, index, model) = built::<I>(case)?;
    let check = || -> Outcome {
        for (key, at) in probes(case, &model) {
            let found: Vec<_> = index.versions(&key, at).collect();
            let expected: Vec<_> = model.versions(&key, at).collect();
            let list = |entries: &[EntryRef<'_>]| {
                entries.iter().map(|entry| shown(Some(*entry))).collect::<Vec<_>>().join(", ")
            };
            let key = shown_key(&key);
            ensure!(
                found == expected,
                "versions({key}, {at}) are [{}], not [{}]",
                list(&found),
                list(&expected)
            );
        }
        Ok(())
    };
    check()?;
    bed::freeze(&index, &bed)?;
    check().map_err(|what| format!("after freeze, {what}"))
}

/// Batches of every length from none to a few dozen, absent keys and repetitions among them. What is approached first is answered
/// alike.
pub(super) fn get_many<I: BlockIndex>(case: &Case) -> Outcome {
    let (_bed, index, model) = built::<I>(case)?;
    let probes = probes(case, &model);
    let mut begin = 0;
    for batch in 0..12 {
        let len = case.pick(batch, 70).min(probes.len() - begin);
        let (chosen, at) = (&probes[begin..begin + len], probes[begin % probes.len()].1);
        begin = (begin + len) % probes.len();
        let keys: Vec<&[u8]> = chosen.iter().map(|(key, _)| key.as_slice()).collect();
        let mut answers = Vec::new();
        if batch % 2 == 0 {
            index.approach_many(&keys);
        }
        index.get_many(&keys, at, |place, found| answers.push((place, found)));
        ensure!(answers.len() == len, "get_many of {len} keys called back {} times", answers.len());
        for (expected_place, (place, found)) in answers.into_iter().enumerate() {
            ensure!(
                place == expected_place,
                "get_many called back for place {place} in the turn of {expected_place}"
            );
            let expected = model.get(keys[place], at);
            ensure!(
                found == expected,
                "get_many at {at} of {} is {}, not {}",
                shown_key(keys[place]),
                shown(found),
                shown(expected)
            );
        }
    }
    Ok(())
}
