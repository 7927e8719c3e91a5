//! The operating system's file system: the one place of the engine, with `std_direct`, `std_log` and `std_table`, that calls
//! `std::fs`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

#[cfg(unix)]
use super::FileBytes;
use super::std_log::StdLog;
use super::{Advice, DirEntry, FileLock, LogFile, OpenMode, Vfs, VfsFile};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdVfs;

#[derive(Debug)]
struct StdFile {
    file: File,
    /// Where `append` writes next.
    end: Mutex<u64>,
    /// Whether reads go past the page cache.
    is_direct: bool,
    /// Whether nobody will change the file.
    #[cfg_attr(not(unix), expect(dead_code, reason = "files are mapped on Unix only"))]
    may_be_mapped: bool,
}

impl StdFile {
    fn open(path: &Path, mode: OpenMode) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if mode == OpenMode::ReadDirect
            && let Some(file) = super::std_direct::open(path)?
        {
            let end = Mutex::new(file.metadata()?.len());
            return Ok(Self { file, end, is_direct: true, may_be_mapped: false });
        }
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read | OpenMode::ReadDirect | OpenMode::ReadMapped => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        let file = options.open(path)?;
        let end = Mutex::new(file.metadata()?.len());
        Ok(Self { file, end, is_direct: false, may_be_mapped: mode == OpenMode::ReadMapped })
    }
}

/// Without the C library, whose call is a place where a thread may be cancelled: to say so twice is a fortieth of a look-up that
/// reads a cached page.
#[cfg(target_os = "linux")]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pread(file, buffer, offset)?)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

/// Reserves space without changing the length; a file system that cannot is no error.
#[cfg(target_os = "linux")]
fn preallocate(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn preallocate(_file: &File, _len: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn advise(file: &File, advice: Advice) {
    use rustix::fs::Advice as Kernel;
    let advice = match advice {
        Advice::Normal => Kernel::Normal,
        Advice::Random => Kernel::Random,
        Advice::Sequential => Kernel::Sequential,
        Advice::WillNeed => Kernel::WillNeed,
        Advice::DontNeed => Kernel::DontNeed,
    };
    // A hint: whoever cannot take it does without.
    let _ = rustix::fs::fadvise(file, 0, None, advice);
}

#[cfg(not(target_os = "linux"))]
fn advise(_file: &File, _advice: Advice) {}

impl VfsFile for StdFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if self.is_direct {
            return super::std_direct::read_at(&self.file, buffer, offset);
        }
        read_at(&self.file, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut end = self.end.lock();
        write_all_at(&self.file, bytes, offset)?;
        *end = (*end).max(offset + bytes.len() as u64);
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut end = self.end.lock();
        let offset = *end;
        write_all_at(&self.file, bytes, offset)?;
        *end = offset + bytes.len() as u64;
        Ok(offset)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        preallocate(&self.file, len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut end = self.end.lock();
        self.file.set_len(len)?;
        *end = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn begin_writeback(&self, offset: u64, len: u64) {
        super::std_writeback::begin(&self.file, offset, len);
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn advise(&self, advice: Advice) {
        advise(&self.file, advice);
    }

    #[cfg(unix)]
    fn mapping(&self) -> Option<FileBytes> {
        if self.may_be_mapped { super::std_table::map(&self.file) } else { None }
    }

    #[cfg(target_os = "linux")]
    fn will_need(&self, offset: u64, len: u64) {
        // A hint: whoever cannot take it does without.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
    }
}

/// An advisory lock on an open file; the system drops it with the process. The file itself stays.
#[derive(Debug)]
struct StdLock {
    _file: File,
}

impl FileLock for StdLock {}

/// Stands for the lock of a folder that nobody can write to.
#[derive(Debug)]
struct NoLock;

impl FileLock for NoLock {}

impl Vfs for StdVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(StdFile::open(path, mode)?))
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(StdLog::new(StdFile::open(path, mode)?.file)?))
    }

    #[cfg(target_os = "linux")]
    fn keep_log(&self, path: &Path, spare: &Path, between: &dyn Fn()) -> io::Result<bool> {
        let Some(file) = super::std_log::open_to_keep(path)? else { return Ok(false) };
        fs::rename(path, spare)?;
        super::std_log::write_zeros(&file, between).inspect_err(|_| {
            // One that stays is removed by the next open.
            let _ = fs::remove_file(spare);
        })?;
        Ok(true)
    }

    #[cfg(target_os = "linux")]
    fn writes_over(&self, directory: &Path) -> bool {
        File::open(directory).and_then(|folder| super::std_log::is_written_in_place(&folder)).unwrap_or(false)
    }

    #[cfg(target_os = "linux")]
    fn open_over(&self, spare: &Path, path: &Path) -> io::Result<Option<Arc<dyn VfsFile>>> {
        let Some((file, len)) = super::std_log::open_to_write_over(spare)? else { return Ok(None) };
        let end = Mutex::new(len);
        fs::rename(spare, path)?;
        Ok(Some(Arc::new(StdFile { file, end, is_direct: false, may_be_mapped: false })))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::rename(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::hard_link(source, target)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            names.push(DirEntry { name: entry.file_name(), is_dir: entry.file_type()?.is_dir() });
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        // Windows has no such thing: its directories are journaled metadata.
        if cfg!(windows) { Ok(()) } else { File::open(directory)?.sync_all() }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(StdLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
                    Ok(file) => file,
                    // Where no lock can be made nobody can write either.
                    Err(_) => return Ok(Box::new(NoLock)),
                }
            }
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Box::new(StdLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let system = rustix::fs::statvfs(path)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    #[cfg(not(unix))]
    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
