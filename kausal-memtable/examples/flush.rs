//! Writes to two keyspaces until a memtable is full, rotates, and "flushes" what was frozen to standard
//! output as numbers.
//!
//! ```console
//! $ cargo run -p kausal-memtable --example flush
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::Arc;

use kausal_arena::{Budget, PermitRefused, testing};
use kausal_index::{Cursor, EntryRef, Kind, SeqNo, TreeIndex};
use kausal_memtable::{BatchPart, BatchRefused, KeyspaceId, Memtable, MemtableManager};

const NAMES: KeyspaceId = KeyspaceId::DEFAULT;
const AGES: KeyspaceId = KeyspaceId(1);

fn main() -> Result<(), Box<dyn Error>> {
    let budget = Budget::root("memtables", 4 << 20);
    // The pool's owner is above the manager, which has its coordinator. Outside of examples it is a `RegionPool::new`.
    let pool = testing::pool_in(&budget, 256 << 10, 2);
    let manager = MemtableManager::<TreeIndex>::with_keyspaces(pool.coordinator(), 2, ())?;
    for number in 1..=10_000 {
        write(&manager, number)?;
    }
    println!("{}", budget.report());
    Ok(())
}

/// A batch of one entry per keyspace, into whichever memtable has room.
fn write(manager: &MemtableManager<TreeIndex>, number: u64) -> Result<(), Box<dyn Error>> {
    let key = number.to_be_bytes();
    let part = BatchPart { entries: 1, payload_bytes: 40, ..BatchPart::new(NAMES) };
    let parts = [part, BatchPart { keyspace: AGES, ..part }];
    let (memtable, permit) = loop {
        let active = manager.active();
        match active.permit_batch(&parts) {
            Ok(permit) => break (active, permit),
            Err(BatchRefused::Permit(PermitRefused::Full { .. })) => flush(manager, &manager.rotate(())?)?,
            Err(refused) => return Err(refused.into()),
        }
    };
    // Here a log would be given the permit: no reservation, no log record.
    for (place, keyspace) in [(0, NAMES), (1, AGES)] {
        let seqno = SeqNo::new(2 * number + place).ok_or("sequence numbers are used up")?;
        let entry = EntryRef { key: &key, seqno, kind: Kind::Put, value: &[b'v'; 32] };
        memtable.insert_into(&permit, keyspace, entry)?;
    }
    Ok(())
}

fn flush(
    manager: &MemtableManager<TreeIndex>,
    sealed: &Arc<Memtable<TreeIndex>>,
) -> Result<(), Box<dyn Error>> {
    sealed.freeze()?;
    for keyspace in sealed.keyspaces() {
        let mut cursor = keyspace.cursor()?;
        let (mut entries, mut bytes) = (0, 0);
        let Ok(mut more) = cursor.seek_to_first();
        while more {
            bytes += cursor.entry().map_or(0, |entry| entry.payload_bytes());
            entries += 1;
            let Ok(moved) = cursor.next();
            more = moved;
        }
        println!("keyspace {}: {entries} entries, {bytes} bytes", keyspace.id());
    }
    println!("of generation {}: {:?}", sealed.generation(), sealed.bytes());
    manager.release(sealed);
    Ok(())
}
