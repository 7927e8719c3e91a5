//! What a writer refuses, and what it keeps.

use kausal_index::{EntryRef, Kind};
use kausal_sstable::{Compression, KeyspaceId, RangeTombstone, TableError, TableId, TableWriter, WriteError};

use crate::{budget, entry, open, options, read_all, seqno, small, write, write_with};

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut file = write(&small(), 7);
    let footer = file.len() - 64;
    file[footer + 40] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&file[footer..footer + 56], footer as u64);
    file[footer + 56..].copy_from_slice(&checksum.to_le_bytes());
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
    writer.add(EntryRef { key: b"b", seqno: seqno(4), kind: Kind::Delete, value: b"" }).unwrap();
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

#[test]
fn the_writer_refuses_range_tombstones_out_of_order() {
    let mut writer =
        TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, options(), &budget()).unwrap();
    let mut add = |start: &[u8], end: &[u8], number| {
        writer.add_range_tombstone(RangeTombstone { start, end, seqno: seqno(number) })
    };
    add(b"b", b"d", 5).unwrap();
    for (start, end, number) in [
        (&b"b"[..], &b"d"[..], 5),
        (b"b", b"d", 6),
        (b"b", b"e", 4),
        (b"c", b"e", 4),
        (b"a", b"b", 9),
        (b"e", b"e", 9),
    ] {
        assert!(matches!(add(start, end, number), Err(WriteError::OutOfOrder)), "{start:?} to {end:?}");
    }
    add(b"b", b"d", 4).unwrap();
    add(b"d", b"e", 9).unwrap();
    // And a table of nothing else is a table.
    let table = open(writer.finish().unwrap().0).unwrap();
    assert_eq!(table.range_tombstones().len(), 3);
    assert_eq!(table.verify(&budget(), |_| {}).unwrap().entry_count, 0);
    assert_eq!(read_all(&table).unwrap(), []);
}

#[test]
fn a_dictionary_needs_zstd() {
    let with = |compression| {
        let options = kausal_sstable::TableOptions { compression, ..options() };
        let (id, keyspace) = (TableId(7), KeyspaceId::DEFAULT);
        TableWriter::with_dictionary(Vec::new(), id, keyspace, options, Some(b"common"), &budget()).err()
    };
    assert!(matches!(with(Compression::Lz4), Some(WriteError::Compression)));
    assert_eq!(with(Compression::Zstd(3)).is_none(), cfg!(feature = "zstd"));
}

#[test]
fn the_writer_stays_within_its_budget() {
    // A segment's hashes and filter, a block, the output: far less than the hashes of all keys.
    let budget = kausal_arena::Budget::root("writer", 600 << 10);
    let options = kausal_sstable::TableOptions { output_bytes: 64 << 10, ..Default::default() };
    struct Nowhere;
    impl kausal_sstable::TableSink for Nowhere {
        fn append(&mut self, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = TableWriter::new(Nowhere, TableId(7), KeyspaceId::DEFAULT, options, &budget).unwrap();
    for number in 0..300_000_u64 {
        writer
            .add(EntryRef { key: &number.to_be_bytes(), seqno: seqno(1), kind: Kind::Put, value: b"" })
            .unwrap();
    }
    let (_, summary) = writer.finish().unwrap();
    assert!(summary.properties.segment_count > 10);
}

/// Ends of the data blocks of a table of `count` entries with values of so many bytes, and the length of its file.
fn block_ends(options: kausal_sstable::TableOptions, count: u32, value_bytes: usize) -> (Vec<u64>, u64) {
    let value = |number: u32| vec![number as u8; value_bytes];
    let list: Vec<_> =
        (0..count).map(|number| entry(&number.to_be_bytes(), 1, Kind::Put, &value(number))).collect();
    let file = write_with(&list, 7, options, None, &[]);
    let (len, table) = (file.len() as u64, open(file).unwrap());
    assert_eq!(read_all(&table).unwrap(), list);
    assert_eq!(table.verify(&budget(), |_| {}).unwrap().entry_count, u64::from(count));
    let (mut ends, mut end) = (Vec::new(), 0);
    let mut buffer = kausal_sstable::BlockBuffer::new(&budget()).unwrap();
    table
        .split_points(1, &mut buffer, |_, bytes| {
            end += bytes;
            ends.push(end);
        })
        .unwrap();
    (ends, len)
}

#[test]
fn data_blocks_end_with_pages_of_the_file_where_entries_are_short() {
    const PAGE: u64 = 4096;
    let in_pages = |ends: &[u64]| ends.iter().filter(|&&end| end % PAGE == 0).count();
    for (value_bytes, block_bytes) in [(0, 4 << 10), (100, 4 << 10), (220, 4 << 10), (100, 16 << 10)] {
        let options = kausal_sstable::TableOptions { block_bytes, ..Default::default() };
        let (ends, aligned_bytes) = block_ends(options, 40_000, value_bytes);
        // Segments begin where the one before ends, and a few blocks of each lead to a page's end.
        assert!(10 * in_pages(&ends) > 9 * ends.len(), "{} of {} blocks", in_pages(&ends), ends.len());
        let compression = Compression::Lz4;
        let (compressed, _) =
            block_ends(kausal_sstable::TableOptions { compression, ..options }, 40_000, value_bytes);
        assert!(in_pages(&compressed) < compressed.len() / 10, "nobody can tell where those will end");
        // The page's size is in nobody's way who wants smaller blocks, or does without.
        let block_bytes = PAGE as usize - 1;
        let (ends, tight_bytes) =
            block_ends(kausal_sstable::TableOptions { block_bytes, ..options }, 40_000, value_bytes);
        assert!(in_pages(&ends) < ends.len() / 10);
        assert!(aligned_bytes < tight_bytes + tight_bytes / 25, "{aligned_bytes} in place of {tight_bytes}");
    }
}

#[test]
fn long_entries_take_no_more_room_than_they_need() {
    let options = kausal_sstable::TableOptions::default();
    let (ends, bytes) = block_ends(options, 3_000, 1_100);
    assert!((1_000..1_060).contains(&ends.len()), "{} blocks of three entries", ends.len());
    assert!(bytes < 3_000 * 1_160, "{bytes} bytes");
}
