//! A disk in memory that tells what is durable from what is not.
//!
//! 1. A file has its contents and its durable contents; `sync` makes them equal. The names have a durable state and a
//!    list of operations since; `sync_dir` makes them durable.
//! 2. From the call that [`SimVfs::crash_after`] names on, every call fails; a write at that very call may be applied in
//!    part.
//! 3. [`SimVfs::crash`] gives the disk as the machine finds it afterwards. Of what was not durable it keeps, by
//!    [`CrashMode`], nothing, everything, or by seed: each 512-byte sector on its own, possibly torn in the middle; any
//!    length between the durable and the latest; each name operation on its own, a rename as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::sim::SimRandom;
use crate::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, Vfs, VfsFile};

const SECTOR_BYTES: usize = 512;

/// Space of a log that is allocated at once when it is filled.
const WINDOW_BYTES: usize = 4096;

/// What a crash keeps of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing: power loss with everything still in caches.
    DropUnsynced,
    /// Everything: the process was killed.
    KeepUnsynced,
    /// Any part, by seed.
    Random,
}

#[derive(Clone, Default)]
struct Inode {
    contents: Vec<u8>,
    durable: Vec<u8>,
}

/// A change of the names since the last sync of the directory.
#[derive(Clone)]
enum NameChange {
    Link(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Clone, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    changes: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    calls: u64,
    crash_after: Option<u64>,
}

/// A simulated file system. Cloning gives another handle on the same disk.
#[derive(Clone, Default)]
pub struct SimVfs {
    disk: Arc<Mutex<Disk>>,
}

fn crashed() -> io::Error {
    io::Error::other("simulated crash")
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(source, target, inode) => {
            names.remove(source);
            names.insert(target.clone(), *inode);
        }
    }
}

impl Disk {
    /// Counts a call; fails it from the crash on. Answers whether this is the very call of the crash.
    fn call(&mut self) -> (bool, io::Result<()>) {
        self.calls += 1;
        match self.crash_after {
            Some(limit) if self.calls > limit => (self.calls == limit + 1, Err(crashed())),
            _ => (false, Ok(())),
        }
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn inode(&mut self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn contents(&mut self, inode: u64) -> &mut Vec<u8> {
        &mut self.inodes.entry(inode).or_default().contents
    }

    fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (is_crash, answer) = self.call();
        // A write that the crash interrupts reaches the disk in part.
        let bytes = if is_crash { &bytes[..bytes.len() / 2] } else { bytes };
        if answer.is_ok() || is_crash {
            let contents = self.contents(inode);
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[start..end].copy_from_slice(bytes);
        }
        answer
    }

    fn crash(&self, mode: CrashMode, random: &SimRandom) -> Self {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            let kept = match mode {
                CrashMode::DropUnsynced => false,
                CrashMode::KeepUnsynced => true,
                CrashMode::Random => random.below(2) == 0,
            };
            if kept {
                apply(&mut names, change);
            }
        }
        let survive = |inode: &Inode| match mode {
            CrashMode::DropUnsynced => inode.durable.clone(),
            CrashMode::KeepUnsynced => inode.contents.clone(),
            CrashMode::Random => mix(inode, random),
        };
        let named: BTreeSet<u64> = names.values().copied().collect();
        let inodes =
            self.inodes.iter().filter(|(number, _)| named.contains(number)).map(|(&number, inode)| {
                let contents = survive(inode);
                (number, Inode { durable: contents.clone(), contents })
            });
        Self {
            inodes: inodes.collect(),
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            directories: self.directories.clone(),
            locks: BTreeSet::new(),
            next_inode: self.next_inode,
            calls: 0,
            crash_after: None,
        }
    }
}

/// Sector by sector the old or the new contents, with a length between the two.
fn mix(inode: &Inode, random: &SimRandom) -> Vec<u8> {
    let Inode { contents, durable } = inode;
    let (shorter, longer) = (contents.len().min(durable.len()), contents.len().max(durable.len()));
    let len = match random.below(3) {
        0 => contents.len(),
        1 => durable.len(),
        _ => shorter + random.below((longer - shorter) as u64 + 1) as usize,
    };
    let mut mixed = vec![0; len];
    for start in (0..len).step_by(SECTOR_BYTES) {
        let end = (start + SECTOR_BYTES).min(len);
        let (new, old) = match random.below(3) {
            0 => (end, start),
            1 => (start, end),
            _ => {
                let tear = start + random.below((end - start) as u64 + 1) as usize;
                (tear, end)
            }
        };
        // New contents up to `new`, old ones from there to `old`; where the source is shorter, zeros.
        copy(contents, &mut mixed, start, new);
        copy(durable, &mut mixed, new, old.max(new));
    }
    mixed
}

fn copy(source: &[u8], target: &mut [u8], start: usize, end: usize) {
    let end = end.min(source.len());
    if start < end {
        target[start..end].copy_from_slice(&source[start..end]);
    }
}

impl SimVfs {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `calls` more calls succeed and every later one fail.
    pub fn crash_after(&self, calls: u64) {
        let mut disk = self.disk.lock();
        disk.crash_after = Some(disk.calls + calls);
    }

    /// Calls made so far.
    pub fn call_count(&self) -> u64 {
        self.disk.lock().calls
    }

    /// The disk that the machine finds after a crash now.
    pub fn crash(&self, mode: CrashMode, seed: u64) -> Self {
        let disk = self.disk.lock().crash(mode, &SimRandom::new(seed));
        Self { disk: Arc::new(Mutex::new(disk)) }
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimVfs").field("calls", &self.call_count()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct SimFile {
    vfs: SimVfs,
    inode: u64,
}

impl VfsFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.vfs.disk.lock();
        disk.call().1?;
        let contents = disk.contents(self.inode);
        let start = (offset as usize).min(contents.len());
        let count = buffer.len().min(contents.len() - start);
        buffer[..count].copy_from_slice(&contents[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.vfs.disk.lock().write(self.inode, bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut disk = self.vfs.disk.lock();
        let offset = disk.contents(self.inode).len() as u64;
        disk.write(self.inode, bytes, offset).map(|()| offset)
    }

    fn preallocate(&self, _len: u64) -> io::Result<()> {
        self.vfs.disk.lock().call().1
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.vfs.disk.lock();
        disk.call().1?;
        disk.contents(self.inode).resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.vfs.disk.lock();
        disk.call().1?;
        let inode = disk.inodes.entry(self.inode).or_default();
        inode.durable.clone_from(&inode.contents);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.vfs.disk.lock();
        disk.call().1?;
        Ok(disk.contents(self.inode).len() as u64)
    }

    fn advise(&self, _advice: Advice) {}
}

impl LogFile for SimFile {
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.preallocate(len)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    /// As a mapped file: space is allocated ahead and reads as zeros, and a crash may find a record filled in part.
    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        let mut record = vec![0; len];
        fill(&mut record);
        let mut disk = self.vfs.disk.lock();
        disk.write(self.inode, &record, offset)?;
        let contents = disk.contents(self.inode);
        let ahead = contents.len().max((offset as usize + len).next_multiple_of(WINDOW_BYTES));
        contents.resize(ahead, 0);
        Ok(true)
    }

    fn sync_to(&self, _offset: u64) -> io::Result<()> {
        self.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        VfsFile::truncate(self, len)
    }
}

#[derive(Debug)]
struct SimLock {
    vfs: SimVfs,
    path: PathBuf,
}

impl FileLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.vfs.disk.lock().locks.remove(&self.path);
    }
}

impl SimVfs {
    fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<SimFile>> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        let inode = match mode {
            OpenMode::Read | OpenMode::ReadDirect | OpenMode::ReadWrite => disk.inode(path)?,
            OpenMode::CreateNew if disk.names.contains_key(path) => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            OpenMode::CreateNew => {
                disk.next_inode += 1;
                let inode = disk.next_inode;
                disk.inodes.insert(inode, Inode::default());
                disk.change(NameChange::Link(path.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(SimFile { vfs: self.clone(), inode }))
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.open_file(path, mode)?)
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.open_file(path, mode)?)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        let inode = disk.inode(source)?;
        disk.change(NameChange::Rename(source.to_owned(), target.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        disk.inode(path)?;
        disk.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        let inode = disk.inode(source)?;
        if disk.names.contains_key(target) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change(NameChange::Link(target.to_owned(), inode));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        disk.directories.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        if !disk.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = disk.names.keys().filter(|path| path.parent() == Some(directory));
        let entry =
            |path: &PathBuf| path.file_name().map(|name| DirEntry { name: name.to_owned(), is_dir: false });
        Ok(names.filter_map(entry).collect())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        // One directory per database: its changes are all there are.
        debug_assert!(disk.directories.contains(directory), "only a directory that exists is synced");
        disk.durable_names = disk.names.clone();
        disk.changes.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut disk = self.disk.lock();
        disk.call().1?;
        if !disk.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { vfs: self.clone(), path: path.to_owned() }))
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        self.disk.lock().call().1?;
        Ok(1 << 40)
    }
}
