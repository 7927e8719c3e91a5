//! Memtables and their manager through the public interface.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounting;
mod indexes;
mod keyspaces;
mod manager;
mod parking;
mod pinning;
mod ranges;

use kausal_arena::PermitRefused;
use kausal_index::{BlockIndex, Cursor, EntryRef, Kind, SeqNo};
use kausal_memtable::{BatchPart, Keyspace, KeyspaceId, Memtable};

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

fn entry<'a>(number: u64, key: &'a [u8], value: &'a [u8]) -> EntryRef<'a> {
    EntryRef { key, seqno: seqno(number), kind: Kind::Put, value }
}

/// Puts 100 bytes.
fn put<I: BlockIndex, A>(memtable: &Memtable<I, A>, number: u64, key: &[u8]) -> Result<(), PermitRefused> {
    let permit = memtable.permit(1, key.len() + 100)?;
    memtable.insert(&permit, entry(number, key, &[7; 100])).unwrap();
    Ok(())
}

/// What one entry in `keyspace` needs.
fn one_entry(keyspace: u32, payload_bytes: usize) -> BatchPart {
    BatchPart { entries: 1, payload_bytes, ..BatchPart::new(KeyspaceId(keyspace)) }
}

/// What one range tombstone in `keyspace` needs.
fn one_range(keyspace: u32, start: &[u8], end: &[u8]) -> BatchPart {
    let range_bytes = start.len() + end.len();
    BatchPart { range_deletes: 1, range_bytes, ..BatchPart::new(KeyspaceId(keyspace)) }
}

/// Everything a cursor shows: keys and numbers.
fn shown<I: BlockIndex>(keyspace: &Keyspace<I>) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = keyspace.cursor().unwrap();
    let mut shown = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        let entry = cursor.entry().unwrap();
        shown.push((entry.key.to_vec(), entry.seqno.get()));
        more = cursor.next().unwrap();
    }
    shown
}
