//! What of a memtable depends on an order between threads, under a model checker, over a skip list.
//!
//! | what happens | its models |
//! |---|---|
//! | a keyspace is made | `a_keyspace_is_seen…`, `two_batches_make…` |
//! | a range tombstone is added | `a_range_tombstone_is_seen…`, `two_range_tombstones…` |
//! | a memtable is sealed and frozen | `who_freezes_sees…` |
//! | a memtable is rotated away | `a_writer_meets_the_rotation…` |
//! | a memtable is released while it is read | `a_region_comes_back_once…` |
//!
//! ```console
//! $ cargo xtask model loom --crate kausal-memtable
//! $ cargo xtask model shuttle --crate kausal-memtable
//! ```
//!
//! The planted defects must be found: `--planted memtable_keyspace_relaxed`, a keyspace is published without Release;
//! `memtable_range_count_first`, a range tombstone is counted before the root that has it; `memtable_freeze_unsealed`, a
//! memtable is frozen while permits are out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../kausal-index/tests/explore/mod.rs"]
#[expect(dead_code, reason = "the indexes' models make pens without a memtable")]
mod explore;

use explore::Bound::{All, Preemptions};
use explore::{Witness, at_once, explore};
use kausal_arena::RegionPool;
use kausal_arena::sync::Arc;
use kausal_index::{Cursor, EntryRef, Kind, SeqNo, SkipListIndex};
use kausal_memtable::{BatchPart, KeyspaceId, Memtable, MemtableManager};

type Table = Memtable<SkipListIndex>;
type Manager = MemtableManager<SkipListIndex>;

const OTHER: KeyspaceId = KeyspaceId(5);

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).unwrap()
}

fn entry(key: &[u8], number: u64) -> EntryRef<'_> {
    EntryRef { key, seqno: seqno(number), kind: Kind::Put, value: key }
}

fn one_entry(keyspace: KeyspaceId) -> BatchPart {
    BatchPart { entries: 1, payload_bytes: 2, ..BatchPart::new(keyspace) }
}

fn one_range() -> BatchPart {
    BatchPart { range_deletes: 1, range_bytes: 2, ..BatchPart::new(KeyspaceId::DEFAULT) }
}

fn memtable() -> Arc<Table> {
    Arc::new(Table::with_keyspaces(kausal_arena::testing::region(1 << 17), 3, ()).unwrap())
}

fn put(memtable: &Table, keyspace: KeyspaceId, key: &[u8], number: u64) {
    let permit = memtable.permit_batch(&[one_entry(keyspace)]).unwrap();
    memtable.insert_into(&permit, keyspace, entry(key, number)).unwrap();
}

fn number_of(memtable: &Table, keyspace: KeyspaceId, key: &[u8]) -> Option<u64> {
    memtable.keyspace(keyspace)?.get(key, SeqNo::MAX).map(|entry| entry.seqno.get())
}

fn pool(count: usize) -> RegionPool {
    kausal_arena::testing::pool(1 << 17, count)
}

#[test]
fn a_keyspace_is_seen_whole_or_not_at_all() {
    explore("memtable: a keyspace beside a look-up", All, &[false, true], || {
        let (memtable, witness) = (memtable(), Arc::new(Witness::new()));
        let (writer, reader) = (Arc::clone(&memtable), Arc::clone(&memtable));
        let before = Arc::clone(&witness);
        let make = move || {
            before.write();
            drop(writer.permit_batch(&[one_entry(OTHER)]).unwrap());
        };
        let look = move || witness.of(reader.keyspace(OTHER).map(|found| found.is_empty())).is_some();
        let (_, seen) = at_once(make, look);
        assert!(memtable.keyspace(OTHER).is_some());
        seen
    });
}

#[test]
fn two_batches_make_one_keyspace() {
    explore("memtable: two batches need a new keyspace", Preemptions(2), &[()], || {
        let memtable = memtable();
        let (one, other) = (Arc::clone(&memtable), Arc::clone(&memtable));
        at_once(move || put(&one, OTHER, b"a", 1), move || put(&other, OTHER, b"b", 2));
        assert_eq!(memtable.keyspaces().count(), 2);
        assert_eq!(
            (number_of(&memtable, OTHER, b"a"), number_of(&memtable, OTHER, b"b")),
            (Some(1), Some(2))
        );
    });
}

fn delete_range(memtable: &Table, start: &[u8], end: &[u8], number: u64) {
    let permit = memtable.permit_batch(&[one_range()]).unwrap();
    memtable.delete_range(&permit, KeyspaceId::DEFAULT, start, end, seqno(number)).unwrap();
}

fn covering(memtable: &Table, key: &[u8]) -> Option<u64> {
    memtable.default_keyspace().range_tombstones().covering(key, SeqNo::MAX).map(SeqNo::get)
}

/// Who sees that there is one sees it whole, and what was before it.
#[test]
fn a_range_tombstone_is_seen_whole_or_not_at_all() {
    explore("memtable: a range tombstone beside a look-up", All, &[None, Some(2)], || {
        let (memtable, witness) = (memtable(), Arc::new(Witness::new()));
        let (writer, reader) = (Arc::clone(&memtable), Arc::clone(&memtable));
        let before = Arc::clone(&witness);
        let add = move || {
            before.write();
            delete_range(&writer, b"a", b"c", 2);
        };
        let look = move || {
            let ranges = reader.default_keyspace().range_tombstones();
            let (count, covering) = (ranges.len(), witness.of(covering(&reader, b"b")));
            assert!(count == 0 || covering.is_some(), "counted, but not there");
            covering
        };
        let (_, seen) = at_once(add, look);
        assert_eq!(covering(&memtable, b"b"), Some(2));
        seen
    });
}

#[test]
fn two_range_tombstones_are_both_there() {
    explore("memtable: two range tombstones at once", Preemptions(2), &[()], || {
        let memtable = memtable();
        let (one, other) = (Arc::clone(&memtable), Arc::clone(&memtable));
        at_once(move || delete_range(&one, b"a", b"c", 1), move || delete_range(&other, b"b", b"d", 2));
        let ranges = memtable.default_keyspace().range_tombstones();
        assert_eq!((ranges.len(), ranges.fragments().count()), (2, 4));
        assert_eq!(memtable.bytes().used(), memtable.used_bytes());
    });
}

/// A freeze succeeds before a batch has its permit or after it has ended, never between.
#[test]
fn who_freezes_sees_all_that_was_written() {
    explore("memtable: a batch beside a freeze", All, &[(false, 1), (true, 0), (true, 1)], || {
        let memtable = memtable();
        let (writer, flusher) = (Arc::clone(&memtable), Arc::clone(&memtable));
        let write = move || {
            let Ok(permit) = writer.permit(1, 2) else { return 0 };
            writer.insert(&permit, entry(b"a", 1)).unwrap();
            1
        };
        let freeze = move || flusher.freeze().is_ok().then(|| entries(&flusher));
        let (written, frozen) = at_once(write, freeze);
        assert!(frozen.is_none_or(|entries| entries == written), "{frozen:?} frozen, {written} written");
        memtable.freeze().unwrap();
        assert_eq!(entries(&memtable), written);
        let bounds = (written == 1).then(|| (seqno(1), seqno(1)));
        assert_eq!(memtable.seqno_bounds(), bounds);
        (frozen.is_some(), written)
    });
}

fn entries(memtable: &Table) -> usize {
    let mut cursor = memtable.cursor().unwrap();
    let (mut count, mut more) = (0, cursor.seek_to_first().unwrap());
    while more {
        count += 1;
        more = cursor.next().unwrap();
    }
    count
}

/// A writer that is refused because of the seal finds the next memtable at once: it does not turn in circles.
#[test]
fn a_writer_meets_the_rotation_once_at_most() {
    explore("memtable: a batch beside a rotation", All, &[(0, false), (1, false), (1, true)], || {
        let pool = pool(2);
        let manager = Arc::new(Manager::new(pool.coordinator(), ()).unwrap());
        let (writer, rotator) = (Arc::clone(&manager), Arc::clone(&manager));
        let write = move || {
            let first = writer.active();
            let (memtable, refused) = match first.permit(1, 2) {
                Ok(permit) => {
                    first.insert(&permit, entry(b"a", 1)).unwrap();
                    (first, false)
                }
                Err(_) => {
                    let next = writer.active();
                    put(&next, KeyspaceId::DEFAULT, b"a", 1);
                    (next, true)
                }
            };
            (memtable.generation(), refused)
        };
        let rotate = move || rotator.rotate(()).unwrap().generation();
        let ((written_to, refused), sealed) = at_once(write, rotate);
        let tables = manager.tables();
        assert_eq!(tables.frozen[0].generation(), sealed);
        tables.frozen[0].freeze().unwrap();
        let place = usize::from(written_to != sealed);
        let found = tables.iter().map(|table| number_of(table, KeyspaceId::DEFAULT, b"a"));
        let found: Vec<_> = found.collect();
        assert_eq!(found[1 - place], Some(1));
        assert_eq!(found[place], None);
        drop(tables);
        (place, refused)
    });
}

/// The reader may be the last to let go, or the flush: either way the region is back, and only then.
#[test]
fn a_region_comes_back_once_and_with_the_last_reader() {
    explore("memtable: a release beside a reader", All, &[false, true], || {
        let pool = pool(2);
        let manager = Arc::new(Manager::new(pool.coordinator(), ()).unwrap());
        put(&manager.active(), KeyspaceId::DEFAULT, b"a", 1);
        let sealed = manager.rotate(()).unwrap();
        let generation = sealed.generation();
        let reader = manager.tables();
        let (flusher, regions) = (Arc::clone(&manager), pool.coordinator());
        let read = move || {
            let found = number_of(&reader.frozen[0], KeyspaceId::DEFAULT, b"a");
            drop(reader);
            found
        };
        let release = move || {
            flusher.release(&sealed);
            drop(sealed);
            regions.free_count() == 1
        };
        let (found, is_back) = at_once(read, release);
        assert_eq!(found, Some(1));
        assert_eq!(pool.coordinator().free_count(), 1);
        let again = pool.coordinator().take().unwrap();
        assert!(again.generation() > generation && again.used() == 0);
        is_back
    });
}
