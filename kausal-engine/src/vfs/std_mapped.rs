//! A window onto a log's file: stores into it are stores into the page cache, so they survive the process without a call.
//!
//! 1. Blocks for the whole window are allocated first (`fallocate`, which also extends the file), or have been written before: a
//!    full disk is an error here, never a signal at a store. A file system that cannot do that is not mapped.
//! 2. The window is mapped shared and writable, and lent as a slice to one writer at a time.
//! 3. Stores and `write` see one page cache, so a file may be written in both ways.
//!
//! Invariants (cited in the SAFETY comment):
//! 1. While a window lives, its file is at least as long as the window reaches. Only the log's owner changes the file's
//!    length, and it drops the window first; other processes are kept out by the database's lock.
//! 2. The file is reached through one [`Window`] at a time, and the database reads no log while it writes it.
//!
//! Who cuts a database's files from outside, or fills them through a mapping of his own, breaks these, as he breaks every
//! program that maps files: the process gets a signal (`SIGBUS`) or writes where nothing is read from.
//!
//! Not here: when to map and when to write. The log decides.

#![expect(
    unsafe_code,
    reason = "a mapped file is memory that others could change; here the lock keeps them out"
)]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Offsets of windows are multiples of this: the largest page size of the supported machines.
const ALIGN: u64 = 64 << 10;

/// Bytes of a window, unless one record needs more. Small, because touched pages of a mapping count as memory of the
/// process until the window moves on; large enough that moving on costs little per record.
pub(super) const WINDOW_BYTES: u64 = 256 << 10;

/// A mapped part of a file.
#[derive(Debug)]
pub(super) struct Window {
    start: u64,
    memory: MmapMut,
}

impl Window {
    /// Allocates and maps the part of `file` that begins at or a little before `offset` and has room for `len` bytes from
    /// there. `None` if the file system cannot allocate or map. What lies below `written` has blocks already, and mostly pages.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] and its like: there are no blocks for the window.
    pub(super) fn open(file: &File, offset: u64, len: usize, written: u64) -> io::Result<Option<Self>> {
        let start = offset / ALIGN * ALIGN;
        let bytes = (offset - start + len as u64).max(WINDOW_BYTES).next_multiple_of(ALIGN);
        let is_written = start + bytes <= written;
        if !is_written && !allocate(file, start, bytes)? {
            return Ok(None);
        }
        let mut options = MmapOptions::new();
        options.offset(start).len(bytes as usize);
        // SAFETY: the file is longer than the window until the window is dropped (invariant 1), and nobody else reads or
        // writes the window's bytes through memory (invariant 2).
        let mapped = unsafe { options.map_mut(file) };
        // A file that cannot be mapped is written.
        let Ok(memory) = mapped else { return Ok(None) };
        if is_written {
            // One call in the place of a fault for each page. Whatever it cannot do is done by the faults.
            let _ = memory.advise(memmap2::Advice::PopulateWrite);
        }
        Ok(Some(Self { start, memory }))
    }

    /// The `len` bytes of the file at `offset`, if the window has them all.
    pub(super) fn slice(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.memory.get_mut(from..from.checked_add(len)?)
    }
}

/// Allocates blocks and makes the file as long as they reach. `false` if the file system does not do that.
pub(super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    loop {
        return match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}
