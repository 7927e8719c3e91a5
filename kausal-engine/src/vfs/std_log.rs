//! A log's file on the operating system: written by calls, or through a window that moves along the file.

use std::fs::File;
use std::io;

#[cfg(target_os = "linux")]
use parking_lot::Mutex;

use super::LogFile;
#[cfg(target_os = "linux")]
use super::std_mapped::Window;
use super::std_vfs::write_all_at;

/// What is written into space that is allocated ahead.
#[cfg(target_os = "linux")]
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A log's file.
#[derive(Debug)]
pub(super) struct StdLog {
    file: File,
    #[cfg(target_os = "linux")]
    mapping: Mutex<Mapping>,
}

/// Longer files are not kept: zeros would be written for longer than a flush takes.
#[cfg(target_os = "linux")]
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Type of a file system that writes in place what was written before, whatever has happened to the file (ext2, ext3, ext4).
/// Others may need new blocks for it, which a full disk does not have when a store into a mapping wants them.
#[cfg(target_os = "linux")]
const EXT_MAGIC: i64 = 0xEF53;

/// Opens a log whose file can be used again.
#[cfg(target_os = "linux")]
pub(super) fn open_to_keep(path: &std::path::Path) -> io::Result<Option<File>> {
    let opened = open_to_write_over(path)?.filter(|&(_, len)| len <= KEPT_BYTES_MAX);
    Ok(opened.map(|(file, _)| file))
}

/// Opens a file, if what is written over it goes where it lies, and nobody counts on what is in it. Answers its length, too.
#[cfg(target_os = "linux")]
pub(super) fn open_to_write_over(path: &std::path::Path) -> io::Result<Option<(File, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let metadata = file.metadata()?;
    // Somebody gave it a second name.
    let has_one_name = metadata.nlink() == 1;
    Ok((has_one_name && is_written_in_place(&file)?).then_some((file, metadata.len())))
}

/// Whether the file system of `file` writes in place.
#[cfg(target_os = "linux")]
pub(super) fn is_written_in_place(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type as i64 == EXT_MAGIC)
}

/// Writes zeros over all of a file.
#[cfg(target_os = "linux")]
pub(super) fn write_zeros(file: &File, between: &dyn Fn()) -> io::Result<()> {
    let len = file.metadata()?.len();
    for (piece, offset) in (0..len).step_by(ZEROS.len()).enumerate() {
        let count = (len - offset).min(ZEROS.len() as u64) as usize;
        write_all_at(file, &ZEROS[..count], offset)?;
        if piece % 4 == 3 {
            between();
        }
    }
    Ok(())
}

/// Where the file is mapped.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct Mapping {
    window: Option<Window>,
    /// Length of the file up to which it has blocks and pages already.
    written: u64,
    /// The file system does not allocate, or does not map.
    is_impossible: bool,
}

impl StdLog {
    /// A log in a file that is empty, or full of zeros.
    ///
    /// # Errors
    ///
    /// As the system gives them.
    pub(super) fn new(file: File) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let mapping = Mapping { written: file.metadata()?.len(), ..Mapping::default() };
        Ok(Self {
            file,
            #[cfg(target_os = "linux")]
            mapping: Mutex::new(mapping),
        })
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
        let before = self.file.metadata()?.len();
        // A file system that cannot is no error: the store finds out.
        if !super::std_mapped::allocate(&self.file, 0, len)? {
            return Ok(());
        }
        // Blocks that were never written are marked so, and the sync of each store into them has a mark to take off, in a
        // journal that others write to. All of them are written here at once; no frame lies behind the file's end.
        let mut offset = before;
        while offset < len {
            let piece = (len - offset).min(ZEROS.len() as u64) as usize;
            write_all_at(&self.file, &ZEROS[..piece], offset)?;
            offset += piece as u64;
        }
        Ok(())
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
        mapping.window = Window::open(&self.file, offset, len, mapping.written)?;
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
        #[cfg(target_os = "linux")]
        {
            let mut mapping = self.mapping.lock();
            mapping.written = mapping.written.min(len);
        }
        self.file.set_len(len)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::fs::SeekFrom;

    use super::*;

    #[test]
    fn what_is_reserved_has_been_written_and_what_was_there_stays() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[7; 5000]).unwrap();
        let log = StdLog::new(file).unwrap();
        for len in [20_000, 300_000] {
            log.reserve(len).unwrap();
            if log.file.metadata().unwrap().len() < len {
                println!("skipped: a file system that allocates nothing");
                return;
            }
            let mut bytes = Vec::new();
            let mut reader = log.file.try_clone().unwrap();
            io::Seek::rewind(&mut reader).unwrap();
            io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            let (frames, ahead) = bytes.split_at(5000);
            assert!(frames.iter().all(|&byte| byte == 7) && ahead.iter().all(|&byte| byte == 0));
            assert_eq!(bytes.len() as u64, len);
            // Blocks that were only allocated are a hole to whoever looks for data.
            assert_eq!(rustix::fs::seek(&log.file, SeekFrom::Hole(0)).unwrap(), len);
        }
    }
}
