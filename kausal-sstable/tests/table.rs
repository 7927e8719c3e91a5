//! Tables through the public interface: held against a sorted list, and damaged in every way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::{Cursor, Entry, EntryRef, Kind, SeqNo, compare_positions};
use kausal_sstable::{
    BlockBuffer, FileNumber, KeyspaceId, MergingCursor, RunCursor, Table, TableError, TableId, TableOptions,
    TableWriter, WriteError,
};
use proptest::prelude::*;

fn budget() -> Budget {
    Budget::unlimited("test")
}

fn options() -> TableOptions {
    TableOptions { block_bytes: 200, output_bytes: 512, ..TableOptions::default() }
}

fn write(entries: &[Entry], id: u64) -> Vec<u8> {
    let mut writer =
        TableWriter::new(Vec::new(), TableId(id), KeyspaceId::DEFAULT, options(), &budget()).unwrap();
    entries.iter().for_each(|entry| writer.add(entry.as_ref()).unwrap());
    let (file, summary) = writer.finish().unwrap();
    assert_eq!(file.len() as u64, summary.file_bytes);
    file
}

fn open(file: Vec<u8>) -> Result<Table, TableError> {
    Table::open(Arc::new(file), FileNumber(1), None, &budget())
}

fn entry(key: &[u8], seqno: u64, kind: Kind, value: &[u8]) -> Entry {
    Entry { key: key.to_vec(), seqno: SeqNo::new(seqno).unwrap(), kind, value: value.to_vec() }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let key = prop_oneof![
        proptest::collection::vec(0..4_u8, 0..4),
        (0..60_u8).prop_map(|last| [b"a common prefix/".as_slice(), &[last]].concat()),
    ];
    let entry = (key, 1..30_u64, 0..3_u8, proptest::collection::vec(any::<u8>(), 0..60));
    let entry = entry
        .prop_map(|(key, seqno, kind, value)| self::entry(&key, seqno, Kind::from_u8(kind).unwrap(), &value));
    proptest::collection::vec(entry, 1..120).prop_map(sorted)
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|left, right| compare_positions((&left.key, left.seqno), (&right.key, right.seqno)));
    entries.dedup_by(|left, right| (&left.key, left.seqno) == (&right.key, right.seqno));
    entries
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

proptest! {
    #[test]
    fn table_and_list_agree(list in entries()) {
        let table = open(write(&list, 7)).unwrap();
        agree(&mut table.cursor(&budget()).unwrap(), &list);
        let mut buffer = BlockBuffer::new(&budget()).unwrap();
        for probe in &list {
            for seqno in [0, probe.seqno.get(), SeqNo::MAX.get()] {
                let at = SeqNo::new(seqno).unwrap();
                let expected = list.iter().find(|held| held.key == probe.key && held.seqno <= at);
                let found = table.get(&probe.key, at, &mut buffer).unwrap();
                prop_assert_eq!(found, expected.map(Entry::as_ref));
            }
        }
        let absent = table.get(b"no such key", SeqNo::MAX, &mut buffer).unwrap();
        prop_assert!(absent.is_none());
        let verified = table.verify(&budget(), |_| {}).unwrap();
        prop_assert_eq!(verified.entry_count, list.len() as u64);
    }

    #[test]
    fn run_of_tables_and_list_agree(list in entries(), cuts in 1..5_usize) {
        let mut tables = Vec::new();
        let mut rest = list.as_slice();
        for id in 0..cuts {
            let mut end = rest.len() / (cuts - id);
            // Versions of a key stay together.
            while 0 < end && end < rest.len() && rest[end - 1].key == rest[end].key {
                end += 1;
            }
            if end > 0 {
                tables.push(Arc::new(open(write(&rest[..end], id as u64)).unwrap()));
                rest = &rest[end..];
            }
        }
        agree(&mut RunCursor::new(&tables, &budget()), &list);
    }

    #[test]
    fn merge_and_list_agree(list in entries(), places in proptest::collection::vec(0..4_usize, 120)) {
        let mut parts = vec![Vec::new(); 4];
        for (entry, place) in list.iter().zip(places) {
            parts[place].push(entry.clone());
        }
        let tables: Vec<Table> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| open(write(part, 1)).unwrap()).collect();
        let cursors = tables.iter().map(|table| table.cursor(&budget()).unwrap()).collect();
        agree(&mut MergingCursor::new(cursors), &list);
    }

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(bytes).is_err());
    }
}

fn small() -> Vec<Entry> {
    let keys = (0..30_u64).flat_map(|number| {
        let key = format!("key{number:03}");
        [2, 1].map(|version| entry(key.as_bytes(), 100 * version + number, Kind::Put, &[number as u8; 9]))
    });
    keys.collect()
}

/// Reads everything there is to read: entries by cursor and by look-up.
fn read_all(table: &Table) -> Result<Vec<Entry>, TableError> {
    let mut seen = Vec::new();
    let mut cursor = table.cursor(&budget())?;
    let mut more = cursor.seek_to_first()?;
    while more {
        seen.extend(cursor.entry().map(|entry| entry.to_owned()));
        more = cursor.next()?;
    }
    Ok(seen)
}

#[test]
fn every_flipped_bit_is_found_and_never_gives_other_data() {
    let list = small();
    let file = write(&list, 7);
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    let mut flips = 0;
    for place in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[place] ^= 1 << bit;
            flips += 1;
            let Ok(table) = open(damaged) else { continue };
            assert!(table.verify(&budget(), |_| {}).is_err(), "byte {place} bit {bit}");
            if let Ok(seen) = read_all(&table) {
                assert_eq!(seen, list, "byte {place} bit {bit}");
            }
            for held in &list {
                if let Ok(found) = table.get(&held.key, held.seqno, &mut buffer) {
                    assert_eq!(found, Some(held.as_ref()), "byte {place} bit {bit}");
                }
            }
        }
    }
    println!("{flips} flips");
}

#[test]
fn every_truncation_is_found() {
    let file = write(&small(), 7);
    for len in 0..file.len() {
        assert!(open(file[..len].to_vec()).is_err(), "{len} bytes");
    }
    let mut longer = file;
    longer.push(0);
    assert!(open(longer).is_err());
}

#[test]
fn blocks_of_another_table_are_found() {
    let (one, other) = (write(&small(), 7), write(&small(), 8));
    assert_eq!(one.len(), other.len());
    let mut mixed = one;
    mixed[..200].copy_from_slice(&other[..200]);
    let table = open(mixed).unwrap();
    assert!(matches!(table.verify(&budget(), |_| {}), Err(TableError::Corruption { offset: 0, .. })));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut file = write(&small(), 7);
    let footer = file.len() - 80;
    file[footer + 56] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&file[footer..footer + 72], footer as u64);
    file[footer + 72..].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(open(file), Err(TableError::NewerFormat { version: 2, supported: 1, .. })));
}

#[test]
fn the_writer_refuses_disorder_and_emptiness() {
    let writer =
        || TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, options(), &budget()).unwrap();
    assert!(matches!(writer().finish(), Err(WriteError::Empty)));
    let mut writer = writer();
    writer.add(entry(b"b", 5, Kind::Put, b"").as_ref()).unwrap();
    for disorder in
        [entry(b"b", 5, Kind::Put, b""), entry(b"b", 6, Kind::Put, b""), entry(b"a", 1, Kind::Put, b"")]
    {
        assert!(matches!(writer.add(disorder.as_ref()), Err(WriteError::OutOfOrder)));
    }
    writer
        .add(EntryRef { key: b"b", seqno: SeqNo::new(4).unwrap(), kind: Kind::Delete, value: b"" })
        .unwrap();
}

#[test]
fn the_filter_denies_most_absent_keys() {
    let list: Vec<_> = (0..5000_u64).map(|number| entry(&number.to_be_bytes(), 1, Kind::Put, b"")).collect();
    let table = open(write(&list, 7)).unwrap();
    // A buffer that is loaded only when the filter admits: its capacity tells nothing, so damage the blocks instead.
    let mut file = write(&list, 7);
    let blocks = table.footer().filter.offset as usize;
    file[..blocks].fill(0);
    let damaged = open(file).unwrap();
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    let admitted = (0..10_000_u64)
        .filter(|number| {
            let absent = [&(number % 4999).to_be_bytes()[..], &number.to_be_bytes()[..]].concat();
            damaged.get(&absent, SeqNo::MAX, &mut buffer).is_err()
        })
        .count();
    println!("{admitted} of 10000 absent keys admitted");
    assert!(admitted < 200, "{admitted} of 10000 absent keys admitted at 10 bits a key");
}

#[test]
fn extreme_sizes_are_kept() {
    let long = vec![b'k'; kausal_index::KEY_BYTES_MAX];
    let list = vec![
        entry(b"", 1, Kind::Put, b""),
        entry(b"k", 2, Kind::Delete, b""),
        entry(&long, 3, Kind::Put, &vec![7; 2 << 20]),
    ];
    let table = open(write(&list, 7)).unwrap();
    assert_eq!(read_all(&table).unwrap(), list);
}
