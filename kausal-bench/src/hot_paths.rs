//! `counts`: instructions of one operation of each hot path, which one commit can be compared by with another.
//!
//! A child below callgrind prepares, then does many operations in one function, and only that is counted. Data, order
//! and sizes are always the same, so the count is too, but for what depends on addresses: far less than a percent.
//!
//! Not here: what a count may be. `cargo xtask bench counts` compares with the repository's.

use std::hint::black_box;

use kausal_arena::{Budget, RegionPool};
use kausal_engine::{KeyRange, Options as EngineOptions, StorageEngine};
use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo, TreeIndex};
use kausal_memtable::{BatchPart, KeyspaceId, Memtable};

use crate::arena::counts;
use crate::options::Options;
use crate::row::Row;
use crate::table::data::{Data, Key};
use crate::table::subject::{Opened, Ours, Stored, Subject};

/// Operations that are counted together.
const OPERATIONS: usize = 2000;

/// Entries that are there already.
const ENTRIES: usize = 10_000;

const REGION_BYTES: usize = 16 << 20;

const VALUE: [u8; 100] = [7; 100];

/// The paths, by name.
const PATHS: [&str; 7] =
    ["index_insert", "index_get", "memtable_insert", "table_get", "engine_get", "engine_put", "cursor_step"];

/// A row for each path; none without valgrind.
pub fn run(options: &Options) -> Vec<Row> {
    counts::with("valgrind", || {
        let mut rows = Vec::new();
        for path in PATHS.into_iter().filter(|path| options.wants(path)) {
            options.progress("counts", path);
            let count = counts::counted(&["hot", path])? / OPERATIONS as f64;
            rows.push(Row::lower("counts", path, "operation", count, "instructions"));
        }
        Some(rows)
    })
}

/// What the child does; `None` if there is no such path, or something of it fails.
pub fn child(path: &str) -> Option<()> {
    let data = Data::new(ENTRIES + OPERATIONS, 1);
    match path {
        "index_insert" | "index_get" => index(path, &data),
        "memtable_insert" => memtable(&data),
        "table_get" => table(&data),
        "engine_get" | "engine_put" | "cursor_step" => engine(path, &data),
        _ => None,
    }
}

fn entry(key: &Key, number: usize) -> EntryRef<'_> {
    let seqno = SeqNo::new(number as u64 + 1).expect("a small number");
    EntryRef { key, seqno, kind: Kind::Put, value: &VALUE }
}

/// Keys that are there from the beginning, and the rest, both in no order.
fn split(data: &Data) -> (&[Key], &[Key]) {
    data.sought.split_at(ENTRIES)
}

fn index(path: &str, data: &Data) -> Option<()> {
    let pool = RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, 1, || {}).ok()?;
    let region = pool.coordinator().take().ok()?;
    let pen = region.writer();
    let index = TreeIndex::create(region.lease(), &pen).ok()?;
    let (there, more) = split(data);
    for (number, key) in there.iter().enumerate() {
        index.insert(&pen, entry(key, number)).ok()?;
    }
    if path == "index_get" {
        return counted_by_callgrind(&there[..OPERATIONS], |_, key| {
            black_box(index.get(key, SeqNo::MAX)).map(|_| ())
        });
    }
    counted_by_callgrind(more, |number, key| index.insert(&pen, entry(key, ENTRIES + number)).ok())
}

fn memtable(data: &Data) -> Option<()> {
    let pool = RegionPool::new(&Budget::unlimited("bench"), REGION_BYTES, 1, || {}).ok()?;
    let memtable = Memtable::<TreeIndex>::new(pool.coordinator().take().ok()?, ()).ok()?;
    let put = |number: usize, key: &Key| {
        let mut part = BatchPart::new(KeyspaceId::DEFAULT);
        part.entries = 1;
        part.payload_bytes = key.len() + VALUE.len();
        let permit = memtable.permit_batch(&[part]).ok()?;
        memtable.insert_into(&permit, KeyspaceId::DEFAULT, entry(key, number)).ok()
    };
    let (there, more) = split(data);
    for (number, key) in there.iter().enumerate() {
        put(number, key)?;
    }
    counted_by_callgrind(more, |number, key| put(ENTRIES + number, key))
}

fn table(data: &Data) -> Option<()> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join("table");
    Ours.write(&path, &data.entries, Stored::Plain).ok()?;
    let mut reader = Ours.open(&[path], 64 << 20).ok()?;
    let keys = &data.sought[..OPERATIONS];
    // Every block of theirs is in the cache from here on.
    let warm = reader.look_up(keys).ok()?;
    let again = counted_by_callgrind_look_up(&mut *reader, keys)?;
    (warm == again).then_some(())
}

fn engine(path: &str, data: &Data) -> Option<()> {
    let folder = tempfile::tempdir().ok()?;
    let engine = StorageEngine::open(folder.path(), EngineOptions::new().memory_budget(64 << 20)).ok()?;
    let (there, more) = split(data);
    there.iter().try_for_each(|key| engine.put(key, &VALUE)).ok()?;
    if path == "engine_put" {
        return counted_by_callgrind(more, |_, key| engine.put(key, &VALUE).ok());
    }
    engine.compact().ok()?;
    let mut value = Vec::with_capacity(VALUE.len());
    let sought = &there[..OPERATIONS];
    if path == "engine_get" {
        let mut get = |_: usize, key: &Key| engine.get_into(key, &mut value).ok()?.then_some(());
        sought.iter().try_for_each(|key| get(0, key))?;
        return counted_by_callgrind(sought, get);
    }
    let mut cursor = engine.cursor(KeyRange::all()).ok()?;
    // What the steps need is in the cache from here on.
    cursor.seek_to_first().ok()?;
    sought.iter().try_for_each(|_| cursor.next().ok()?.then_some(()))?;
    cursor.seek_to_first().ok()?;
    counted_by_callgrind(sought, |_, _| {
        (cursor.next().ok()? && black_box(cursor.value()).is_some()).then_some(())
    })
}

#[inline(never)]
fn counted_by_callgrind(keys: &[Key], mut operate: impl FnMut(usize, &Key) -> Option<()>) -> Option<()> {
    black_box(keys).iter().enumerate().try_for_each(|(number, key)| operate(number, key))
}

#[inline(never)]
fn counted_by_callgrind_look_up(
    reader: &mut dyn Opened,
    keys: &[Key],
) -> Option<crate::table::data::Answers> {
    reader.look_up(black_box(keys)).ok()
}
