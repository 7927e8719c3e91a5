//! Asks the kernel to begin to write part of a file to the disk, without waiting for it.

#![expect(unsafe_code, reason = "a call of the system that takes no memory; no safe crate of ours has it")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Begins to write `len` bytes from `offset` on. A hint: what the kernel cannot do now is left to the sync, which also tells of
/// any failure of what this has begun.
pub(super) fn begin(file: &File, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    // SAFETY: takes a descriptor, which `file` keeps open meanwhile, and numbers; no memory is handed over.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    #[test]
    fn what_a_file_holds_does_not_change_wherever_its_writing_is_begun() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        for (offset, len) in [(0, 10_000), (4_096, 1), (9_000, 1 << 40), (u64::MAX, 1), (0, u64::MAX)] {
            super::begin(&file, offset, len);
        }
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == [7; 10_000]);
    }
}
