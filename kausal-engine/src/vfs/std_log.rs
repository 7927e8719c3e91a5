//! A log's file on the operating system: written by calls, or through a window that moves along the file.

use std::fs::File;
use std::io;

#[cfg(target_os = "linux")]
use parking_lot::Mutex;

use super::LogFile;
#[cfg(target_os = "linux")]
use super::std_mapped::Window;
use super::std_vfs::write_all_at;

/// A log's file.
#[derive(Debug)]
pub(super) struct StdLog {
    file: File,
    #[cfg(target_os = "linux")]
    mapping: Mutex<Mapping>,
}

/// Where the file is mapped.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct Mapping {
    window: Option<Window>,
    /// The file system does not allocate, or does not map.
    is_impossible: bool,
}

impl StdLog {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            #[cfg(target_os = "linux")]
            mapping: Mutex::default(),
        }
    }

    /// Ends the mapping: the file's length may change.
    fn unmap(&self) {
        #[cfg(target_os = "linux")]
        drop(self.mapping.lock().window.take());
    }
}

impl LogFile for StdLog {
    #[cfg(target_os = "linux")]
    fn reserve(&self, len: u64) -> io::Result<()> {
        // A file system that cannot is no error: the store finds out.
        super::std_mapped::allocate(&self.file, 0, len).map(|_| ())
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, bytes, offset)
    }

    #[cfg(target_os = "linux")]
    fn fill(&self, offset: u64, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<bool> {
        let mut mapping = self.mapping.lock();
        if mapping.is_impossible {
            return Ok(false);
        }
        if let Some(place) = mapping.window.as_mut().and_then(|window| window.slice(offset, len)) {
            fill(place);
            return Ok(true);
        }
        // One window at a time, so that what the process holds of the log stays small.
        mapping.window = None;
        mapping.window = Window::open(&self.file, offset, len)?;
        match mapping.window.as_mut().and_then(|window| window.slice(offset, len)) {
            Some(place) => fill(place),
            None => mapping.is_impossible = true,
        }
        Ok(!mapping.is_impossible)
    }

    fn sync_to(&self, _offset: u64) -> io::Result<()> {
        // `fdatasync` covers stores through a mapping as well as writes, and reports a failed write-back once.
        self.file.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.unmap();
        self.file.set_len(len)
    }
}
