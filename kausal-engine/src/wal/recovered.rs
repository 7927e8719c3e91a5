//! A log that was recovered and counts on, because the memtable it was replayed into is not in tables yet.
//!
//! 1. The manifest that an open begins names each of them: how long it was found to be, and up to which sequence number
//!    tables hold it already. Nothing is appended to it, and what lies behind its end is never looked at again.
//! 2. It is forgotten by the edit that the flush of its memtable makes, and removed then.
//! 3. Before anything later may be called durable, it has to be ([`RecoveredLog::confirm`]). To sync it would not do: a sync
//!    of the process before may have failed, which the kernel tells once, and then takes pages for clean that never reached
//!    the disk (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). So what is not known to have been
//!    synced is read, checked and written to its place again, and synced then.
//!
//! Not here: replay, and who asks for durability.

use std::io;
use std::path::Path;

use kausal_index::SeqNo;
use xxhash_rust::xxh3::Xxh3;

use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::planted::is_planted;
use crate::vfs::{OpenMode, Vfs, VfsFile};
use crate::wal::format::{FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Header, seed};
use crate::wal::reader::WINDOW_BYTES;

/// What is known of a recovered log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveredLog {
    pub(crate) number: FileNumber,
    /// Where it ends.
    pub(crate) len: u64,
    /// Every byte of it below this one is known to have been synced.
    pub(crate) synced: u64,
    /// Tables hold its changes up to this one.
    pub(crate) flushed: SeqNo,
}

impl RecoveredLog {
    /// Whether all of it is known to be durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced >= self.len
    }

    /// Makes all of it durable. Takes a buffer of [`WINDOW_BYTES`], which the caller has paid for.
    ///
    /// # Errors
    ///
    /// As the system gives them, and whether it may be tried again: not if a sync has failed, or the log is damaged.
    pub(crate) fn confirm(
        &self,
        vfs: &dyn Vfs,
        directory: &Path,
        database_id: u64,
    ) -> Result<(), (io::Error, bool)> {
        let path = file_path(directory, FileKind::Log(self.number));
        let final_ = |error| (error, false);
        let file = vfs.open(&path, OpenMode::ReadWrite).map_err(final_)?;
        if !is_planted("recovered_log_is_only_synced") {
            self.write_again(&*file, database_id)?;
        }
        file.sync().map_err(final_)
    }

    fn write_again(&self, file: &dyn VfsFile, database_id: u64) -> Result<(), (io::Error, bool)> {
        let damaged = || {
            let what = format!("log {} is not as it was when it was recovered", self.number);
            (io::Error::new(io::ErrorKind::InvalidData, what), false)
        };
        let mut offset = self.synced;
        if offset < HEADER_BYTES {
            let mut bytes = [0; HEADER_BYTES as usize];
            file.read_exact_at(&mut bytes, 0).map_err(|error| (error, false))?;
            let header = Header::from_bytes(&bytes).map_err(|_| damaged())?;
            if header.number != self.number || header.database_id != database_id {
                return Err(damaged());
            }
            file.write_at(&bytes, 0).map_err(|error| (error, true))?;
            offset = HEADER_BYTES;
        }
        let mut frames = FrameCheck::new(database_id, self.number, offset);
        let mut buffer = vec![0; (self.len.saturating_sub(offset)).min(WINDOW_BYTES as u64) as usize];
        while offset < self.len {
            let count = (self.len - offset).min(buffer.len() as u64) as usize;
            let bytes = &mut buffer[..count];
            file.read_exact_at(bytes, offset).map_err(|error| (error, false))?;
            if !frames.take(bytes) {
                return Err(damaged());
            }
            file.write_at(bytes, offset).map_err(|error| (error, true))?;
            offset += count as u64;
        }
        if frames.is_between() { Ok(()) } else { Err(damaged()) }
    }
}

/// Checks frames whose bytes come piece by piece.
struct FrameCheck {
    database_id: u64,
    number: FileNumber,
    /// Where the frame begins that is looked at.
    start: u64,
    /// Its first bytes, as many as have come.
    fixed: [u8; FRAME_HEADER_BYTES],
    fixed_count: usize,
    /// Its checksum so far, and how many bytes are to come.
    hasher: Xxh3,
    rest: u64,
}

impl FrameCheck {
    fn new(database_id: u64, number: FileNumber, start: u64) -> Self {
        let (fixed, hasher) = ([0; FRAME_HEADER_BYTES], Xxh3::new());
        Self { database_id, number, start, fixed, fixed_count: 0, hasher, rest: 0 }
    }

    /// Answers whether what has come so far is good.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let missing = FRAME_HEADER_BYTES - self.fixed_count;
            if missing > 0 {
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.fixed[self.fixed_count..][..head.len()].copy_from_slice(head);
                self.fixed_count += head.len();
                bytes = rest;
                if head.len() < missing {
                    return true;
                }
                if !self.begin() {
                    return false;
                }
            }
            let (body, rest) = bytes.split_at(self.rest.min(bytes.len() as u64) as usize);
            self.hasher.update(body);
            self.rest -= body.len() as u64;
            bytes = rest;
            if self.rest == 0 && !self.end() {
                return false;
            }
        }
        true
    }

    fn begin(&mut self) -> bool {
        let header = FrameHeader::from_bytes(&self.fixed);
        self.hasher = Xxh3::with_seed(seed(self.database_id, self.number, self.start));
        self.hasher.update(&self.fixed[8..]);
        self.rest = header.frame_bytes() - FRAME_HEADER_BYTES as u64;
        header.offset == self.start && header.reserved == [0; 3]
    }

    fn end(&mut self) -> bool {
        let header = FrameHeader::from_bytes(&self.fixed);
        self.start += header.frame_bytes();
        self.fixed_count = 0;
        self.hasher.digest() == header.checksum
    }

    /// Whether the last frame has ended.
    fn is_between(&self) -> bool {
        self.fixed_count == 0
    }
}
