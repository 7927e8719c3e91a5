//! redb#639: opening after a crash reads the whole file, and takes minutes.
//!
//! Here opening reads the log and of each table the end: it costs what was written last, not what there is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kausal_engine::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, StdVfs, Vfs, VfsFile};
use kausal_engine::{Builder, Environment, StorageEngine};

use crate::{MIB, file_bytes, open, options, scattered};

/// The system's files; counts the bytes that are read.
#[derive(Clone, Debug, Default)]
struct CountingVfs {
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn VfsFile>,
    read: Arc<AtomicU64>,
}

impl VfsFile for CountingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        self.file.append(bytes)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn advise(&self, advice: Advice) {
        self.file.advise(advice);
    }
}

impl Vfs for CountingVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = StdVfs.open(path, mode)?;
        Ok(Arc::new(CountingFile { file, read: Arc::clone(&self.read) }))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        StdVfs.open_log(path, mode)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        StdVfs.rename(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        StdVfs.remove(path)
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        StdVfs.hard_link(source, target)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        StdVfs.list(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        StdVfs.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        StdVfs.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        StdVfs.free_space(path)
    }
}

#[test]
fn opening_reads_the_log_and_the_ends_of_tables() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..100_000_u32 {
        engine.put(&scattered(number), &[number as u8; 400]).unwrap();
    }
    engine.compact().unwrap();
    for number in 0..1_000_u32 {
        engine.put(&scattered(number), &[1; 400]).unwrap();
    }
    // As after a kill.
    std::mem::forget(engine);
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    let tables = file_bytes(folder.path(), ".sst");
    assert!(tables > 30 * MIB as u64);
    let counting = CountingVfs::default();
    let environment = Environment { vfs: Arc::new(counting.clone()), ..Environment::system().unwrap() };
    let engine: StorageEngine =
        Builder::new(folder.path(), options()).environment(environment).open().unwrap();
    let read = counting.read.load(Ordering::Relaxed);
    println!("{read} bytes read to open {tables} bytes of tables and a log of half a megabyte");
    assert!(engine.recovery_report().batch_count >= 1_000);
    assert!(20 * read < tables + 20 * 4 * MIB as u64, "{read} of {tables} bytes");
    assert_eq!(engine.get(&scattered(7)).unwrap().unwrap(), [1; 400]);
    assert_eq!(engine.get(&scattered(70_000)).unwrap().unwrap(), [70_000_u32 as u8; 400]);
}
