//! Whatever is written is read: tables, runs and merges held against a sorted list.

use std::sync::Arc;

use kausal_index::{Cursor, Entry, Kind, SeqNo, compare_positions};
use kausal_sstable::{BlockBuffer, FileNumber, MergingCursor, Residency, RunCursor, Table, TableOptions};
use proptest::prelude::*;

use crate::{budget, compressions, entry, open, open_mapped, options, sorted, write, write_with};

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let key = prop_oneof![
        proptest::collection::vec(0..4_u8, 0..4),
        (0..60_u8).prop_map(|last| [b"a common prefix/".as_slice(), &[last]].concat()),
    ];
    let parts = (key, 1..30_u64, 0..3_u8, proptest::collection::vec(any::<u8>(), 0..60));
    let entry =
        parts.prop_map(|(key, seqno, kind, value)| entry(&key, seqno, Kind::from_u8(kind).unwrap(), &value));
    proptest::collection::vec(entry, 1..120).prop_map(sorted)
}

fn agree<C: Cursor>(cursor: &mut C, list: &[Entry])
where
    C::Error: std::fmt::Debug,
{
    let mut more = cursor.seek_to_first().unwrap();
    for entry in list {
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
    for probe in list {
        for seqno in [0, probe.seqno.get(), SeqNo::MAX.get()] {
            let at = SeqNo::new(seqno).unwrap();
            let position = (probe.key.as_slice(), at);
            let after =
                list.partition_point(|held| compare_positions((&held.key, held.seqno), position).is_lt());
            assert_eq!(cursor.seek(&probe.key, at).unwrap(), after < list.len());
            assert_eq!(cursor.entry(), list.get(after).map(Entry::as_ref));
            let mut walked = list[after..].iter().take(40);
            let stands =
                cursor.walk(|entry| walked.next().is_some_and(|expected| expected.as_ref() == entry));
            assert_eq!(walked.len(), 0);
            assert_eq!(stands.unwrap(), after + 40 < list.len());
            assert_eq!(cursor.entry(), list.get(after + 40).map(Entry::as_ref));
            assert_eq!(cursor.seek(&probe.key, at).unwrap(), after < list.len());
            // And back and forth from there: every change of direction.
            if after < list.len() {
                let before = after.checked_sub(1).map(|place| &list[place]);
                assert_eq!(cursor.prev().unwrap(), before.is_some());
                assert_eq!(cursor.entry(), before.map(Entry::as_ref));
                if before.is_some() {
                    assert!(cursor.next().unwrap());
                    assert_eq!(cursor.entry(), Some(list[after].as_ref()));
                }
            }
            let upto =
                list.partition_point(|held| compare_positions((&held.key, held.seqno), position).is_le());
            assert_eq!(cursor.seek_for_prev(&probe.key, at).unwrap(), upto > 0);
            assert_eq!(cursor.entry(), upto.checked_sub(1).map(|place| list[place].as_ref()));
        }
    }
}

/// What a seek in stages finds, to every position of `list` and beside it. `seek` is one.
fn agree_in_stages(list: &[Entry], mut seek: impl FnMut(&[u8], SeqNo) -> Option<Entry>) {
    for probe in list {
        let beyond = [probe.key.as_slice(), b"!"].concat();
        for (key, seqno) in [(&probe.key, 0), (&probe.key, probe.seqno.get()), (&beyond, 1)] {
            let at = SeqNo::new(seqno).unwrap();
            let after =
                list.partition_point(|held| compare_positions((&held.key, held.seqno), (key, at)).is_lt());
            assert_eq!(seek(key, at).as_ref(), list.get(after));
        }
    }
}

proptest! {
    #[test]
    fn table_and_list_agree(
        list in entries(),
        which in 0..3_usize,
        residency in any::<bool>(),
        is_mapped in any::<bool>(),
    ) {
        let compressions = compressions();
        let compression = compressions[which % compressions.len()];
        let options = TableOptions { compression, filter_prefix_bytes: 2, ..options() };
        let file = write_with(&list, 7, options, None, &[]);
        let residency = if residency { Residency::Indexes } else { Residency::Root };
        let table = if is_mapped {
            open_mapped(file, residency).unwrap()
        } else {
            Table::open_with(Arc::new(file), FileNumber(1), None, residency, &budget()).unwrap()
        };
        agree(&mut table.cursor(&budget()).unwrap(), &list);
        let mut staged = table.cursor(&budget()).unwrap();
        agree_in_stages(&list, |key, at| {
            staged.begin_seek(key, at).unwrap();
            while !staged.go_on(key, at).unwrap() {}
            staged.entry().map(|entry| entry.to_owned())
        });
        let mut buffer = BlockBuffer::new(&budget()).unwrap();
        for probe in &list {
            for seqno in [0, probe.seqno.get(), SeqNo::MAX.get()] {
                let at = SeqNo::new(seqno).unwrap();
                let expected = list.iter().find(|held| held.key == probe.key && held.seqno <= at);
                let found = table.get(&probe.key, at, &mut buffer).unwrap();
                prop_assert_eq!(found, expected.map(Entry::as_ref));
            }
        }
        let mut keys: Vec<&[u8]> = list.iter().map(|entry| entry.key.as_slice()).collect();
        keys.push(b"no such key");
        let mut answers = Vec::new();
        table
            .get_many(&keys, SeqNo::MAX, &mut buffer, |place, found| {
                answers.push((place, found.map(|found| found.to_owned())));
            })
            .unwrap();
        for (place, key) in keys.iter().enumerate() {
            let expected = list.iter().find(|held| held.key == *key);
            prop_assert_eq!(&answers[place], &(place, expected.cloned()));
        }
        for key in keys.iter().filter(|key| key.len() >= 2 && key[0] != b'n') {
            prop_assert!(table.may_hold_prefix(&key[..2], &mut buffer).unwrap());
        }
        let absent = table.get(b"no such key", SeqNo::MAX, &mut buffer).unwrap();
        prop_assert!(absent.is_none());
        let verified = table.verify(&budget(), |_| {}).unwrap();
        prop_assert_eq!(verified.entry_count, list.len() as u64);
    }

    #[test]
    fn run_of_tables_and_list_agree(list in entries(), cuts in 1..5_usize, mapped in 0..6_usize) {
        let mut tables = Vec::new();
        let mut rest = list.as_slice();
        for id in 0..cuts {
            let mut end = rest.len() / (cuts - id);
            // Versions of a key stay together.
            while 0 < end && end < rest.len() && rest[end - 1].key == rest[end].key {
                end += 1;
            }
            if end > 0 {
                let file = write(&rest[..end], id as u64);
                // All, none or one of them.
                let is_mapped = mapped == 5 || mapped == id;
                let table = if is_mapped { open_mapped(file, Residency::Indexes) } else { open(file) };
                tables.push(Arc::new(table.unwrap()));
                rest = &rest[end..];
            }
        }
        agree(&mut RunCursor::new(&tables, &budget()).unwrap(), &list);
        let mut staged = RunCursor::new(&tables, &budget()).unwrap();
        agree_in_stages(&list, |key, at| {
            staged.begin_seek(key, at).unwrap();
            while !staged.go_on(key, at).unwrap() {}
            staged.entry().map(|entry| entry.to_owned())
        });
    }

    #[test]
    fn merge_and_list_agree(list in entries(), places in proptest::collection::vec(0..4_usize, 120)) {
        let mut parts = vec![Vec::new(); 4];
        for (entry, place) in list.iter().zip(places) {
            parts[place].push(entry.clone());
        }
        let parts = parts.iter().enumerate().filter(|(_, part)| !part.is_empty());
        // Every other one is mapped.
        let open = |(place, part): (usize, &Vec<Entry>)| match place % 2 {
            0 => open(write(part, 1)),
            _ => open_mapped(write(part, 1), Residency::Root),
        };
        let tables: Vec<Table> = parts.map(|part| open(part).unwrap()).collect();
        let cursors = tables.iter().map(|table| table.cursor(&budget()).unwrap()).collect();
        agree(&mut MergingCursor::new(cursors), &list);
    }

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(bytes).is_err());
    }


    #[test]
    fn bounds_and_list_agree(
        list in entries(),
        lower in 0..120_usize,
        upper in 0..120_usize,
        is_mapped in any::<bool>(),
    ) {
        let bound = |place: usize| list.get(place).map(|entry| entry.key.as_slice());
        let (lower, upper) = (bound(lower), bound(upper));
        let inside = |entry: &&Entry| {
            lower.is_none_or(|lower| lower <= &*entry.key) && upper.is_none_or(|upper| &*entry.key < upper)
        };
        let expected: Vec<Entry> = list.iter().filter(inside).cloned().collect();
        let file = write(&list, 7);
        let table = if is_mapped { open_mapped(file, Residency::Indexes) } else { open(file) }.unwrap();
        let mut cursor = table.cursor(&budget()).unwrap();
        cursor.set_bounds(lower, upper);
        agree(&mut cursor, &expected);
    }
}
