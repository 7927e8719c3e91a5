//! The traits of `crate::vfs` on a simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sim::SimVfs;
use crate::sim::fault::{CallKind, Fault};
use crate::sim::vfs::{Call, Course, Machine};
use crate::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, Vfs, VfsFile};

/// Space of a log that is allocated at once when it is filled.
const WINDOW_BYTES: usize = 4096;

#[derive(Debug)]
struct SimFile {
    vfs: SimVfs,
    path: PathBuf,
    inode: u64,
}

fn broken() -> io::Error {
    io::Error::other("simulated input/output error")
}

impl SimFile {
    fn open(vfs: &SimVfs, machine: &mut Machine, path: &Path, inode: u64) -> Arc<Self> {
        *machine.opens.entry(inode).or_default() += 1;
        Arc::new(Self { vfs: vfs.clone(), path: path.to_owned(), inode })
    }

    fn call(&self, machine: &mut Machine, kind: CallKind, offset: u64) -> io::Result<Course> {
        machine.call(kind, Call { path: Some(&self.path), inode: self.inode, offset, bytes: None })
    }

    fn write(&self, machine: &mut Machine, bytes: &[u8], offset: u64) -> io::Result<()> {
        let call = Call { path: Some(&self.path), inode: self.inode, offset, bytes: Some(bytes) };
        let (part, answer) = match machine.call(CallKind::Write, call)? {
            Course::Part(answer) => (&bytes[..bytes.len() / 2], answer),
            _ => (bytes, Ok(())),
        };
        machine.disk.inode_mut(self.inode).write(part, offset as usize);
        answer
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(opens) = self.vfs.machine().opens.get_mut(&self.inode) {
            *opens -= 1;
        }
    }
}

impl VfsFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.vfs.machine();
        let course = self.call(&mut machine, CallKind::Read, offset)?;
        let is_short = matches!(course, Course::Fault(Fault::ShortRead)) && buffer.len() > 1;
        let wanted = if is_short { buffer.len() / 2 } else { buffer.len() };
        let count = machine.disk.inode(self.inode).contents.read(&mut buffer[..wanted], offset as usize);
        machine.follow_read(self.inode, offset, offset + count as u64, is_short);
        machine.answer(&buffer[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(&mut self.vfs.machine(), bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut machine = self.vfs.machine();
        let offset = machine.disk.inode(self.inode).contents.len() as u64;
        self.write(&mut machine, bytes, offset).map(|()| offset)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut machine = self.vfs.machine();
        self.call(&mut machine, CallKind::Reserve, len)?;
        let inode = machine.disk.inode_mut(self.inode);
        inode.reserved = inode.reserved.max(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut machine = self.vfs.machine();
        self.call(&mut machine, CallKind::Truncate, len)?;
        let inode = machine.disk.inode_mut(self.inode);
        inode.contents.resize(len as usize);
        inode.reserved = inode.reserved.min(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.vfs.machine();
        let course = self.call(&mut machine, CallKind::Sync, 0)?;
        let inode = machine.disk.inode_mut(self.inode);
        match course {
            Course::Fault(Fault::SyncErrorLost) => {
                inode.lose();
                Err(broken())
            }
            Course::Fault(_) => {
                inode.sync();
                Err(broken())
            }
            _ => {
                inode.sync();
                Ok(())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let mut machine = self.vfs.machine();
        self.call(&mut machine, CallKind::Len, 0)?;
        let len = machine.disk.inode(self.inode).contents.len() as u64;
        machine.answer(&len.to_le_bytes());
        Ok(len)
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
        let mut machine = self.vfs.machine();
        let call = Call { path: Some(&self.path), inode: self.inode, offset, bytes: Some(&record) };
        let filled = match machine.call(CallKind::Write, call)? {
            // There were no blocks: nothing was filled.
            Course::Part(Err(error)) => return Err(error),
            Course::Part(Ok(())) => &record[..len / 2],
            _ => &record[..],
        };
        let inode = machine.disk.inode_mut(self.inode);
        inode.write(filled, offset as usize);
        let ahead = (offset as usize + len).next_multiple_of(WINDOW_BYTES);
        inode.contents.resize(ahead.max(inode.contents.len()));
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
        self.vfs.machine().locks.remove(&self.path);
    }
}

fn about(path: &Path) -> Call<'_> {
    Call { path: Some(path), ..Call::default() }
}

impl SimVfs {
    fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<SimFile>> {
        let mut machine = self.machine();
        let is_new = mode == OpenMode::CreateNew;
        machine.call(if is_new { CallKind::Create } else { CallKind::Open }, about(path))?;
        let inode = match mode {
            OpenMode::Read | OpenMode::ReadDirect | OpenMode::ReadMapped | OpenMode::ReadWrite => {
                machine.disk.inode_of(path)
            }
            OpenMode::CreateNew if machine.disk.inode_of(path).is_ok() => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            OpenMode::CreateNew if !path.parent().is_some_and(|parent| machine.disk.is_dir(parent)) => {
                Err(io::ErrorKind::NotFound.into())
            }
            OpenMode::CreateNew => Ok(machine.disk.create(path)),
        };
        machine.answer(&inode.as_ref().map_or(0, |inode| *inode).to_le_bytes());
        Ok(SimFile::open(self, &mut machine, path, inode?))
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.open_file(path, mode)?)
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.open_file(path, mode)?)
    }

    fn keep_log(&self, path: &Path, spare: &Path, between: &dyn Fn()) -> io::Result<bool> {
        let file = self.open_file(path, OpenMode::ReadWrite)?;
        self.rename(path, spare)?;
        let written = VfsFile::len(&*file).and_then(|len| file.write_at(&vec![0; len as usize], 0));
        between();
        written.inspect_err(|_| {
            let _ = self.remove(spare);
        })?;
        Ok(true)
    }

    fn writes_over(&self, _directory: &Path) -> bool {
        true
    }

    fn open_over(&self, spare: &Path, path: &Path) -> io::Result<Option<Arc<dyn VfsFile>>> {
        let file = self.open_file(spare, OpenMode::ReadWrite)?;
        let opens = self.machine().opens.get(&file.inode).copied().unwrap_or_default();
        assert!(opens == 1, "{} is written over while somebody reads it", spare.display());
        if self.machine().disk.name_count(file.inode) > 1 {
            return Ok(None);
        }
        self.rename(spare, path)?;
        let mut machine = self.machine();
        machine.written_over += 1;
        Ok(Some(SimFile::open(self, &mut machine, path, file.inode)))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(CallKind::Rename, Call { bytes: Some(name(target)), ..about(source) })?;
        let inode = machine.disk.inode_of(source)?;
        machine.disk.rename(source, target, inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(CallKind::Remove, about(path))?;
        machine.disk.inode_of(path)?;
        machine.disk.remove(path);
        Ok(())
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(CallKind::Link, Call { bytes: Some(name(target)), ..about(source) })?;
        let inode = machine.disk.inode_of(source)?;
        if machine.disk.inode_of(target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        machine.disk.link(inode, target);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(CallKind::CreateDir, about(path))?;
        machine.disk.create_dir(path);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        let mut machine = self.machine();
        machine.call(CallKind::List, about(directory))?;
        if !machine.disk.is_dir(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = machine.disk.names();
        let within = |path: &&PathBuf| path.parent() == Some(directory);
        let entry =
            |path: &PathBuf, is_dir| path.file_name().map(|name| DirEntry { name: name.to_owned(), is_dir });
        let files = names.files.keys().filter(within).filter_map(|path| entry(path, false));
        let directories = names.directories.iter().filter(within).filter_map(|path| entry(path, true));
        let mut entries: Vec<DirEntry> = files.chain(directories).collect();
        entries.sort();
        entries.iter().for_each(|entry| machine.answer(entry.name.as_encoded_bytes()));
        Ok(entries)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        let course = machine.call(CallKind::SyncDir, about(directory))?;
        if !machine.disk.is_dir(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        machine.disk.sync_dir(directory);
        if matches!(course, Course::Fault(_)) { Err(broken()) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut machine = self.machine();
        machine.call(CallKind::Lock, about(path))?;
        if !machine.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { vfs: self.clone(), path: path.to_owned() }))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let mut machine = self.machine();
        machine.call(CallKind::FreeSpace, about(path))?;
        let bytes = machine.free_bytes();
        machine.answer(&bytes.to_le_bytes());
        Ok(bytes)
    }
}

fn name(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
