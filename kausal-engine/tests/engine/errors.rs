//! Every variant of [`Error`], provoked through the public interface: what its message and those of its sources say, where,
//! and what to do. A test has the name of its variant; the last one sees that none is left out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::vfs::{DirEntry, FileLock, LogFile, OpenMode, StdVfs, Vfs, VfsFile};
use kausal_engine::{
    Builder, Durability, Environment, Error, KeyRange, Options, StorageEngine, WriteBatch, WriteOptions,
};
use kausal_index::HashIndex;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::faulty::FaultyVfs;
use crate::{open, small};

/// The message with those of its sources; the folder's path is `DB`.
fn told<T>(result: Result<T, Error>, folder: &Path) -> String {
    let error = result.err().expect("an error");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text.replace(&folder.display().to_string(), "DB")
}

fn put(engine: &StorageEngine, options: WriteOptions) -> Result<(), Error> {
    let mut batch = WriteBatch::new();
    batch.put(b"key", b"value")?;
    engine.write(&batch, options)
}

#[test]
fn corruption() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    std::fs::write(folder.path().join("CURRENT"), [0; 64]).unwrap();
    let refused = StorageEngine::open(folder.path(), small());
    insta::assert_snapshot!(
        told(refused, folder.path()),
        @"DB/CURRENT: corrupt at byte 0: CURRENT does not hold what it should; restore a checkpoint"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn io() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = StorageEngine::open(file.join("database"), small());
    insta::assert_snapshot!(
        told(refused, folder.path()),
        @"cannot create DB/file/database; choose another path: Not a directory (os error 20)"
    );
}

#[test]
fn memory_budget() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    insta::assert_snapshot!(
        told(engine.request_with(64 << 20), folder.path()),
        @"the memory budget has no room; drop what holds it, or open with a larger one: 67108864 bytes asked for, at most 524288 are possible"
    );
}

#[test]
fn budget_too_small() {
    let folder = tempfile::tempdir().unwrap();
    let refused = StorageEngine::open(folder.path(), Options::new().memory_budget(1 << 20));
    insta::assert_snapshot!(
        told(refused, folder.path()),
        @"a memory budget of 1048576 bytes is too small; give at least 8388608"
    );
}

#[test]
fn change_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(512 << 20)).unwrap();
    engine.put(b"key", &vec![7; 2_090_000]).unwrap();
    engine.close().unwrap();
    // How much room there is depends on the memory plan.
    let said = told(StorageEngine::open(folder.path(), small()), folder.path());
    let words = said.split(' ').filter(|word| word.trim_end_matches(';').parse::<u64>().is_err());
    let numbers_left_out: Vec<&str> = words.collect();
    insta::assert_snapshot!(
        numbers_left_out.join(" "),
        @"a batch in the log needs bytes, the memory budget has room for open once with a larger one"
    );
    // What it says to do helps.
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(512 << 20)).unwrap();
    assert_eq!(engine.get(b"key").unwrap().unwrap().len(), 2_090_000);
    engine.close().unwrap();
    open(folder.path()).close().unwrap();
}

#[test]
fn stalled() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::default();
    let engine = vfs.open(folder.path(), small().stall_timeout(Duration::from_millis(1)));
    vfs.faults.set(|faults| &faults.is_full, true);
    insta::assert_snapshot!(
        told(put(&engine, WriteOptions::default()), folder.path()),
        @"waited 1ms because the disk is full; try again later"
    );
    insta::assert_snapshot!(
        told(put(&engine, WriteOptions::default().no_wait()), folder.path()),
        @"waited 0ns because the disk is full; try again later"
    );
}

#[test]
fn locked() {
    let folder = tempfile::tempdir().unwrap();
    let _engine = open(folder.path());
    insta::assert_snapshot!(
        told(StorageEngine::open(folder.path(), small()), folder.path()),
        @"DB is in use by another handle or process; close that one first"
    );
}

#[test]
fn not_found() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(
        told(StorageEngine::open(folder.path(), small().create(false)), folder.path()),
        @"DB is no database; `Options::create` lets one be made"
    );
}

#[test]
fn poisoned() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultyVfs::unmapped();
    let engine = vfs.open(folder.path(), small());
    vfs.faults.set(|faults| &faults.fails_writes, true);
    let failed = put(&engine, WriteOptions::durable(Durability::Power));
    insta::assert_snapshot!(
        told(failed, folder.path()),
        @"cannot write DB/000001.wal; look at the device, then open the database again: a fault of the disk"
    );
    insta::assert_snapshot!(
        told(put(&engine, WriteOptions::default()), folder.path()),
        @"no more writes until the database is opened again, because: cannot write DB/000001.wal; look at the device, then open the database again: a fault of the disk"
    );
}

#[test]
fn read_only() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    let engine = StorageEngine::open(folder.path(), small().read_only(true)).unwrap();
    insta::assert_snapshot!(
        told(put(&engine, WriteOptions::default()), folder.path()),
        @"the database is open for reading only; open it without `Options::read_only` to write"
    );
}

#[test]
fn unsorted() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let ingested = engine.ingest(|entries| {
        entries.put(b"pear", b"green")?;
        entries.put(b"apple\0", b"red")
    });
    insta::assert_snapshot!(
        told(ingested, folder.path()),
        @r#"the keys of an ingestion must ascend: "apple\x00" comes after "pear"; sort them"#
    );
}

#[test]
fn newer_format() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    let path = folder.path().join("CURRENT");
    let mut current = std::fs::read(&path).unwrap();
    current[8] = 2;
    let checksum = xxh3_64(&current[..56]);
    current[56..].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &current).unwrap();
    insta::assert_snapshot!(
        told(StorageEngine::open(folder.path(), small()), folder.path()),
        @"DB/CURRENT: written by a newer version (CURRENT version 2); open it with that one"
    );
}

#[test]
fn invalid_argument() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    insta::assert_snapshot!(
        told(engine.put(&[0; 70_000], b""), folder.path()),
        @"invalid argument: a key of 70000 bytes, the longest has 65535"
    );
}

#[test]
fn no_keyspace() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let gone = engine.create_keyspace("gone").unwrap().id();
    engine.drop_keyspace("gone").unwrap();
    let mut batch = WriteBatch::new();
    batch.put_in(gone, b"key", b"value").unwrap();
    insta::assert_snapshot!(
        told(engine.write(&batch, WriteOptions::default()), folder.path()),
        @"there is no keyspace 1; create it, or take it out of the batch"
    );
}

#[test]
fn conflict() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let mut batch = WriteBatch::new();
    batch.require(b"key", Some(b"value")).unwrap();
    batch.put(b"key", b"another").unwrap();
    insta::assert_snapshot!(
        told(engine.write(&batch, WriteOptions::default()), folder.path()),
        @"a key of 3 bytes in keyspace 0 does not have the value that the batch requires; read it and try again"
    );
}

/// A database whose manifest says that all but one of the sequence numbers are used, byte by byte as docs/format.md has it.
fn nearly_exhausted(folder: &Path) {
    let (id, number) = (7_u64, 1_u64);
    let mut current = [&b"KAUSCURR"[..], &1_u32.to_le_bytes(), &[0; 4]].concat();
    [id, number, 40, 0, 0].iter().for_each(|word| current.extend(word.to_le_bytes()));
    let checksum = xxh3_64(&current);
    current.extend(checksum.to_le_bytes());
    std::fs::write(folder.join("CURRENT"), current).unwrap();
    let mut manifest = [&b"KAUSMANI"[..], &1_u32.to_le_bytes(), &[0; 4]].concat();
    [id, number].iter().for_each(|word| manifest.extend(word.to_le_bytes()));
    let checksum = xxh3_64(&manifest);
    manifest.extend(checksum.to_le_bytes());
    // The largest number is 2^56 - 1: eight groups of seven bits. It is even one less here.
    let last = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    let payload = [&[1, 1, 2][..], &[2, 8], &last, &[3, 1, 1], &[10, 1, 1]].concat();
    let mut record = (payload.len() as u64).to_le_bytes().to_vec();
    let seed = id ^ number.rotate_left(40) ^ 40_u64.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let checksum = xxh3_64_with_seed(&[&record[..], &payload].concat(), seed);
    record.extend(checksum.to_le_bytes());
    std::fs::write(folder.join("MANIFEST-000001"), [manifest, record, payload].concat()).unwrap();
}

#[test]
fn sequence_exhausted() {
    let folder = tempfile::tempdir().unwrap();
    nearly_exhausted(folder.path());
    let engine = open(folder.path());
    put(&engine, WriteOptions::default()).unwrap();
    insta::assert_snapshot!(
        told(put(&engine, WriteOptions::default()), folder.path()),
        @"the sequence numbers are used up; copy the data into a new database"
    );
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// Files whose first table panics when it is made, on the thread of the flush.
#[derive(Debug)]
struct PanickingVfs;

impl Vfs for PanickingVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn VfsFile>> {
        assert!(path.extension().is_none_or(|extension| extension != "sst"), "a panic on purpose");
        StdVfs.open(path, mode)
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn LogFile>> {
        StdVfs.open_log(path, mode)
    }

    fn rename(&self, source: &Path, target: &Path) -> std::io::Result<()> {
        StdVfs.rename(source, target)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        StdVfs.remove(path)
    }

    fn hard_link(&self, source: &Path, target: &Path) -> std::io::Result<()> {
        StdVfs.hard_link(source, target)
    }

    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        StdVfs.create_dir(path)
    }

    fn list(&self, directory: &Path) -> std::io::Result<Vec<DirEntry>> {
        StdVfs.list(directory)
    }

    fn sync_dir(&self, directory: &Path) -> std::io::Result<()> {
        StdVfs.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn FileLock>> {
        StdVfs.lock(path)
    }

    fn free_space(&self, path: &Path) -> std::io::Result<u64> {
        StdVfs.free_space(path)
    }
}

#[test]
fn background_panic() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment { vfs: Arc::new(PanickingVfs), ..Environment::system().unwrap() };
    let engine: StorageEngine = Builder::new(folder.path(), small()).environment(environment).open().unwrap();
    engine.put(b"key", b"value").unwrap();
    insta::assert_snapshot!(
        told(engine.flush(), folder.path()),
        @"no more writes until the database is opened again, because: a background job panicked; see standard error"
    );
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"value"[..]), "reads go on");
}

#[test]
fn unordered() {
    let folder = tempfile::tempdir().unwrap();
    let engine: StorageEngine<HashIndex> = Builder::new(folder.path(), small()).open().unwrap();
    engine.put(b"key", b"value").unwrap();
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    insta::assert_snapshot!(
        told(cursor.seek_to_first(), folder.path()),
        @"memtables of this index have no order while they take writes; flush first, or open with another index: unsupported: the index has no order before it is frozen"
    );
}

#[test]
fn every_variant_is_here() {
    let source = include_str!("../../src/error.rs");
    let body = source.split_once("pub enum Error {").unwrap().1.split_once("\n}").unwrap().0;
    let name = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
        line.starts_with(|c: char| c.is_ascii_uppercase()).then(|| line[..end].to_owned())
    };
    let variants: Vec<String> = body.lines().filter_map(name).collect();
    assert!(variants.len() >= 17, "{variants:?}");
    let tests = include_str!("errors.rs");
    for variant in variants {
        let capitals = |(place, c): (usize, char)| {
            let underscore = (place > 0 && c.is_ascii_uppercase()).then_some('_');
            underscore.into_iter().chain([c.to_ascii_lowercase()])
        };
        let test: String = variant.char_indices().flat_map(capitals).collect();
        assert!(tests.contains(&format!("#[test]\nfn {test}() {{")), "no test `{test}` for `{variant}`");
    }
}
