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
