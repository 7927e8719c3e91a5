//! A file system between the engine and the simulated disk that lets one call fail.
//!
//! Calls that change something are counted; the n-th fails with the error that was asked for, before or after it was done.
//! A write to a file that finds the disk full has taken the first half of its bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kausal_engine::sim::SimVfs;
use kausal_engine::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, Vfs, VfsFile};

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Calls before it that succeed.
    pub(crate) after: u64,
    pub(crate) kind: io::ErrorKind,
    /// Whether the call is done all the same.
    pub(crate) is_done: bool,
    /// Whether every later call fails as well.
    pub(crate) lasts: bool,
    /// Whether a call of this name, on this file, counts.
    pub(crate) counts: fn(&str, &Path) -> bool,
}

#[derive(Debug)]
struct Faults {
    fault: Fault,
    disk: SimVfs,
    calls: AtomicU64,
    /// Calls of the disk before the first that failed, and one.
    failed_at: AtomicU64,
}

/// The file system.
#[derive(Clone, Debug)]
pub(crate) struct FaultyVfs {
    disk: SimVfs,
    faults: Arc<Faults>,
}

impl FaultyVfs {
    pub(crate) fn new(disk: &SimVfs, fault: Fault) -> Self {
        let (calls, failed_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { disk: disk.clone(), faults: Arc::new(Faults { fault, disk: disk.clone(), calls, failed_at }) }
    }

    /// Calls that counted so far.
    pub(crate) fn call_count(&self) -> u64 {
        self.faults.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn disk(&self) -> &SimVfs {
        &self.disk
    }

    /// How many calls the disk had when the fault came.
    pub(crate) fn failed_at(&self) -> Option<u64> {
        self.faults.failed_at.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether the fault has come.
    pub(crate) fn has_failed(&self) -> bool {
        self.call_count() > self.faults.fault.after
    }
}

impl Faults {
    fn call<T>(&self, name: &str, path: &Path, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Fault { after, kind, is_done, lasts, counts } = self.fault;
        if !counts(name, path) {
            return call();
        }
        let place = self.calls.fetch_add(1, Ordering::Relaxed);
        if place == after || (lasts && place > after) {
            if place == after {
                self.failed_at.store(self.disk.call_count() + 1, Ordering::Relaxed);
            }
            if is_done {
                call()?;
            }
            return Err(kind.into());
        }
        call()
    }
}

/// A file of it.
#[derive(Debug)]
struct FaultyFile<F: ?Sized> {
    path: std::path::PathBuf,
    faults: Arc<Faults>,
    file: Arc<F>,
}

impl FaultyVfs {
    fn file<F: ?Sized>(&self, path: &Path, file: Arc<F>) -> FaultyFile<F> {
        FaultyFile { path: path.to_owned(), faults: Arc::clone(&self.faults), file }
    }

    fn open_name(mode: OpenMode) -> &'static str {
        if mode == OpenMode::CreateNew { "create" } else { "open" }
    }
}

impl Vfs for FaultyVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.faults.call(Self::open_name(mode), path, || self.disk.open(path, mode))?;
        Ok(Arc::new(self.file(path, file)))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        let file = self.faults.call(Self::open_name(mode), path, || self.disk.open_log(path, mode))?;
        Ok(Arc::new(self.file(path, file)))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.faults.call("rename", target, || self.disk.rename(source, target))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.call("remove", path, || self.disk.remove(path))
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.faults.call("link", target, || self.disk.hard_link(source, target))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        self.faults.call("list", directory, || self.disk.list(directory))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.faults.call("sync", directory, || self.disk.sync_dir(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.disk.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_space(path)
    }
}

impl FaultyFile<dyn VfsFile> {
    /// What a full disk takes of a write.
    fn half(
        &self,
        error: &io::Error,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if error.kind() == io::ErrorKind::StorageFull { write(&bytes[..bytes.len() / 2]) } else { Ok(()) }
    }
}

impl VfsFile for FaultyFile<dyn VfsFile> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.call("read", &self.path, || self.file.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.faults.call("write", &self.path, || self.file.write_at(bytes, offset));
        written.or_else(|error| {
            self.half(&error, bytes, |half| self.file.write_at(half, offset))?;
            Err(error)
        })
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let written = self.faults.call("write", &self.path, || self.file.append(bytes));
        written.or_else(|error| {
            self.half(&error, bytes, |half| self.file.append(half).map(drop))?;
            Err(error)
        })
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.faults.call("write", &self.path, || self.file.preallocate(len))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.faults.call("truncate", &self.path, || self.file.truncate(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.call("sync", &self.path, || self.file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.faults.call("len", &self.path, || self.file.len())
    }

    fn advise(&self, advice: Advice) {
        self.file.advise(advice);
    }
}

impl LogFile for FaultyFile<dyn LogFile> {
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.faults.call("write", &self.path, || self.file.reserve(len))
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.faults.call("write", &self.path, || self.file.store(offset, bytes))
    }

    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        // A fill that fails has not been done.
        self.faults.call("write", &self.path, || Ok(()))?;
        self.file.fill(offset, len, fill)
    }

    fn sync_to(&self, offset: u64) -> io::Result<()> {
        self.faults.call("sync", &self.path, || self.file.sync_to(offset))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.faults.call("truncate", &self.path, || self.file.truncate(len))
    }
}
