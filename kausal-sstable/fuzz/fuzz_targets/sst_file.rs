//! Whole files: a table of random entries, its bytes changed, its checksums made to match again, then everything that can be
//! asked of it. Nothing panics, and no more memory is asked for than the file's length allows.
#![no_main]
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use arbitrary::Arbitrary;
use kausal_arena::Budget;
use kausal_index::{Cursor, Entry, SeqNo, compare_positions};
use kausal_sstable::{
    BlockBuffer, Compression, FileBytes, FileNumber, KeyspaceId, RangeTombstone, Residency, Table, TableError,
    TableId, TableOptions, TableSource, TableWriter, fuzzing,
};
use libfuzzer_sys::fuzz_target;

/// Contents per stored byte that a reader may have to believe.
const RATIO_MAX: usize = 255;
/// Buffers and keys put together, for each of the few blocks held at once.
const FIXED_BYTES: usize = 2 << 20;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    entries: Vec<(bool, &'a [u8], u8, u8, u16)>,
    fragment: Option<(u8, u8, u8)>,
    compression: u8,
    has_dictionary: bool,
    is_resident: bool,
    is_resealed: bool,
    changes: Vec<(u16, u8)>,
    key: &'a [u8],
    at: u8,
    is_mapped: bool,
}

/// A file in memory, which may be mapped or not.
struct InMemory {
    bytes: FileBytes,
    is_mapped: bool,
}

impl TableSource for InMemory {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn mapping(&self) -> Option<FileBytes> {
        self.is_mapped.then(|| self.bytes.clone())
    }
}

fuzz_target!(|input: Input<'_>| {
    let Some(mut file) = write(&input) else { return };
    for &(place, byte) in &input.changes {
        let len = file.len();
        file[usize::from(place) % len] = byte;
    }
    if input.is_resealed {
        fuzzing::reseal(&mut file);
    }
    let budget = Budget::root("fuzz", 4 * RATIO_MAX * file.len() + FIXED_BYTES);
    if let Err(TableError::Memory { source, .. }) = read(file, &input, &budget) {
        panic!("more memory than the file's length allows: {source}");
    }
});

fn number(number: u8) -> SeqNo {
    SeqNo::new(u64::from(number)).expect("eight bits fit")
}

/// A table of the input's entries.
fn write(input: &Input<'_>) -> Option<Vec<u8>> {
    let of = |&(is_long, tail, seqno, kind, value_bytes): &(bool, &[u8], u8, u8, u16)| Entry {
        key: [if is_long { &b"a beginning"[..] } else { b"" }, &tail[..tail.len().min(100)]].concat(),
        seqno: number(seqno.max(1)),
        kind: fuzzing::kind(kind),
        value: vec![seqno; usize::from(value_bytes % 600)],
    };
    let mut entries: Vec<Entry> = input.entries.iter().map(of).collect();
    entries.sort_by(|left, right| compare_positions((&left.key, left.seqno), (&right.key, right.seqno)));
    entries.dedup_by(|left, right| (&left.key, left.seqno) == (&right.key, right.seqno));
    let compression = match input.compression % 3 {
        0 => Compression::None,
        1 => Compression::Lz4,
        _ => Compression::Zstd(1),
    };
    let has_dictionary = input.has_dictionary && matches!(compression, Compression::Zstd(_));
    let dictionary = has_dictionary.then_some(&b"a beginning"[..]);
    let options = TableOptions {
        block_bytes: 256,
        output_bytes: 1024,
        segment_keys: 8,
        filter_prefix_bytes: 3,
        compression,
        ..TableOptions::default()
    };
    let (table, keyspace, budget) = (TableId(7), KeyspaceId::DEFAULT, Budget::unlimited("fuzz"));
    let mut writer =
        TableWriter::with_dictionary(Vec::new(), table, keyspace, options, dictionary, &budget).ok()?;
    entries.iter().for_each(|entry| writer.add(entry.as_ref()).expect("in order"));
    if let Some((start, end, seqno)) = input.fragment {
        // Refused where it is no range.
        let _ =
            writer.add_range_tombstone(RangeTombstone { start: &[start], end: &[end], seqno: number(seqno) });
    }
    Some(writer.finish().ok()?.0)
}

/// Asks everything that can be asked. What is refused is fine, but not for want of memory.
fn read(file: Vec<u8>, input: &Input<'_>, budget: &Budget) -> Result<(), TableError> {
    let residency = if input.is_resident { Residency::Indexes } else { Residency::Root };
    let at = number(input.at);
    let source = Arc::new(InMemory { bytes: FileBytes::from_owner(file), is_mapped: input.is_mapped });
    let mut table = Table::open_with(source, FileNumber(1), None, residency, budget)?;
    table.map()?;
    let no_memory = |source| TableError::Memory { file: FileNumber(1), source };
    let mut buffer = BlockBuffer::new(budget).map_err(no_memory)?;
    memory_only(table.get(input.key, at, &mut buffer))?;
    let keys: Vec<&[u8]> = input.entries.iter().map(|entry| entry.1).collect();
    memory_only(table.get_many(&keys, at, &mut buffer, |_, _| {}))?;
    memory_only(table.may_hold_prefix(&input.key[..input.key.len().min(3)], &mut buffer))?;
    table.range_tombstones().covering(input.key, at);
    drop(buffer);
    let mut cursor = table.cursor(budget)?;
    let mut more = cursor.seek_to_first();
    while let Ok(true) = more {
        more = cursor.next();
    }
    memory_only(more)?;
    let mut more = cursor.seek_for_prev(input.key, at);
    while let Ok(true) = more {
        more = cursor.prev();
    }
    memory_only(more)?;
    memory_only(cursor.seek(input.key, at))?;
    drop(cursor);
    memory_only(table.blocks(budget, |_| {}))?;
    memory_only(table.verify(budget, |_| {}))
}

fn memory_only<T>(answer: Result<T, TableError>) -> Result<(), TableError> {
    match answer {
        Err(error @ TableError::Memory { .. }) => Err(error),
        _ => Ok(()),
    }
}
