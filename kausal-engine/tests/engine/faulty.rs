//! Real files with faults: a disk that fills up, writes and syncs that fail, and logs that cannot be mapped.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use kausal_engine::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, StdVfs, Vfs, VfsFile};
use kausal_engine::{Builder, Environment, Options, StorageEngine};

/// What goes wrong. Shared by the file system, its files and the test.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// No store, append or allocation finds room.
    pub(crate) is_full: AtomicBool,
    /// Logs say that they cannot be mapped.
    pub(crate) is_unmapped: AtomicBool,
    /// Every write to a log fails.
    pub(crate) fails_writes: AtomicBool,
    /// Every sync of a log fails.
    pub(crate) fails_syncs: AtomicBool,
    /// A full disk lets half of a record through first.
    pub(crate) tears: AtomicBool,
    /// An append by a thread for compactions is a panic, and every other one waits for that.
    pub(crate) panics_in_compaction: AtomicBool,
    has_panicked: Mutex<bool>,
    panicked: Condvar,
    /// Calls that store into a log.
    pub(crate) stores: AtomicU64,
    /// Calls that sync a log.
    pub(crate) syncs: AtomicU64,
}

impl Faults {
    pub(crate) fn set(&self, fault: impl Fn(&Self) -> &AtomicBool, value: bool) {
        fault(self).store(value, Ordering::SeqCst);
    }

    fn is(fault: &AtomicBool) -> bool {
        fault.load(Ordering::SeqCst)
    }

    fn panic_in_compaction(&self) {
        if !Self::is(&self.panics_in_compaction) {
            return;
        }
        if std::thread::current().name() == Some("kausal-compact") {
            *self.has_panicked.lock().unwrap() = true;
            self.panicked.notify_all();
            panic!("a fault of the disk");
        }
        let has_panicked = self.has_panicked.lock().unwrap();
        drop(self.panicked.wait_while(has_panicked, |has_panicked| !*has_panicked).unwrap());
    }

    fn room(&self) -> io::Result<()> {
        if Self::is(&self.is_full) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// The operating system's files with faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyVfs {
    pub(crate) faults: Arc<Faults>,
}

impl FaultyVfs {
    /// One whose logs cannot be mapped.
    pub(crate) fn unmapped() -> Self {
        let vfs = Self::default();
        vfs.faults.set(|faults| &faults.is_unmapped, true);
        vfs
    }

    pub(crate) fn open(&self, folder: &Path, options: Options) -> StorageEngine {
        let environment = Environment { vfs: Arc::new(self.clone()), ..Environment::system_with(4).unwrap() };
        Builder::<kausal_engine::DefaultIndex>::new(folder, options).environment(environment).open().unwrap()
    }
}

#[derive(Debug)]
struct FaultyFile(Arc<dyn VfsFile>, Arc<Faults>);

impl VfsFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.room()?;
        self.0.write_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        self.1.panic_in_compaction();
        self.1.room()?;
        self.0.append(bytes)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.1.room()?;
        self.0.preallocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn advise(&self, advice: Advice) {
        self.0.advise(advice);
    }
}

#[derive(Debug)]
struct FaultyLog(Arc<dyn LogFile>, Arc<Faults>);

impl LogFile for FaultyLog {
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.1.room()?;
        self.0.reserve(len)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.stores.fetch_add(1, Ordering::SeqCst);
        if Faults::is(&self.1.fails_writes) {
            return Err(io::Error::other("a fault of the disk"));
        }
        if Faults::is(&self.1.tears) {
            self.0.store(offset, &bytes[..bytes.len() / 2])?;
        }
        self.1.room()?;
        self.0.store(offset, bytes)
    }

    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        if Faults::is(&self.1.is_unmapped) {
            return Ok(false);
        }
        self.1.room()?;
        self.0.fill(offset, len, fill)
    }

    fn sync_to(&self, offset: u64) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        if Faults::is(&self.1.fails_syncs) {
            // Whatever a sync says: who was promised durability does not have it.
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.sync_to(offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

impl Vfs for FaultyVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(FaultyFile(StdVfs.open(path, mode)?, Arc::clone(&self.faults))))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(FaultyLog(StdVfs.open_log(path, mode)?, Arc::clone(&self.faults))))
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
        if Faults::is(&self.faults.is_full) { Ok(0) } else { StdVfs.free_space(path) }
    }
}
