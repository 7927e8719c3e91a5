//! A table's file, mapped for reading: its pages are the kernel's, and lent as a slice for as long as anybody wants them.
//!
//! 1. The whole file is mapped, read-only and shared with the page cache. Nothing is read by that.
//! 2. The kernel is told that no order is to be expected: a look-up brings the page that it needs from the disk, as a read of a
//!    block does. A walk says what it will need ([`VfsFile::will_need`](super::VfsFile::will_need)).
//! 3. What cannot be mapped is read.
//!
//! Invariant (cited in the SAFETY comment): a file that is opened as [`OpenMode::ReadMapped`](super::OpenMode::ReadMapped) is as long
//! as it will be and holds what it will hold. Tables are opened so, which are written whole before anything names them and never
//! written or cut after that, because a database that maps them keeps no spare tables; their removal takes the name only. Other processes that could write are kept out by the
//! database's lock.
//!
//! Who cuts a database's files from outside breaks this, as he breaks every program that maps files: who looks at what was cut off
//! gets a signal (`SIGBUS`). So does who looks at a page that the disk does not give.

#![expect(unsafe_code, reason = "a mapped file is memory that others could change; here nobody does")]

use std::fs::File;

use kausal_sstable::FileBytes;
use memmap2::{Advice, Mmap};

/// Maps all of `file`. `None` if it is empty, or the system cannot.
pub(super) fn map(file: &File) -> Option<FileBytes> {
    // SAFETY: nobody changes or cuts the file, now or as long as the mapping lives: the invariant above, which whoever opens a
    // file to be mapped promises.
    let mapped = unsafe { Mmap::map(file) };
    let mapping = mapped.ok().filter(|mapping| !mapping.is_empty())?;
    // A hint: whoever cannot take it does without.
    let _ = mapping.advise(Advice::Random);
    Some(FileBytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_shows_the_file_and_outlives_it() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("table");
        let content: Vec<u8> = (0..100_003_u32).map(|number| (number % 251) as u8).collect();
        std::fs::write(&path, &content).expect("room for a small file");
        let bytes = map(&File::open(&path).expect("it was just written")).expect("it can be mapped");
        let again = bytes.clone();
        drop(bytes);
        std::fs::remove_file(&path).expect("it is there");
        assert!(again[..] == content[..]);
    }

    #[test]
    fn an_empty_file_has_no_mapping() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert!(map(&file).is_none());
    }
}
