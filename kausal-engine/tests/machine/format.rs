//! The formats of a database's files: this version writes the golden files to the byte, reads them, and refuses by name what a
//! newer version may write (docs/format.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_engine::sim::{self, CrashMode, SimVfs};
use kausal_engine::vfs::{OpenMode, StdVfs, Vfs};
use kausal_engine::{Builder, Durability, Error, Options, StorageEngine, WriteBatch, WriteOptions};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// The same database after an open that was killed as well: with a recovered log.
fn golden_recovered() -> PathBuf {
    golden().with_file_name("v1-recovered")
}

fn options() -> Options {
    Options::new().memory_budget(8 << 20)
}

/// Every file but the lock of a database that was killed after it had written one of each kind; and of that after it was opened
/// and killed again.
fn write_one_of_each() -> [BTreeMap<String, Vec<u8>>; 2] {
    let vfs = SimVfs::new();
    let (environment, scheduler) = sim::environment(&vfs, 7);
    let engine: StorageEngine = Builder::new("/db", options()).environment(environment).open().unwrap();
    let users = engine.create_keyspace("users").unwrap().id();
    engine.create_keyspace("gone").unwrap();
    engine.drop_keyspace("gone").unwrap();
    let write = |batch: &WriteBatch| engine.write(batch, WriteOptions::durable(Durability::Power)).unwrap();
    let mut batch = WriteBatch::new();
    for number in 0..100_u32 {
        batch.put(&number.to_be_bytes(), &[number as u8; 9]).unwrap();
    }
    batch.put_in(users, b"7", b"Ada").unwrap();
    batch.delete_range(&10_u32.to_be_bytes(), &20_u32.to_be_bytes()).unwrap();
    write(&batch);
    engine.flush().unwrap();
    batch.clear();
    batch.put(b"large", &[5; 150_000]).unwrap();
    batch.delete(&50_u32.to_be_bytes()).unwrap();
    batch.delete_range_in(users, b"8", b"9").unwrap();
    write(&batch);
    while scheduler.run_one() {}
    let again = vfs.crash(CrashMode::KeepUnsynced, 0);
    let (environment, _scheduler) = sim::environment(&again, 7);
    let opened: StorageEngine = Builder::new("/db", options()).environment(environment).open().unwrap();
    let files = [read_all(&vfs), read_all(&again)];
    drop(opened);
    files
}

fn read_all(vfs: &SimVfs) -> BTreeMap<String, Vec<u8>> {
    let names =
        vfs.list(Path::new("/db")).unwrap().into_iter().map(|entry| entry.name.into_string().unwrap());
    let read = |name: String| {
        let file = vfs.open(&Path::new("/db").join(&name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    names.filter(|name| !matches!(name.as_str(), "LOCK" | "SPARE")).map(read).collect()
}

fn read_folder(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn write_folder(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
}

#[test]
fn the_golden_files_are_written_to_the_byte() {
    for (folder, written) in [golden(), golden_recovered()].iter().zip(write_one_of_each()) {
        if std::env::var_os("KAUSAL_WRITE_GOLDEN").is_some() {
            // After a decision to change the format, and only then.
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir_all(folder).unwrap();
            write_folder(folder, &written);
        }
        let golden = read_folder(folder);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&golden));
        for kind in ["CURRENT", "MANIFEST-", ".wal", ".sst", ".blob"] {
            assert!(golden.keys().any(|name| name.contains(kind)), "one of each kind: {kind}");
        }
        for (name, bytes) in &golden {
            let place = bytes.iter().zip(&written[name]).position(|(one, other)| one != other);
            assert!(*bytes == written[name], "{name} differs from byte {place:?} on");
        }
    }
}

#[test]
fn the_golden_files_are_read() {
    for golden in [golden(), golden_recovered()] {
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &read_folder(&golden));
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
        kausal_engine::check(&vfs, folder.path(), 64 << 20).unwrap();
        let engine = StorageEngine::open(folder.path(), options()).unwrap();
        for number in 0..100_u32 {
            let is_there = !(10..20).contains(&number) && number != 50;
            let expected = is_there.then(|| vec![number as u8; 9]);
            assert_eq!(engine.get(&number.to_be_bytes()).unwrap(), expected, "{number}");
        }
        assert_eq!(engine.get(b"large").unwrap().unwrap(), [5; 150_000]);
        assert_eq!(engine.keyspace("users").unwrap().get(b"7").unwrap().unwrap(), b"Ada");
        assert!(engine.keyspace("gone").is_none());
    }
    let recovered = kausal_engine::inspect::manifest(&StdVfs, &golden_recovered()).unwrap().recovered_logs;
    assert_eq!(recovered.len(), 1, "{recovered:?}");
}

fn seed(database_id: u64, number: u64, offset: u64) -> u64 {
    database_id ^ number.rotate_left(40) ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn word(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap())
}

/// The golden files with one of them changed: its name's part, and what is done to its bytes and its own number.
fn changed(part: &str, change: impl Fn(&mut Vec<u8>, u64, u64)) -> Result<StorageEngine, Error> {
    let folder = tempfile::tempdir().unwrap();
    let mut files = read_folder(&golden());
    let database_id = word(&files["CURRENT"], 16);
    let (name, bytes) = files.iter_mut().rfind(|(name, _)| name.contains(part)).unwrap();
    let number = name.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    change(bytes, database_id, number);
    write_folder(folder.path(), &files);
    let engine = StorageEngine::open(folder.path(), options())?;
    engine.get(b"large").map(|_| engine)
}

#[test]
fn what_a_newer_version_may_write_is_refused_by_name() {
    let reseal = |bytes: &mut Vec<u8>, end: usize| {
        let checksum = xxh3_64_with_seed(&bytes[..end], 0);
        bytes[end..end + 8].copy_from_slice(&checksum.to_le_bytes());
    };
    let version = |part: &str, end: usize| {
        changed(part, |bytes, _, _| {
            bytes[8] = 9;
            reseal(bytes, end);
        })
    };
    let frame = |place: usize, value: u8| {
        changed(".wal", move |bytes, id, number| {
            let end = 64
                + (32 + u32::from_le_bytes(bytes[88..92].try_into().unwrap()) as usize).next_multiple_of(8);
            bytes[place] = value;
            let checksum = xxh3_64_with_seed(&bytes[72..end], seed(id, number, 64));
            bytes[64..72].copy_from_slice(&checksum.to_le_bytes());
        })
    };
    let field = changed("MANIFEST-", |bytes, id, number| {
        let offset = bytes.len() as u64;
        let (len, payload) = ([2, 0, 0, 0, 0, 0, 0, 0], [77, 0]);
        let mut hasher = Xxh3::with_seed(seed(id, number, offset));
        hasher.update(&len);
        hasher.update(&payload);
        bytes.extend_from_slice(&len);
        bytes.extend_from_slice(&hasher.digest().to_le_bytes());
        bytes.extend_from_slice(&payload);
    });
    let refusals = [
        ("CURRENT", "CURRENT version 9", version("CURRENT", 56)),
        ("MANIFEST-", "manifest version 9", version("MANIFEST-", 32)),
        (".wal", "log format version 9", version(".wal", 56)),
        (".blob", "blob format version 9", version(".blob", 24)),
        // The frame's own kind, and that of its first change: behind header, sequence number, count and keyspace.
        (".wal", "record kind 5", frame(64 + 28, 5)),
        (".wal", "change of kind 4", frame(64 + 32 + 12 + 1, 4)),
        ("MANIFEST-", "manifest field 77", field),
    ];
    for (part, expected, refused) in refusals {
        let Err(Error::NewerFormat { file, what }) = refused else { panic!("{expected}: {refused:?}") };
        assert_eq!(what, expected);
        assert!(file.to_string_lossy().contains(part), "{}", file.display());
    }
}
