//! Which table files are open: no more than so many, however many tables there are.
//!
//! 1. A table reads through a [`TableHandle`]. It opens its file when there is something to read and it is not open.
//! 2. [`OpenFiles`] has a list of those that are open. Who opens one too many closes the first that nobody has read since the list
//!    came round to it before (a clock: Corbató 1968).
//! 3. Where the process has no descriptor left, because the host has need of them too, all are closed and it is tried again.
//!
//! A read counts the file that it reads, so closing takes nothing away from it. The file of a table can be opened for as long
//! as there is a [`TableFile`](super::TableFile) of it. Look-ups that find their block in the cache do not come here, nor those
//! that find it in a mapping, which needs no open file.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use kausal_arena::sync::{AtomicBool, Mutex, Ordering};
use kausal_sstable::{FileBytes, TableSource};

use crate::vfs::{Advice, OpenMode, Vfs, VfsFile};

/// The files of a database's tables that are open.
pub(crate) struct OpenFiles {
    max: usize,
    /// Each that is open, once; those that were opened last come last.
    ring: Mutex<VecDeque<Weak<TableHandle>>>,
}

impl OpenFiles {
    /// At most `max` at a time, and one for each reader at work beside.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, ring: Mutex::new(VecDeque::new()) })
    }

    /// Takes note that `handle` is open, and closes others.
    fn note(&self, handle: &Arc<TableHandle>) {
        let mut closed = Vec::new();
        {
            let mut ring = self.ring.lock();
            ring.push_back(Arc::downgrade(handle));
            // Twice round: the first time may find every one of them read.
            let mut looks = 2 * ring.len();
            while ring.len() > self.max.max(1) && looks > 0 {
                looks -= 1;
                let Some(oldest) = ring.pop_front() else { break };
                match oldest.upgrade() {
                    None => {}
                    // Relaxed: a hint.
                    Some(handle) if handle.was_read.swap(false, Ordering::Relaxed) => ring.push_back(oldest),
                    Some(handle) => closed.push(handle),
                }
            }
        }
        // Without the list's lock, which whoever opens takes after the handle's.
        closed.iter().for_each(|handle| handle.close());
    }

    /// Closes all. Answers whether there was any.
    fn close_all(&self) -> bool {
        let ring = std::mem::take(&mut *self.ring.lock());
        let handles = ring.iter().filter_map(Weak::upgrade);
        handles.map(|handle| handle.close()).count() > 0
    }
}

impl fmt::Debug for OpenFiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OpenFiles").field("max", &self.max).finish_non_exhaustive()
    }
}

/// The file of one table, open or not.
pub(crate) struct TableHandle {
    files: Arc<OpenFiles>,
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    mode: OpenMode,
    file: Mutex<Option<Arc<dyn VfsFile>>>,
    /// Since the list came round to it.
    was_read: AtomicBool,
    this: Weak<TableHandle>,
}

impl TableHandle {
    /// The table file at `path`. Opens nothing yet.
    pub(crate) fn new(
        files: &Arc<OpenFiles>,
        vfs: &Arc<dyn Vfs>,
        path: PathBuf,
        mode: OpenMode,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            files: Arc::clone(files),
            vfs: Arc::clone(vfs),
            path,
            mode,
            file: Mutex::new(None),
            was_read: AtomicBool::new(false),
            this: Weak::clone(this),
        })
    }

    /// The file, which stays open for as long as the caller has it.
    ///
    /// # Errors
    ///
    /// Those of opening it.
    pub(crate) fn file(&self) -> io::Result<Arc<dyn VfsFile>> {
        let mut held = self.file.lock();
        if let Some(file) = &*held {
            self.was_read.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(file));
        }
        let opened = match self.vfs.open(&self.path, self.mode) {
            Err(error) if has_no_descriptor(&error) && self.files.close_all() => {
                self.vfs.open(&self.path, self.mode)?
            }
            opened => opened?,
        };
        opened.advise(Advice::Random);
        *held = Some(Arc::clone(&opened));
        drop(held);
        if let Some(this) = self.this.upgrade() {
            self.files.note(&this);
        }
        Ok(opened)
    }

    fn close(&self) {
        drop(self.file.lock().take());
    }
}

impl TableSource for TableHandle {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file()?.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn mapping(&self) -> Option<FileBytes> {
        self.file().ok()?.mapping()
    }

    fn will_need(&self, offset: u64, bytes: u64) {
        if let Ok(file) = self.file() {
            file.will_need(offset, bytes);
        }
    }
}

/// Whether the process, or the system, has as many files open as it may.
#[cfg(unix)]
fn has_no_descriptor(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|of| error.raw_os_error() == Some(of.raw_os_error()))
}

#[cfg(not(unix))]
fn has_no_descriptor(_error: &io::Error) -> bool {
    false
}
