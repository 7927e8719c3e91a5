//! The laws of an index and its cursor, held against a sorted list, for every index of the crate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use kausal_index::{
    BTreeIndex, BlockIndex, Cursor, Entry, EntryRef, InsertError, Kind, SeqNo, SkipListIndex,
    compare_positions,
};
use proptest::prelude::*;

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let key = prop_oneof![
        proptest::collection::vec(0..4_u8, 0..4),
        proptest::collection::vec(any::<u8>(), 0..12),
        (0..50_u8).prop_map(|last| [b"a common prefix/".as_slice(), &[last]].concat()),
    ];
    let entry = (key, 1..40_u64, 0..3_u8, proptest::collection::vec(any::<u8>(), 0..20));
    let entry = entry.prop_map(|(key, seqno, kind, value)| Entry {
        key,
        seqno: SeqNo::new(seqno).unwrap(),
        kind: Kind::from_u8(kind).unwrap(),
        value,
    });
    proptest::collection::vec(entry, 0..150)
}

fn index_and_list_agree<I: BlockIndex>(entries: Vec<Entry>) {
    let region = kausal_arena::testing::region(1 << 20);
    let pen = region.writer();
    let index = I::create(region.lease(), &pen).unwrap();
    let mut list: Vec<Entry> = Vec::new();
    for entry in entries {
        let place = list
            .binary_search_by(|held| compare_positions((&held.key, held.seqno), (&entry.key, entry.seqno)));
        let inserted = index.insert(&pen, entry.as_ref());
        match place {
            Ok(_) => assert!(matches!(inserted, Err(InsertError::Duplicate(seqno)) if seqno == entry.seqno)),
            Err(place) => {
                inserted.unwrap();
                list.insert(place, entry);
            }
        }
    }
    assert_eq!(index.len(), list.len());
    index.freeze(&pen).unwrap();

    let mut cursor = index.cursor().unwrap();
    assert!(cursor.entry().is_none() && !cursor.next().unwrap() && !cursor.prev().unwrap());
    let mut more = cursor.seek_to_first().unwrap();
    for entry in &list {
        assert!(more && cursor.entry() == Some(entry.as_ref()));
        more = cursor.next().unwrap();
    }
    assert!(!more && cursor.entry().is_none());
    let mut more = cursor.seek_to_last().unwrap();
    for entry in list.iter().rev() {
        assert!(more && cursor.entry() == Some(entry.as_ref()));
        more = cursor.prev().unwrap();
    }
    assert!(!more && cursor.entry().is_none());

    for probe in &list {
        for seqno in [0, 1, probe.seqno.get(), 39, SeqNo::MAX.get()] {
            let at = SeqNo::new(seqno).unwrap();
            let position = (probe.key.as_slice(), at);
            let after =
                list.partition_point(|held| compare_positions((&held.key, held.seqno), position).is_lt());
            let expected = list.get(after);
            assert_eq!(cursor.seek(&probe.key, at).unwrap(), expected.is_some());
            assert_eq!(cursor.entry(), expected.map(Entry::as_ref));
            let found = expected.filter(|entry| entry.key == probe.key);
            assert_eq!(index.get(&probe.key, at), found.map(Entry::as_ref));
            let upto =
                list.partition_point(|held| compare_positions((&held.key, held.seqno), position).is_le());
            let expected = upto.checked_sub(1).map(|place| list[place].as_ref());
            assert_eq!(cursor.seek_for_prev(&probe.key, at).unwrap(), expected.is_some());
            assert_eq!(cursor.entry(), expected);
            let versions: Vec<_> = index.versions(&probe.key, at).collect();
            let expected: Vec<_> =
                list[after..].iter().take_while(|held| held.key == probe.key).map(Entry::as_ref).collect();
            assert_eq!(versions, expected);
        }
    }
}

/// Batches under a permit of exactly `bytes_max` never fail.
fn permit_covers_its_batch<I: BlockIndex>(entries: &[Entry]) {
    let region = kausal_arena::testing::region(1 << 20);
    let index = I::create(region.lease(), &region.writer()).unwrap();
    let mut numbers = BTreeMap::<Vec<u8>, u64>::new();
    for batch in entries.chunks(7) {
        let payload = batch.iter().map(|entry| entry.as_ref().payload_bytes()).sum();
        let permit = region.permit(I::bytes_max(batch.len(), payload)).unwrap();
        for entry in batch {
            let number = numbers.entry(entry.key.clone()).or_default();
            *number += 1;
            let seqno = SeqNo::new(*number).unwrap();
            index.insert(permit.pen(), EntryRef { seqno, ..entry.as_ref() }).unwrap();
        }
    }
    assert_eq!(index.len(), entries.len());
}

proptest! {
    #[test]
    fn skip_list_and_list_agree(entries in entries()) {
        index_and_list_agree::<SkipListIndex>(entries);
    }

    #[test]
    fn btree_and_list_agree(entries in entries()) {
        index_and_list_agree::<BTreeIndex>(entries);
    }

    #[test]
    fn skip_list_permit_covers_its_batch(entries in entries()) {
        permit_covers_its_batch::<SkipListIndex>(&entries);
    }
}

#[test]
fn exhaustion_leaves_the_index_as_before() {
    let region = kausal_arena::testing::region(4096);
    let pen = region.writer();
    let index = SkipListIndex::create(region.lease(), &pen).unwrap();
    let mut stored = 0_u64;
    let refused = loop {
        let seqno = SeqNo::new(stored + 1).unwrap();
        let entry = EntryRef { key: &stored.to_be_bytes(), seqno, kind: Kind::Put, value: &[1; 50] };
        match index.insert(&pen, entry) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, InsertError::Alloc(_)));
    assert!(stored > 20 && index.len() as u64 == stored);
    for number in 0..stored {
        assert_eq!(index.get(&number.to_be_bytes(), SeqNo::MAX).unwrap().value, [1; 50]);
    }
    assert!(index.get(&stored.to_be_bytes(), SeqNo::MAX).is_none());
}

#[test]
fn extreme_sizes_are_kept() {
    let region = kausal_arena::testing::region(8 << 20);
    let pen = region.writer();
    let index = SkipListIndex::create(region.lease(), &pen).unwrap();
    let (long, large) = (vec![b'k'; kausal_index::KEY_BYTES_MAX], vec![7; 1 << 20]);
    for (number, key, value) in [(1, &b""[..], &b""[..]), (2, &long, &large), (3, b"k", b"")] {
        let seqno = SeqNo::new(number).unwrap();
        index.insert(&pen, EntryRef { key, seqno, kind: Kind::Put, value }).unwrap();
    }
    assert_eq!(index.get(b"", SeqNo::MAX).unwrap().value, b"");
    assert_eq!(index.get(&long, SeqNo::MAX).unwrap().value, large);
    let longer = vec![b'k'; kausal_index::KEY_BYTES_MAX + 1];
    let entry = EntryRef { key: &longer, seqno: SeqNo::MAX, kind: Kind::Put, value: b"" };
    assert!(matches!(index.insert(&pen, entry), Err(InsertError::KeyTooLong { len: 65536 })));
}

#[test]
fn writers_and_readers_at_once_lose_nothing() {
    let region = kausal_arena::testing::region(64 << 20);
    let index = SkipListIndex::create(region.lease(), &region.writer()).unwrap();
    let (writers, per_writer) = (4_u64, 10_000_u64);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (index, pen) = (&index, region.writer());
            scope.spawn(move || {
                for number in 0..per_writer {
                    let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
                    let seqno = SeqNo::new(1 + number * writers + writer).unwrap();
                    let value = &key;
                    index.insert(&pen, EntryRef { key: &key, seqno, kind: Kind::Put, value }).unwrap();
                    assert!(index.get(&key, seqno).unwrap().seqno == seqno);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                let mut cursor = index.cursor().unwrap();
                let mut last: Option<Entry> = None;
                let mut more = cursor.seek_to_first().unwrap();
                while more {
                    let entry = cursor.entry().unwrap();
                    assert_eq!(entry.key, entry.value, "an entry is seen whole");
                    assert!(last.is_none_or(|last| entry.cmp_position(&last.key, last.seqno).is_gt()));
                    last = Some(entry.to_owned());
                    more = cursor.next().unwrap();
                }
            }
        });
    });
    assert_eq!(index.len() as u64, writers * per_writer);
    let mut cursor = index.cursor().unwrap();
    let mut seen = 0;
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(seen, writers * per_writer);
}
