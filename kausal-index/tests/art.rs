//! What only the adaptive radix tree promises, or promises more of than other indexes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use kausal_arena::testing::region;
use kausal_index::{
    ArtIndex, BlockIndex, Cursor, Entry, EntryRef, InsertError, Kind, SeqNo, compare_positions,
};
use proptest::prelude::*;

fn put<'e>(key: &'e [u8], number: u64, value: &'e [u8]) -> EntryRef<'e> {
    EntryRef { key, seqno: SeqNo::new(number).unwrap(), kind: Kind::Put, value }
}

/// Where a cursor over the sorted `list` stands; moved as the laws say.
struct Model {
    list: Vec<Entry>,
    stands_on: Option<(Vec<u8>, SeqNo)>,
}

impl Model {
    /// Number of entries before (`key`, `at`).
    fn before(&self, key: &[u8], at: SeqNo) -> usize {
        self.list.partition_point(|held| compare_positions((&held.key, held.seqno), (key, at)).is_lt())
    }

    fn upto(&self, key: &[u8], at: SeqNo) -> usize {
        self.list.partition_point(|held| compare_positions((&held.key, held.seqno), (key, at)).is_le())
    }

    fn stand_on(&mut self, place: Option<usize>) {
        let entry = place.and_then(|place| self.list.get(place));
        self.stands_on = entry.map(|entry| (entry.key.clone(), entry.seqno));
    }

    fn apply(&mut self, movement: &Movement) {
        let here = self.stands_on.clone();
        let place = match (movement, here) {
            (Movement::First, _) => Some(0),
            (Movement::Last, _) => self.list.len().checked_sub(1),
            (Movement::Seek(key, at), _) => Some(self.before(key, *at)),
            (Movement::SeekForPrev(key, at), _) => self.upto(key, *at).checked_sub(1),
            (Movement::Next, Some((key, at))) => Some(self.upto(&key, at)),
            (Movement::Prev, Some((key, at))) => self.before(&key, at).checked_sub(1),
            (Movement::Next | Movement::Prev, None) => None,
        };
        self.stand_on(place);
    }
}

#[derive(Clone, Debug)]
enum Movement {
    First,
    Last,
    Next,
    Prev,
    Seek(Vec<u8>, SeqNo),
    SeekForPrev(Vec<u8>, SeqNo),
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, SeqNo),
    Move(Movement),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let byte = prop_oneof![Just(0_u8), Just(255), 0..4_u8, any::<u8>()];
    let short = proptest::collection::vec(byte.clone(), 0..4);
    let long = proptest::collection::vec(byte, 0..3).prop_map(|rest| [vec![b'p'; 50], rest].concat());
    let deep = (0..60_usize).prop_map(|length| vec![b'd'; length]);
    let key = prop_oneof![3 => short, 1 => long, 1 => deep];
    let number = (1..9_u64).prop_map(|number| SeqNo::new(number).unwrap());
    let movement = prop_oneof![
        1 => Just(Movement::First),
        1 => Just(Movement::Last),
        12 => Just(Movement::Next),
        12 => Just(Movement::Prev),
        4 => (key.clone(), number.clone()).prop_map(|(key, at)| Movement::Seek(key, at)),
        4 => (key.clone(), number.clone()).prop_map(|(key, at)| Movement::SeekForPrev(key, at)),
    ];
    let step = prop_oneof![
        2 => (key, number).prop_map(|(key, number)| Step::Insert(key, number)),
        3 => movement.prop_map(Step::Move),
    ];
    proptest::collection::vec(step, 0..600)
}

fn move_to(cursor: &mut impl Cursor<Error = std::convert::Infallible>, movement: &Movement) -> bool {
    let Ok(stands) = match movement {
        Movement::First => cursor.seek_to_first(),
        Movement::Last => cursor.seek_to_last(),
        Movement::Next => cursor.next(),
        Movement::Prev => cursor.prev(),
        Movement::Seek(key, at) => cursor.seek(key, *at),
        Movement::SeekForPrev(key, at) => cursor.seek_for_prev(key, *at),
    };
    stands
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_movement_meets_whatever_was_inserted_before_it(steps in steps()) {
        let region = region(1 << 20);
        let pen = region.writer();
        let index = ArtIndex::create(region.lease(), &pen).unwrap();
        let mut cursor = index.cursor().unwrap();
        let mut model = Model { list: Vec::new(), stands_on: None };
        for step in &steps {
            match step {
                Step::Insert(key, number) => {
                    let entry = put(key, number.get(), key);
                    let place = model.before(key, *number);
                    if index.insert(&pen, entry).is_ok() {
                        model.list.insert(place, entry.to_owned());
                    } else {
                        prop_assert_eq!(model.list[place].as_ref(), entry);
                    }
                }
                Step::Move(movement) => {
                    let stands = move_to(&mut cursor, movement);
                    model.apply(movement);
                    let position = cursor.entry().map(|entry| (entry.key.to_vec(), entry.seqno));
                    prop_assert_eq!(&position, &model.stands_on, "after {:?}", movement);
                    prop_assert_eq!(stands, position.is_some());
                }
            }
        }
        prop_assert_eq!(index.len(), model.list.len());
    }

    #[test]
    fn every_byte_taken_is_live_dead_or_slack(
        keys in proptest::collection::vec(proptest::collection::vec(0..70_u8, 0..4), 1..300),
    ) {
        let region = region(2 << 20);
        let index = ArtIndex::create(region.lease(), &region.writer()).unwrap();
        let permit = region.permit(1 << 20).unwrap();
        let mut numbers = BTreeMap::<Vec<u8>, u64>::new();
        for key in &keys {
            let number = numbers.entry(key.clone()).or_default();
            *number += 1;
            let left = permit.pen().block_bytes_left();
            index.insert(permit.pen(), put(key, *number, b"value")).unwrap();
            let taken = left - permit.pen().block_bytes_left();
            prop_assert!(taken <= ArtIndex::bytes_max(1, key.len() + 5));
            let refused = index.insert(permit.pen(), put(key, *number, b"value"));
            prop_assert!(matches!(refused, Err(InsertError::Duplicate(_))));
            let bytes = index.bytes();
            prop_assert_eq!(bytes.live + bytes.dead + bytes.slack, (1 << 20) - permit.pen().block_bytes_left());
        }
    }
}

#[test]
fn an_insert_without_room_changes_nothing() {
    // One wide node, one key above others, two versions: every kind of insert meets every amount of room.
    let keys: Vec<Vec<u8>> = (0..=255_u8)
        .map(|byte| vec![b'w', byte])
        .chain([b"w".to_vec(), b"wide".to_vec(), b"".to_vec(), vec![b'w', 7]])
        .collect();
    let region = region(8 << 20);
    let index = ArtIndex::create(region.lease(), &region.writer()).unwrap();
    let mut refusals = 0;
    for (number, key) in (1..).zip(&keys) {
        for room in (0..).step_by(8) {
            let before = index.len();
            let permit = region.permit(room).unwrap();
            let answer = index.insert(permit.pen(), put(key, number, b"v"));
            if answer.is_ok() {
                assert!(room <= ArtIndex::bytes_max(1, key.len() + 1).next_multiple_of(8));
                break;
            }
            assert!(matches!(answer, Err(InsertError::Alloc(_))));
            assert_eq!(index.len(), before);
            let seqno = SeqNo::new(number).unwrap();
            assert!(index.get(key, seqno).is_none_or(|entry| entry.seqno < seqno));
            refusals += 1;
        }
        for (number, key) in (1..=number).zip(&keys) {
            assert_eq!(index.get(key, SeqNo::new(number).unwrap()).unwrap().seqno.get(), number);
        }
    }
    assert!(refusals > 3 * keys.len(), "{refusals} refusals: at least three amounts of room are too little");
}

#[test]
fn keys_may_be_prefixes_of_each_other_to_any_depth() {
    let region = region(64 << 20);
    let pen = region.writer();
    let index = ArtIndex::create(region.lease(), &pen).unwrap();
    let longest = vec![b'a'; 3000];
    for length in (0..=3000).rev() {
        index.insert(&pen, put(&longest[..length], 1, b"")).unwrap();
    }
    let mut cursor = index.cursor().unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    for length in 0..=3000 {
        assert!(more && cursor.entry().unwrap().key.len() == length);
        more = cursor.next().unwrap();
    }
    assert!(!more);
    let mut more = cursor.seek_to_last().unwrap();
    for length in (0..=3000).rev() {
        assert!(more && cursor.entry().unwrap().key.len() == length);
        more = cursor.prev().unwrap();
    }
    assert!(!more);
    for length in [0, 1, 1000, 2999, 3000] {
        let just_before = [&longest[..length], b"Z"].concat();
        let just_behind = [&longest[..length], b"b"].concat();
        assert!(cursor.seek_for_prev(&just_before, SeqNo::MAX).unwrap());
        assert_eq!(cursor.entry().unwrap().key.len(), length);
        assert_eq!(cursor.seek(&just_before, SeqNo::MAX).unwrap(), length < 3000);
        assert!(cursor.entry().is_none_or(|entry| entry.key.len() == length + 1));
        assert!(!cursor.seek(&just_behind, SeqNo::MAX).unwrap());
        assert!(cursor.seek_for_prev(&just_behind, SeqNo::MAX).unwrap());
        assert_eq!(cursor.entry().unwrap().key.len(), 3000);
    }
}

#[test]
fn versions_are_found_in_whatever_order_they_came() {
    for step in [1, 7, 4999] {
        let region = region(4 << 20);
        let pen = region.writer();
        let index = ArtIndex::create(region.lease(), &pen).unwrap();
        // 5000 odd numbers in another order for every step: ascending, mixed, nearly descending.
        let odd = |place: u64| 2 * (place * step % 5000) + 1;
        for place in 0..5000 {
            index.insert(&pen, put(b"hot", odd(place), &odd(place).to_be_bytes())).unwrap();
        }
        for number in 0..10_002 {
            let newest = number.min(9_999_u64);
            let newest = if newest % 2 == 1 { Some(newest) } else { newest.checked_sub(1) };
            let found = index.get(b"hot", SeqNo::new(number).unwrap());
            assert_eq!(found.map(|entry| entry.seqno.get()), newest);
        }
        let all: Vec<_> = index.versions(b"hot", SeqNo::MAX).map(|entry| entry.seqno.get()).collect();
        assert!(all.iter().copied().eq((0..5000).rev().map(|place| 2 * place + 1)));
        let mut cursor = index.cursor().unwrap();
        assert!(cursor.seek_to_last().unwrap());
        for place in 0..5000 {
            assert_eq!(cursor.entry().unwrap().seqno.get(), 2 * place + 1);
            assert_eq!(cursor.prev().unwrap(), place < 4999);
        }
    }
}

#[test]
fn many_look_ups_at_once_answer_as_one_by_one() {
    let region = region(16 << 20);
    let pen = region.writer();
    let index = ArtIndex::create(region.lease(), &pen).unwrap();
    let keys: Vec<Vec<u8>> = (0..3000_u64)
        .map(|number| {
            number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..(number % 9) as usize].to_vec()
        })
        .collect();
    let mut number = 0;
    for key in keys.iter().step_by(2) {
        number += 1;
        index.insert(&pen, put(key, number, b"")).unwrap();
    }
    for count in [0, 1, 15, 16, 17, 3000] {
        let asked: Vec<&[u8]> = keys.iter().take(count).map(Vec::as_slice).collect();
        let at = SeqNo::new(number / 2).unwrap();
        let mut answers = Vec::new();
        index.get_many(&asked, at, |place, entry| answers.push((place, entry)));
        assert!(answers.iter().copied().eq(asked.iter().map(|key| index.get(key, at)).enumerate()));
    }
}

#[test]
#[should_panic(expected = "a pen writes in the generation that the index was created in")]
fn a_pen_of_another_region_is_a_broken_promise() {
    let (here, elsewhere) = (region(4096), region(4096));
    let index = ArtIndex::create(here.lease(), &here.writer()).unwrap();
    let _ = index.insert(&elsewhere.writer(), put(b"k", 1, b""));
}

/// The key that the `place`-th insert of all writers writes: few enough that nodes of all kinds are grown, split and
/// written by several threads at once, and every key is written several times.
fn contended_key(place: u64) -> Vec<u8> {
    let mixed = place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    match mixed % 4 {
        0 => vec![(mixed >> 2) as u8; (mixed >> 10) as usize % 4],
        1 => [b"a long prefix that many share/".as_slice(), &[(mixed >> 2) as u8, (mixed >> 10) as u8 % 3]]
            .concat(),
        2 => vec![b'd'; (mixed >> 2) as usize % 50],
        _ => vec![(mixed >> 2) as u8, (mixed >> 10) as u8],
    }
}

/// Walks the whole index in one direction and checks that positions only go one way and entries are whole.
fn walk(index: &ArtIndex, backward: bool) -> usize {
    let mut cursor = index.cursor().unwrap();
    let mut last: Option<Entry> = None;
    let mut count = 0;
    let mut more = if backward { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        assert_eq!(entry.value, [entry.key, &entry.seqno.get().to_be_bytes()].concat(), "seen whole");
        if let Some(last) = last {
            let order = entry.cmp_position(&last.key, last.seqno);
            assert!(if backward { order.is_lt() } else { order.is_gt() });
        }
        last = Some(entry.to_owned());
        count += 1;
        more = if backward { cursor.prev() } else { cursor.next() }.unwrap();
    }
    count
}

#[test]
fn writers_readers_and_cursors_at_once_lose_nothing() {
    let region = region(64 << 20);
    let index = ArtIndex::create(region.lease(), &region.writer()).unwrap();
    let (writers, per_writer) = (4_u64, 20_000_u64);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (index, pen) = (&index, region.writer());
            scope.spawn(move || {
                let mut cursor = index.cursor().unwrap();
                for place in 0..per_writer {
                    let number = 1 + place * writers + writer;
                    let key = contended_key(number);
                    let value = [key.as_slice(), &number.to_be_bytes()].concat();
                    index.insert(&pen, put(&key, number, &value)).unwrap();
                    let seqno = SeqNo::new(number).unwrap();
                    assert_eq!(index.get(&key, seqno).unwrap().value, value);
                    if place % 16 == 0 {
                        assert!(cursor.seek(&key, seqno).unwrap());
                        assert_eq!(cursor.entry().unwrap().value, value);
                    }
                }
            });
        }
        for backward in [false, true] {
            let index = &index;
            scope.spawn(move || {
                let mut least = 0;
                while least < (writers * per_writer) as usize {
                    let before = index.len();
                    least = walk(index, backward);
                    assert!(least >= before, "an entry inserted before a walk began is met by it");
                }
            });
        }
    });
    let mut model: Vec<(Vec<u8>, u64)> =
        (1..=writers * per_writer).map(|number| (contended_key(number), number)).collect();
    model.sort_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(&left.1)));
    let mut cursor = index.cursor().unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    for (key, number) in &model {
        let entry = cursor.entry().unwrap();
        assert!(more && entry.key == *key && entry.seqno.get() == *number);
        more = cursor.next().unwrap();
    }
    assert!(!more);
    assert_eq!(walk(&index, true), model.len());
}

#[test]
fn a_walk_that_began_at_a_short_key_goes_through_the_deep_part_before_it() {
    let region = region(1 << 20);
    let pen = region.writer();
    let index = ArtIndex::create(region.lease(), &pen).unwrap();
    // Deeper than a cursor remembers, so that it has to find its way from the root again.
    let deep: Vec<Vec<u8>> = (0..80).map(|len| vec![b'd'; len]).collect();
    for (key, number) in deep.iter().chain([&vec![b'e'], &vec![b'c']]).zip(1..) {
        index.insert(&pen, put(key, number, key)).unwrap();
    }
    let mut cursor = index.cursor().unwrap();
    assert!(cursor.seek(b"e", SeqNo::MAX).unwrap());
    for key in deep.iter().skip(1).rev() {
        assert!(cursor.prev().unwrap());
        assert_eq!(cursor.entry().unwrap().key, key);
    }
    assert!(cursor.prev().unwrap() && cursor.entry().unwrap().key == b"c");
    assert!(cursor.seek(b"c", SeqNo::MAX).unwrap());
    for key in deep.iter().skip(1) {
        assert!(cursor.next().unwrap());
        assert_eq!(cursor.entry().unwrap().key, key);
    }
    assert!(cursor.next().unwrap() && cursor.entry().unwrap().key == b"e");
}
