//! Damage is found, and never gives other data: every bit, every length, blocks out of place.

use std::sync::Arc;

use kausal_index::{Entry, Kind};
use kausal_sstable::{
    BlockBuffer, BlockKind, Compression, Damage, FileNumber, Residency, Table, TableError, TableId,
    TableOptions,
};

use crate::{budget, compressions, entry, open, open_mapped, options, read_all, small, write, write_with};

const FRAGMENTS: [(&[u8], &[u8], u64); 2] = [(b"key007", b"key011", 250), (b"m", b"n", 3)];

/// Tables with every part there is, in each compression.
fn tables() -> Vec<(String, Vec<u8>)> {
    let options = |compression| TableOptions { compression, filter_prefix_bytes: 4, ..options() };
    let mut tables: Vec<_> = compressions()
        .into_iter()
        .map(|compression| {
            let file = write_with(&small(), 7, options(compression), None, &FRAGMENTS);
            (format!("{compression:?}"), file)
        })
        .collect();
    if cfg!(feature = "zstd") {
        let dictionary = Some(&b"key000key001key002"[..]);
        let file = write_with(&small(), 7, options(Compression::Zstd(3)), dictionary, &FRAGMENTS);
        tables.push(("Zstd with dictionary".to_owned(), file));
    }
    tables
}

/// Whatever a table answers is either an error or what was written.
fn assert_no_other_data(table: &Table, list: &[Entry], buffer: &mut BlockBuffer, what: &str) {
    if let Ok(seen) = read_all(table) {
        assert_eq!(seen, list, "{what}");
    }
    for held in list {
        if let Ok(found) = table.get(&held.key, held.seqno, buffer) {
            assert_eq!(found, Some(held.as_ref()), "{what}");
        }
    }
    let fragments: Vec<_> =
        table.range_tombstones().iter().map(|one| (one.start, one.end, one.seqno.get())).collect();
    assert_eq!(fragments, FRAGMENTS, "{what}");
}

#[test]
fn every_flipped_bit_is_found_and_never_gives_other_data() {
    let list = small();
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    for (name, file) in tables() {
        let mut refused_at_open = 0;
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{name}, byte {} bit {}", bit / 8, bit % 8);
            let Ok(table) = open(damaged.clone()) else {
                refused_at_open += 1;
                continue;
            };
            assert!(table.verify(&budget(), |_| {}).is_err(), "{what}");
            assert_no_other_data(&table, &list, &mut buffer, &what);
            let mapped = open_mapped(damaged, Residency::Indexes).unwrap();
            assert_no_other_data(&mapped, &list, &mut buffer, &format!("mapped, {what}"));
        }
        println!("{name}: {} flips found, {refused_at_open} of them by opening", 8 * file.len());
    }
}

#[test]
fn every_truncation_is_found() {
    for (name, file) in tables() {
        for len in 0..file.len() {
            assert!(open(file[..len].to_vec()).is_err(), "{name}, {len} bytes");
        }
        println!("{name}: {} lengths refused", file.len());
        let mut longer = file;
        longer.push(0);
        assert!(open(longer).is_err());
    }
}

/// Where the data blocks of a table lie, trailers included.
fn data_blocks(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let table = open(file.to_vec()).unwrap();
    table
        .blocks(&budget(), |block| {
            if block.kind == BlockKind::Data {
                ranges.push(block.handle.offset as usize..block.handle.end() as usize);
            }
        })
        .unwrap();
    ranges
}

fn assert_block_is_refused(file: Vec<u8>, offset: usize) {
    assert_block_of_table_is_refused(&open(file.clone()).unwrap(), offset);
    assert_block_of_table_is_refused(&open_mapped(file.clone(), Residency::Indexes).unwrap(), offset);
    assert_block_of_table_is_refused(&open_mapped(file, Residency::Root).unwrap(), offset);
}

fn assert_block_of_table_is_refused(table: &Table, offset: usize) {
    let list = small();
    let found = table.verify(&budget(), |_| {});
    let Err(TableError::Corruption { offset: at, what, .. }) = found else { panic!("{found:?}") };
    assert_eq!((at, what), (offset as u64, Damage::Checksum));
    assert!(read_all(table).is_err());
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    assert_no_other_data_but_errors(table, &list, &mut buffer);
}

fn assert_no_other_data_but_errors(table: &Table, list: &[Entry], buffer: &mut BlockBuffer) {
    let answers = list.iter().map(|held| match table.get(&held.key, held.seqno, buffer) {
        Ok(found) => {
            assert_eq!(found, Some(held.as_ref()));
            0
        }
        Err(_) => 1,
    });
    assert!(answers.sum::<usize>() > 0);
}

/// Values of one length and no compression, so that blocks of one length are there to be mixed up.
fn alike(value: u8) -> Vec<Entry> {
    (0..30_u64)
        .map(|number| entry(format!("key{number:03}").as_bytes(), 100 + number, Kind::Put, &[value; 19]))
        .collect()
}

#[test]
fn blocks_swapped_inside_a_table_are_found() {
    let list = small();
    let file = write(&list, 7);
    let blocks = data_blocks(&file);
    let (first, second) = blocks
        .iter()
        .enumerate()
        .find_map(|(place, one)| {
            let other = blocks[place + 1..].iter().find(|other| other.len() == one.len())?;
            Some((one.clone(), other.clone()))
        })
        .expect("two blocks of one length");
    let mut swapped = file.clone();
    swapped[first.clone()].copy_from_slice(&file[second.clone()]);
    swapped[second].copy_from_slice(&file[first.clone()]);
    assert_block_is_refused(swapped, first.start);
}

#[test]
fn a_block_of_another_table_is_found() {
    let (file, other) = (write(&small(), 7), write(&small(), 8));
    let blocks = data_blocks(&file);
    assert_eq!(blocks, data_blocks(&other), "the tables differ in their identity alone");
    for block in blocks {
        let mut mixed = file.clone();
        mixed[block.clone()].copy_from_slice(&other[block.clone()]);
        assert_block_is_refused(mixed, block.start);
    }
}

#[test]
fn a_stale_block_is_found() {
    // A file's number and place on the disk used again: the sector with the second block is what was there before.
    let (before, after) = (write(&alike(1), 7), write(&alike(2), 9));
    let block = data_blocks(&after)[1].clone();
    assert_eq!(block, data_blocks(&before)[1]);
    let mut stale = after;
    stale[block.clone()].copy_from_slice(&before[block.clone()]);
    let table = open(stale).unwrap();
    assert!(matches!(
        table.verify(&budget(), |_| {}),
        Err(TableError::Corruption { offset, what: Damage::Checksum, .. }) if offset == block.start as u64
    ));
    assert!(read_all(&table).is_err());
}

#[test]
fn another_table_in_the_place_of_the_expected_is_found() {
    let file = write(&small(), 8);
    let len = file.len() as u64;
    let opened = Table::open(Arc::new(file), FileNumber(1), Some((TableId(7), len)), &budget());
    let Err(TableError::Corruption { what, .. }) = opened else { panic!("opened") };
    assert_eq!(what, Damage::ForeignTable { expected: TableId(7), actual: TableId(8) });
}
