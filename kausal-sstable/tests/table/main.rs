//! Tables through the public interface: held against a sorted list, damaged in every way, and read from files that
//! earlier versions wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
mod cached;
mod damage;
mod golden;
mod mapped;
mod parts;
mod writing;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_arena::Budget;
use kausal_index::{Cursor, Entry, Kind, SeqNo, compare_positions};
use kausal_sstable::{
    Compression, FileBytes, FileNumber, KeyspaceId, RangeTombstone, Residency, Table, TableError, TableId,
    TableOptions, TableSource, TableWriter,
};

fn budget() -> Budget {
    Budget::unlimited("test")
}

/// Small blocks and segments, so that a few entries make many of them.
fn options() -> TableOptions {
    TableOptions { block_bytes: 200, output_bytes: 512, segment_keys: 20, ..TableOptions::default() }
}

/// The compressions that this build has.
fn compressions() -> Vec<Compression> {
    let zstd = cfg!(feature = "zstd").then_some(Compression::Zstd(3));
    [Compression::None, Compression::Lz4].into_iter().chain(zstd).collect()
}

fn write(entries: &[Entry], id: u64) -> Vec<u8> {
    write_with(entries, id, options(), None, &[])
}

fn write_with(
    entries: &[Entry],
    id: u64,
    options: TableOptions,
    dictionary: Option<&[u8]>,
    fragments: &[(&[u8], &[u8], u64)],
) -> Vec<u8> {
    let (id, keyspace) = (TableId(id), KeyspaceId::DEFAULT);
    let mut writer =
        TableWriter::with_dictionary(Vec::new(), id, keyspace, options, dictionary, &budget()).unwrap();
    entries.iter().for_each(|entry| writer.add(entry.as_ref()).unwrap());
    for &(start, end, number) in fragments {
        writer.add_range_tombstone(RangeTombstone { start, end, seqno: seqno(number) }).unwrap();
    }
    let (file, summary) = writer.finish().unwrap();
    assert_eq!(file.len() as u64, summary.file_bytes);
    file
}

fn open(file: Vec<u8>) -> Result<Table, TableError> {
    Table::open(Arc::new(file), FileNumber(1), None, &budget())
}

/// A file that offers a mapping, and counts how often it is read in another way.
struct Mapped {
    file: Vec<u8>,
    bytes: FileBytes,
    reads: AtomicUsize,
    needs: AtomicUsize,
}

impl Mapped {
    fn new(file: Vec<u8>) -> Arc<Self> {
        let (reads, needs) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { bytes: FileBytes::from_owner(file.clone()), file, reads, needs })
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl TableSource for Mapped {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len() as u64)
    }

    fn mapping(&self) -> Option<FileBytes> {
        Some(self.bytes.clone())
    }

    fn will_need(&self, offset: u64, bytes: u64) {
        assert!(offset < self.file.len() as u64 && bytes > 0);
        self.needs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens a table from a file that offers a mapping, and takes it.
fn open_mapped(file: Vec<u8>, residency: Residency) -> Result<Table, TableError> {
    let mut table = Table::open_with(Mapped::new(file), FileNumber(1), None, residency, &budget())?;
    table.map()?;
    Ok(table)
}

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

fn entry(key: &[u8], number: u64, kind: Kind, value: &[u8]) -> Entry {
    Entry { key: key.to_vec(), seqno: seqno(number), kind, value: value.to_vec() }
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|left, right| compare_positions((&left.key, left.seqno), (&right.key, right.seqno)));
    entries.dedup_by(|left, right| (&left.key, left.seqno) == (&right.key, right.seqno));
    entries
}

/// Sixty entries: thirty keys in two versions.
fn small() -> Vec<Entry> {
    let keys = (0..30_u64).flat_map(|number| {
        let key = format!("key{number:03}");
        [2, 1].map(|version| entry(key.as_bytes(), 100 * version + number, Kind::Put, &[number as u8; 19]))
    });
    keys.collect()
}

/// Reads everything a cursor shows.
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
