//! Range tombstones against a naive model: a list that is searched.

use std::collections::BTreeSet;

use kausal_index::{SeqNo, TreeIndex};
use kausal_memtable::{BatchPart, KeyspaceId, Memtable, RangeRefused, RangeTombstone, RangeTombstones};
use proptest::prelude::*;

use super::{one_range, seqno};

const DEFAULT: KeyspaceId = KeyspaceId::DEFAULT;

type Range = (Vec<u8>, Vec<u8>, u64);

fn memtable(bytes: usize) -> Memtable<TreeIndex> {
    Memtable::new(kausal_arena::testing::region(bytes), ()).unwrap()
}

fn delete_range(memtable: &Memtable<TreeIndex>, (start, end, number): &Range) -> Result<(), RangeRefused> {
    let permit = memtable.permit_batch(&[one_range(0, start, end)]).unwrap();
    memtable.delete_range(&permit, DEFAULT, start, end, seqno(*number))
}

fn ranges(memtable: &Memtable<TreeIndex>) -> &RangeTombstones {
    memtable.default_keyspace().range_tombstones()
}

fn fragments(memtable: &Memtable<TreeIndex>) -> Vec<Range> {
    let owned = |range: RangeTombstone<'_>| (range.start.to_vec(), range.end.to_vec(), range.seqno.get());
    ranges(memtable).fragments().map(owned).collect()
}

/// The fragments of `ranges`: between each pair of neighbouring bounds, whatever covers the lower one.
fn naive_fragments(ranges: &[Range]) -> Vec<Range> {
    let bounds: BTreeSet<_> = ranges.iter().flat_map(|(start, end, _)| [start, end]).collect();
    let bounds: Vec<_> = bounds.into_iter().collect();
    let mut fragments = Vec::new();
    for pair in bounds.windows(2) {
        let covering = ranges.iter().filter(|(start, end, _)| start <= pair[0] && pair[0] < end);
        let numbers: BTreeSet<u64> = covering.map(|(_, _, number)| *number).collect();
        let fragment = |number: &u64| (pair[0].clone(), pair[1].clone(), *number);
        fragments.extend(numbers.iter().rev().map(fragment));
    }
    fragments
}

fn naive_covering(ranges: &[Range], key: &[u8], at: u64) -> Option<u64> {
    let covers = |(start, end, number): &&Range| &start[..] <= key && key < &end[..] && *number <= at;
    ranges.iter().filter(covers).map(|(_, _, number)| *number).max()
}

/// `text` has one range tombstone a line, `start end number`; the answers likewise `key@at -> number`.
fn check(text: &str, answers: &str, expected_fragments: &str) {
    let memtable = memtable(1 << 16);
    for line in text.lines().map(str::trim) {
        let parts: Vec<_> = line.split(' ').collect();
        let range = (parts[0].into(), parts[1].into(), parts[2].parse().unwrap());
        delete_range(&memtable, &range).unwrap();
    }
    for line in answers.lines().map(str::trim) {
        let (question, answer) = line.split_once(" -> ").unwrap();
        let (key, at) = question.split_once('@').unwrap();
        let covering = ranges(&memtable).covering(key.as_bytes(), seqno(at.parse().unwrap()));
        assert_eq!(covering.map(SeqNo::get), answer.parse().ok(), "{line}");
    }
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
    let shown = fragments(&memtable)
        .iter()
        .map(|(start, end, number)| format!("{} {} {number}", text(start), text(end)))
        .collect::<Vec<_>>();
    let expected: Vec<_> = expected_fragments.lines().map(str::trim).collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_range_covers_from_its_start_to_before_its_end() {
    check("b d 5", "a@9 -> none\nb@9 -> 5\nc@9 -> 5\nd@9 -> none\nb@5 -> 5\nb@4 -> none", "b d 5");
}

#[test]
fn overlapping_ranges_are_cut_at_every_bound() {
    check(
        "b f 7
         d h 4
         a z 2",
        "e@9 -> 7
         e@6 -> 4
         e@3 -> 2
         g@9 -> 4
         y@9 -> 2
         a@1 -> none",
        "a b 2
         b d 7
         b d 2
         d f 7
         d f 4
         d f 2
         f h 4
         f h 2
         h z 2",
    );
}

#[test]
fn ranges_with_a_gap_leave_it() {
    check("k m 1\na c 2\nc d 9", "c@9 -> 9\nd@9 -> none\ne@9 -> none\nk@9 -> 1", "a c 2\nc d 9\nk m 1");
}

#[test]
fn without_range_tombstones_nothing_is_covered() {
    let memtable = memtable(1 << 16);
    assert_eq!(ranges(&memtable).covering(b"a", SeqNo::MAX), None);
    assert_eq!((ranges(&memtable).fragments().next(), ranges(&memtable).bounds()), (None, None));
    assert!(ranges(&memtable).is_empty() && memtable.is_empty());
}

#[test]
fn what_covers_nothing_or_is_there_already_is_refused() {
    let memtable = memtable(1 << 20);
    let add = |start: &[u8], end: &[u8], number| delete_range(&memtable, &(start.into(), end.into(), number));
    add(b"b", b"d", 5).unwrap();
    assert!(matches!(add(b"c", b"c", 6), Err(RangeRefused::Empty)));
    assert!(matches!(add(b"d", b"c", 6), Err(RangeRefused::Empty)));
    assert!(matches!(add(b"b", b"d", 5), Err(RangeRefused::Duplicate(number)) if number.get() == 5));
    assert!(matches!(add(b"b", &[b'c'; 65_536], 6), Err(RangeRefused::KeyTooLong { len: 65_536 })));
    let no_room = memtable.permit(0, 0).unwrap();
    let refused = memtable.delete_range(&no_room, DEFAULT, b"a", &[b'b'; 60_000], seqno(9));
    assert!(matches!(refused, Err(RangeRefused::Alloc(_))));
    assert_eq!(ranges(&memtable).len(), 1);
    assert_eq!(fragments(&memtable), [(b"b".to_vec(), b"d".to_vec(), 5)]);
    assert_eq!(memtable.seqno_bounds(), Some((seqno(5), seqno(5))));
}

/// More than one walk of the cursor fetches.
#[test]
fn hundreds_that_cover_one_key_are_all_shown() {
    let memtable = memtable(4 << 20);
    let nested: Vec<Range> = (1..=300_u64)
        .map(|number| {
            let (number_low, number_high) = (1000 - number, 1000 + number);
            (format!("{number_low:04}").into(), format!("{number_high:04}").into(), number)
        })
        .collect();
    for range in &nested {
        delete_range(&memtable, range).unwrap();
    }
    assert_eq!(fragments(&memtable), naive_fragments(&nested));
    let below = ranges(&memtable).covering(b"1000", seqno(170));
    assert_eq!(below, Some(seqno(170)));
}

/// In ascending order, the worst for a tree that is not balanced.
#[test]
fn every_permit_covers_its_range_tombstone() {
    for order in [|place: u64| place, |place| 19_999 - place, |place| place * 7_919 % 20_000] {
        let memtable = memtable(64 << 20);
        let mut most = 0;
        for place in 0..20_000 {
            let key = |place: u64| format!("{place:08}").into_bytes();
            let (start, end) = (key(order(place)), key(order(place) + 3));
            let permit = memtable.permit_batch(&[one_range(0, &start, &end)]).unwrap();
            let before = permit.pen().block_bytes_left();
            memtable.delete_range(&permit, DEFAULT, &start, &end, seqno(place + 1)).unwrap();
            most = most.max(before - permit.pen().block_bytes_left());
        }
        assert!(most <= RangeTombstones::bytes_max(1, 16, memtable.capacity_bytes()));
        assert!(ranges(&memtable).covering(b"00010002", SeqNo::MAX).is_some());
        assert_eq!(ranges(&memtable).bounds().unwrap().0, key_of(0));
    }
}

fn key_of(place: u64) -> Vec<u8> {
    format!("{place:08}").into_bytes()
}

#[test]
fn a_cursor_over_fragments_shows_one_moment() {
    let memtable = memtable(1 << 16);
    delete_range(&memtable, &(b"b".into(), b"f".into(), 1)).unwrap();
    let mut fragments = ranges(&memtable).fragments();
    delete_range(&memtable, &(b"a".into(), b"c".into(), 2)).unwrap();
    let first = fragments.next().unwrap();
    assert_eq!((first.start, first.end, first.seqno.get()), (&b"b"[..], &b"f"[..], 1));
    assert_eq!(fragments.next(), None);
    assert_eq!(fragments.next(), None, "and stays at its end");
    assert_eq!(ranges(&memtable).fragments().count(), 4);
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4_u8, 0..4)
}

proptest! {
    #[test]
    fn range_tombstones_are_as_the_model_has_them(
        bounds in prop::collection::vec((key(), key()), 0..40),
        order in prop::collection::vec(any::<u64>(), 40),
        at in 0..50_u64,
    ) {
        let memtable = memtable(1 << 20);
        // Numbers in any order.
        let mut numbers: Vec<u64> = (0..40).collect();
        numbers.sort_by_key(|&number| order[number as usize]);
        let mut model = Vec::new();
        for ((one, other), number) in bounds.into_iter().zip(numbers) {
            let range = (one.clone().min(other.clone()), one.max(other), number + 1);
            let added = delete_range(&memtable, &range);
            prop_assert_eq!(added.is_ok(), range.0 < range.1);
            model.extend(added.is_ok().then_some(range));
            prop_assert_eq!(ranges(&memtable).len(), model.len());
        }
        prop_assert_eq!(fragments(&memtable), naive_fragments(&model));
        let keys: BTreeSet<Vec<u8>> =
            model.iter().flat_map(|(start, end, _)| [start.clone(), end.clone(), [&start[..], &[2]].concat()]).collect();
        for key in keys {
            let covering = ranges(&memtable).covering(&key, seqno(at)).map(SeqNo::get);
            prop_assert_eq!(covering, naive_covering(&model, &key, at));
        }
        let bounds = model.iter().map(|range| &range.0[..]).min().zip(model.iter().map(|range| &range.1[..]).max());
        prop_assert_eq!(ranges(&memtable).bounds(), bounds);
    }

    /// What a batch with many needs is what all of them may take.
    #[test]
    fn a_batch_of_ranges_fits_its_permit(bounds in prop::collection::vec((key(), key()), 1..40)) {
        let memtable = memtable(1 << 20);
        let (range_deletes, range_bytes) = (bounds.len(), bounds.iter().map(|(one, other)| one.len() + other.len()).sum());
        let part = BatchPart { range_deletes, range_bytes, ..BatchPart::new(DEFAULT) };
        let permit = memtable.permit_batch(&[part]).unwrap();
        for (number, (one, other)) in (1..).zip(&bounds) {
            let added = memtable.delete_range(&permit, DEFAULT, one.min(other), one.max(other), seqno(number));
            prop_assert!(matches!(added, Ok(()) | Err(RangeRefused::Empty)), "{:?}", added);
        }
    }
}
