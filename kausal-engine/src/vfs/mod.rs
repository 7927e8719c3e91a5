//! The engine's only door to the operating system's files.
//!
//! Every byte the engine reads or writes passes through [`Vfs`], so a test can put a simulated disk in the place
//! of the real one and crash it at any call. The traits are synchronous by decision: one engine call makes a
//! definite sequence of file calls on the calling thread.
//!
//! What an implementation must keep:
//! 1. Data is durable after `sync`, directory entries (create, rename, remove, link) after `sync_dir` of their
//!    directory; before that, a crash may keep or lose any of it.
//! 2. `rename` replaces its target atomically.
//! 3. Files are usable from many threads; `read_at` sees what `write_at` and `append` returned from before.
//!
//! `std::fs` appears nowhere else but in the command line tool, tests and project tasks.

#[cfg(target_os = "linux")]
mod std_direct;
mod std_log;
#[cfg(target_os = "linux")]
mod std_mapped;
#[cfg(unix)]
mod std_table;
mod std_vfs;
#[cfg(target_os = "linux")]
mod std_writeback;

pub use kausal_sstable::FileBytes;
pub use std_vfs::StdVfs;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How [`Vfs::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// The same past the page cache, where the file system can do that; otherwise as `Read`.
    ReadDirect,
    /// As `Read`, and [`VfsFile::mapping`] may answer. Who opens a file so promises that nobody writes to it or cuts it, by any
    /// name, as long as the mapping lives.
    ReadMapped,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// How a file will be read, a hint to the kernel's page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// No particular order.
    Normal,
    /// Point look-ups: read-ahead does harm.
    Random,
    /// From front to back, once.
    Sequential,
    /// Soon, all of it.
    WillNeed,
    /// Not again: its cached pages may go.
    DontNeed,
}

/// One read of [`VfsFile::read_many`]: fill `buffer` from `offset` on.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// Position of the first byte in the file.
    pub offset: u64,
    /// Where the bytes go; filled whole.
    pub buffer: &'a mut [u8],
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A lock on a database's folder; released when dropped and by the end of the process.
pub trait FileLock: Send + Sync + fmt::Debug {}

/// A file.
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before; other errors as the system gives them.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills every request's buffer; an implementation may issue them together.
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> io::Result<()> {
        requests.iter_mut().try_for_each(|request| self.read_exact_at(request.buffer, request.offset))
    }

    /// Writes all of `bytes` at `offset`, extending the file if needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at the end and returns the offset they begin at. One appender at a time.
    fn append(&self, bytes: &[u8]) -> io::Result<u64>;

    /// Asks for disk space for the first `len` bytes without changing the file's length, so that a later write
    /// within them does not fail for lack of space. Does nothing where the file system cannot.
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the data, and the metadata needed to read it back, durable.
    fn sync(&self) -> io::Result<()>;

    /// Begins to bring `len` bytes from `offset` on to the disk, without waiting, so that a later [`sync`](Self::sync) has
    /// less to do. A hint that promises nothing; whatever fails is told by that sync.
    fn begin_writeback(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Says how the file will be read. Never an error: it is a hint.
    fn advise(&self, advice: Advice);

    /// The bytes of the whole file as memory, if it was opened as [`OpenMode::ReadMapped`] and can be mapped. They are there until
    /// the last clone is gone, also when the file is closed and removed. Unless an implementation can do better, there are none.
    fn mapping(&self) -> Option<FileBytes> {
        None
    }

    /// Says that `len` bytes from `offset` on will soon be looked at in a [`mapping`](Self::mapping). Never an error: it is a hint.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// A write-ahead log's file: written in order of offset, synced up to an offset.
///
/// A trait of its own so that an implementation may map the file instead of writing to it. One caller at a time stores,
/// fills or cuts.
pub trait LogFile: Send + Sync + fmt::Debug {
    /// Asks for disk space for the first `len` bytes, so that a later store within them does not fail for lack of space, and
    /// its sync has no length to write. The file may become that long, by bytes that read as zeros, and may be written behind its end:
    /// nobody else fills or stores meanwhile.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Stores `bytes` at `offset`. They survive the end of the process when this returns.
    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Lets `fill` write `len` bytes straight to their place at `offset`, where the implementation can do that; answers
    /// `false` and calls nothing where it cannot, and will not later either. What was filled survives the end of the process
    /// when this returns; if the process ends before, any part of it may be there.
    ///
    /// Cheaper than [`store`](Self::store) for what is not synced at once, dearer for what is. The file may become longer
    /// than what was filled, by bytes that read as zeros; [`truncate`](Self::truncate) takes them off.
    ///
    /// # Errors
    ///
    /// As `store`, in particular if the disk is full; `fill` was not called then.
    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        let _ = (offset, len, fill);
        Ok(false)
    }

    /// Makes every byte below `offset` durable.
    fn sync_to(&self, offset: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A file system.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;

    /// Opens a log for writing.
    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>>;

    /// Names the log at `path`, which nobody has open and nobody will read any more, `spare`, and then writes zeros over it: the file
    /// of the next log. Answers `false`, and has changed nothing, where that brings nothing, or where a store into a mapping of
    /// it might find no room. Calls `between` every few hundred kilobytes. Unless an implementation can do better, it does not.
    ///
    /// # Errors
    ///
    /// As the system gives them. There is nothing at `spare` then.
    fn keep_log(&self, path: &Path, spare: &Path, between: &dyn Fn()) -> io::Result<bool> {
        let _ = (path, spare, between);
        Ok(false)
    }

    /// Whether files in `directory` are worth keeping for [`open_over`](Self::open_over): what is written over one goes where it
    /// lies, so that neither pages nor blocks have to be found. Unless an implementation can do better, they are not.
    fn writes_over(&self, directory: &Path) -> bool {
        let _ = directory;
        false
    }

    /// Gives the file at `spare`, which nobody has open and nobody will read any more, the name `path`, and opens it to be written
    /// over from its beginning; [`truncate`](VfsFile::truncate) cuts off then what is left of it. Answers `None`, and has changed
    /// nothing, if the file has another name, by which somebody counts on what is in it.
    ///
    /// # Errors
    ///
    /// As the system gives them. The file has kept its name then.
    fn open_over(&self, spare: &Path, path: &Path) -> io::Result<Option<Arc<dyn VfsFile>>> {
        let _ = (spare, path);
        Ok(None)
    }

    /// Renames a file, replacing `target` atomically if it exists.
    fn rename(&self, source: &Path, target: &Path) -> io::Result<()>;

    /// Removes a file. Those who have it open can still read it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives `source` a second name.
    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()>;

    /// Creates a directory and those above it; no error if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the directory's names durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that the file `path` stands for, creating the file if needed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;

    /// Takes the lock that the file `path` stands for together with others who take it so. Unless an implementation can do
    /// better, this is [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if somebody holds it alone.
    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.lock(path)
    }

    /// Free bytes on the file system that holds `path`, for this user.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}
