//! Reads past the kernel's page cache (`O_DIRECT`): for those who give their memory to the block cache instead, and do not
//! want every block kept twice.
//!
//! The kernel wants offsets, lengths and addresses that are multiples of the device's block size. A read goes through
//! aligned pages on the stack, so it takes no memory and copies what it returns once. A file system that does not do
//! this says so when the file is opened; it is then read through the page cache.
//!
//! Not here: writes. Tables are written in large pieces, once, and are mostly read soon after by compactions.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A multiple of every device's block size.
const ALIGN: usize = 4096;

/// Most bytes of one read: two pages of a table and their neighbours, or a piece of a longer read.
const PIECE: usize = 8 * ALIGN;

#[repr(C, align(4096))]
struct Pages([u8; PIECE]);

/// Opens `path` for direct reads; `None` if the file system does not do them.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads up to `buffer.len()` bytes at `offset` of a file that was opened for direct reads; 0 at its end.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut pages = Pages([0; PIECE]);
    let skip = offset as usize % ALIGN;
    let wanted = (skip + buffer.len()).min(PIECE);
    let read = file.read_at(&mut pages.0[..wanted.next_multiple_of(ALIGN)], offset - skip as u64)?;
    let found = &pages.0[..read.min(wanted)];
    let found = found.get(skip..).unwrap_or_default();
    buffer[..found.len()].copy_from_slice(found);
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_file_is_read_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..100_003_u32).map(|number| (number % 251) as u8).collect();
        std::fs::write(&path, &content).expect("room for a small file");
        let Some(file) = open(&path).expect("the file is there") else {
            eprintln!("skipped: the file system of {} does no direct reads", path.display());
            return;
        };
        for (offset, len) in [(0, 10), (4095, 2), (4096, 4096), (1, 99_999), (99_999, 4), (50_000, 40_000)] {
            let mut buffer = vec![0; len];
            let mut done = 0;
            while done < len {
                let count = read_at(&file, &mut buffer[done..], (offset + done) as u64).expect("a read");
                assert!(count > 0, "within the file");
                done += count;
            }
            assert_eq!(buffer, content[offset..offset + len], "{len} bytes at {offset}");
        }
        let mut buffer = [0; 8];
        assert_eq!(read_at(&file, &mut buffer, 100_000).expect("a read across the end"), 3);
        assert_eq!(read_at(&file, &mut buffer, 100_003).expect("a read at the end"), 0);
        assert_eq!(read_at(&file, &mut buffer, 200_000).expect("a read behind the end"), 0);
    }
}
