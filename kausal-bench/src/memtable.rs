//! `memtable`: what a memtable costs beside its index, and how its memory comes back.
//!
//! | workload | what is measured |
//! |---|---|
//! | `release/ENTRIES` | a flushed memtable in a region of 64 MiB is let go, until the region is back in its pool; against the drop of the same entries in maps that own them |
//! | `put/ENTRIES` | a permit and an insert per entry, through a memtable and into its index alone |
//! | `covering/RANGES` | whether a random key is covered, at the newest snapshot, by overlapping range tombstones; against a list that is searched |
//!
//! Entries have 16 and 84 bytes, so that the most there are nearly fill the region, and come in scattered order. A flush has
//! walked over all of them before the release, so they are as warm as they get.

use std::hint::black_box;
use std::sync::Arc;

use kausal_arena::{Budget, Region, RegionPool};
use kausal_index::{BlockIndex, Cursor, EntryRef, Kind, SeqNo, TreeIndex};
use kausal_memtable::{BatchPart, KeyspaceId, Memtable, MemtableManager};

use crate::maps::{self, Subject};
use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, timed};

const REGION_BYTES: usize = 64 << 20;

const VALUE_BYTES: usize = 84;

const RELEASED: [u64; 3] = [10_000, 100_000, 400_000];

const COVERED: [u64; 4] = [0, 10, 1_000, 10_000];

/// The least by which the release of a memtable is faster than the drop of a skip list's nodes, at the largest size.
const RELEASE_TARGET: f64 = 100_000.0;

type Manager = MemtableManager<TreeIndex>;

/// All workloads.
pub fn run(options: &Options) -> Vec<Row> {
    let released = RELEASED.iter().flat_map(|&entries| release(options, entries));
    let put = [100_000].iter().flat_map(|&entries| put(options, entries));
    let covered = COVERED.iter().flat_map(|&ranges| covering(options, ranges));
    released.chain(put).chain(covered).collect()
}

/// Rows for the release of `entries` entries, at most 400,000.
///
/// # Panics
///
/// If there is no memory for two regions.
pub fn release(options: &Options, entries: u64) -> Vec<Row> {
    let workload = format!("release/{entries}");
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let pool = pool(2);
    let manager = Manager::new(pool.coordinator(), ()).expect("the pool is new");
    let mut subjects: Vec<Subject<'_>> =
        vec![("memtable in a region", Box::new(|| release_memtable(&pool, &manager, entries)))];
    subjects.extend(maps::releases(entries, VALUE_BYTES, key));
    let target = (entries == RELEASED[2]).then_some(RELEASE_TARGET);
    compared(options, &workload, "release", subjects, target, 1.0)
}

/// Rows for puts of `entries` entries.
///
/// # Panics
///
/// If there is no memory for a region.
pub fn put(options: &Options, entries: u64) -> Vec<Row> {
    let workload = format!("put/{entries}");
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let pool = pool(1);
    let region = || pool.coordinator().take().expect("the one region is back");
    let subjects: Vec<Subject<'_>> = vec![
        ("memtable", Box::new(|| put_to_memtable(region(), entries))),
        ("its index alone", Box::new(|| put_to_index(region(), entries))),
    ];
    compared(options, &workload, "put", subjects, None, entries as f64)
}

/// Rows for look-ups among `ranges` range tombstones.
///
/// # Panics
///
/// If there is no memory for a region.
pub fn covering(options: &Options, ranges: u64) -> Vec<Row> {
    const LOOK_UPS: u64 = 20_000;
    let workload = format!("covering/{ranges}");
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let pool = pool(1);
    let region = pool.coordinator().take().expect("the one region is free");
    let memtable = Memtable::<TreeIndex>::new(region, ()).expect("the region is large");
    let list: Vec<_> = (0..ranges).map(|number| range(number, ranges)).collect();
    for (number, [start, end]) in (1..).zip(&list) {
        let part = BatchPart { range_deletes: 1, range_bytes: 16, ..BatchPart::new(KeyspaceId::DEFAULT) };
        let permit = memtable.permit_batch(&[part]).expect("the region is large");
        memtable
            .delete_range(&permit, KeyspaceId::DEFAULT, start, end, seqno(number))
            .expect("ranges differ");
    }
    let tombstones = memtable.default_keyspace().range_tombstones();
    let in_tree = |key: &[u8]| tombstones.covering(key, SeqNo::MAX).map_or(0, SeqNo::get);
    let in_list = |key: &[u8]| newest_in_list(&list, key);
    let keys: Vec<_> = (0..LOOK_UPS).map(|number| scattered(number).to_be_bytes()).collect();
    assert!(keys.iter().take(1_000).all(|key| in_tree(key) == in_list(key)), "both answer the same");
    let sum = |find: &dyn Fn(&[u8]) -> u64| {
        timed(|| {
            black_box(keys.iter().map(|key| find(key)).fold(0, u64::wrapping_add));
        })
    };
    let subjects: Vec<Subject<'_>> = vec![
        ("range tombstones", Box::new(|| sum(&in_tree))),
        ("list that is searched", Box::new(|| sum(&in_list))),
    ];
    compared(options, &workload, "covering", subjects, None, LOOK_UPS as f64)
}

/// A row for each subject, and one for the first against each of the others.
fn compared(
    options: &Options,
    workload: &str,
    metric: &str,
    mut subjects: Vec<Subject<'_>>,
    target: Option<f64>,
    per: f64,
) -> Vec<Row> {
    subjects.retain(|(name, _)| options.wants_subject(name));
    let rounds = options.rounds.unwrap_or(if options.quick { 5 } else { 9 });
    let times = medians(subjects.len(), rounds, |number| (subjects[number].1)() / per);
    let names = subjects.iter().map(|(name, _)| name);
    let own: Vec<Row> =
        names.zip(&times).map(|(name, time)| Row::lower(workload, name, metric, *time, "ns")).collect();
    let last = own.len() - 1;
    let against = own[1..]
        .iter()
        .enumerate()
        .map(|(place, peer)| own[0].against(peer, target.filter(|_| place + 1 == last)));
    own.iter().cloned().chain(against).collect()
}

fn pool(regions: usize) -> RegionPool {
    RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, regions, || {})
        .expect("memory for the regions")
}

fn seqno(number: u64) -> SeqNo {
    SeqNo::new(number).expect("far below 2^56")
}

fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"........suffix!!";
    key[..8].copy_from_slice(&scattered(number).to_be_bytes());
    key
}

/// Range `number` of `count`: a hundredth of all keys long, or less if there are many.
fn range(number: u64, count: u64) -> [[u8; 8]; 2] {
    let start = scattered(number) >> 1;
    let len = u64::MAX / 100.max(count / 4);
    [start.to_be_bytes(), (start + len).to_be_bytes()]
}

fn newest_in_list(list: &[[[u8; 8]; 2]], key: &[u8]) -> u64 {
    let covers = |range: &[[u8; 8]; 2]| &range[0][..] <= key && key < &range[1][..];
    list.iter().rposition(covers).map_or(0, |place| place as u64 + 1)
}

fn put_all<I: BlockIndex>(memtable: &Memtable<I>, entries: u64) {
    for number in 0..entries {
        let key = key(number);
        let permit = memtable.permit(1, key.len() + VALUE_BYTES).expect("the region is large");
        let entry =
            EntryRef { key: &key, seqno: seqno(number + 1), kind: Kind::Put, value: &[7; VALUE_BYTES] };
        memtable.insert(&permit, entry).expect("covered by its permit");
    }
    assert_eq!(memtable.len() as u64, entries, "what is timed holds what it should");
}

fn put_to_memtable(region: Region, entries: u64) -> f64 {
    let memtable = Memtable::<TreeIndex>::new(region, ()).expect("the region is large");
    timed(|| put_all(&memtable, entries))
}

/// The same without the memtable's counts and checks.
fn put_to_index(region: Region, entries: u64) -> f64 {
    let index = TreeIndex::create(region.lease(), &region.writer()).expect("the region is large");
    let time = timed(|| {
        for number in 0..entries {
            let key = key(number);
            let bytes = TreeIndex::bytes_max(1, key.len() + VALUE_BYTES);
            let permit = region.permit(bytes).expect("the region is large");
            let entry =
                EntryRef { key: &key, seqno: seqno(number + 1), kind: Kind::Put, value: &[7; VALUE_BYTES] };
            index.insert(permit.pen(), entry).expect("covered by its permit");
        }
    });
    assert_eq!(index.len() as u64, entries, "what is timed holds what it should");
    time
}

fn release_memtable(pool: &RegionPool, manager: &Manager, entries: u64) -> f64 {
    put_all(&manager.active(), entries);
    let sealed = manager.rotate(()).expect("the other region is free");
    sealed.freeze().expect("nobody writes");
    assert_eq!(flushed(&sealed), entries, "a flush writes all of it");
    assert_eq!(pool.coordinator().free_count(), 0);
    let time = timed(|| give_back(manager, sealed));
    assert_eq!(pool.coordinator().free_count(), 1, "the region is back");
    time
}

/// Apart, so that a profiler can count its instructions alone.
#[inline(never)]
fn give_back(manager: &Manager, sealed: Arc<Memtable<TreeIndex>>) {
    manager.release(&sealed);
    drop(sealed);
}

fn flushed(memtable: &Memtable<TreeIndex>) -> u64 {
    let mut cursor = memtable.cursor().expect("the tree is ordered while it lives");
    let (mut entries, Ok(mut more)) = (0, cursor.seek_to_first());
    while more {
        entries += u64::from(black_box(cursor.entry()).is_some());
        let Ok(moved) = cursor.next();
        more = moved;
    }
    entries
}
