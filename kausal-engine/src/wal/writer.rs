//! The writing end of one log: where the next frame goes, and how far the file is durable.
//!
//! Frames reach the file in one of two ways. Where the file is mapped, a frame is written straight to its place
//! ([`fill`](WalWriter::fill)). Otherwise frames are gathered in memory ([`frame_into`](WalWriter::frame_into)) and stored
//! many at a time by whoever holds the turn on the file.
//!
//! Not here: who may write when. The commit queue decides that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::Permit;
use kausal_index::SeqNo;

use crate::changes::Changes;
use crate::error::{Error, is_disk_full};
use crate::ids::FileNumber;
use crate::planted::is_planted;
use crate::vfs::LogFile;
use crate::wal::format::{HEADER_BYTES, Header, PreviousLog};
use crate::wal::frame::{FrameBytes, FramePlace, write_frame};

/// Disk space that is asked for ahead of synced frames, at most and at least. As much again as the log has, in between.
const RESERVE_BYTES_MAX: u64 = 256 << 10;
const RESERVE_BYTES_MIN: u64 = 16 << 10;

/// The writer of one log.
#[derive(Debug)]
pub(crate) struct WalWriter {
    file: Arc<dyn LogFile>,
    path: PathBuf,
    number: FileNumber,
    database_id: u64,
    /// End of the frames, gathered ones included.
    len: u64,
    synced_through: u64,
    /// Whether frames can be written straight to their place; `None` until it was tried.
    is_mapped: Option<bool>,
}

impl WalWriter {
    /// Writes the header into a new file. Its name is not durable yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. The file is of no use then.
    pub(crate) fn create(
        file: Arc<dyn LogFile>,
        path: PathBuf,
        number: FileNumber,
        database_id: u64,
        previous: Option<PreviousLog>,
    ) -> Result<Self, Error> {
        let header = Header { number, database_id, previous };
        file.store(0, &header.to_bytes()).map_err(Error::io("write", &path))?;
        Ok(Self { file, path, number, database_id, len: HEADER_BYTES, synced_through: 0, is_mapped: None })
    }

    /// The log of a database that is only read: nothing can be appended to it.
    pub(crate) fn read_only(directory: &Path) -> Self {
        Self {
            file: Arc::new(NoFile),
            path: directory.to_owned(),
            number: FileNumber(0),
            database_id: 0,
            len: 0,
            synced_through: 0,
            is_mapped: Some(false),
        }
    }

    /// Writes the frame of `changes` to its place in the mapped file; when this returns, it survives the process. Answers
    /// `false` if the file is not mapped. The permit is the evidence that the entries have room in the memtable.
    ///
    /// # Errors
    ///
    /// As the system gives them. The log ends where it ended before.
    pub(crate) fn fill(
        &mut self,
        _permit: &Permit,
        bytes: FrameBytes,
        first: SeqNo,
        changes: &impl Changes,
    ) -> io::Result<bool> {
        if self.is_mapped == Some(false) {
            return Ok(false);
        }
        let place = self.place();
        let mut write = |target: &mut [u8]| write_frame(target, bytes, place, first, changes);
        let mut filled = self.file.fill(self.len, bytes.total(), &mut write);
        if is_planted("ignore_enospc") && filled.as_ref().is_err_and(is_disk_full) {
            filled = Ok(true);
        }
        let filled = filled?;
        self.is_mapped = Some(filled);
        if filled {
            self.len += bytes.total() as u64;
        }
        Ok(filled)
    }

    /// Puts the frame of `changes` behind those that are gathered in `frames`, which has the room already.
    pub(crate) fn frame_into(
        &mut self,
        frames: &mut Vec<u8>,
        _permit: &Permit,
        bytes: FrameBytes,
        first: SeqNo,
        changes: &impl Changes,
    ) {
        let begin = frames.len();
        frames.resize(begin + bytes.total(), 0);
        write_frame(&mut frames[begin..], bytes, self.place(), first, changes);
        self.len += bytes.total() as u64;
    }

    fn place(&self) -> FramePlace {
        let Self { database_id, number, len: offset, synced_through, .. } = *self;
        FramePlace { database_id, number, offset, synced_through }
    }

    /// Takes back frames that were gathered and did not reach the file: it ends at `len` again.
    pub(crate) fn retreat(&mut self, len: u64) {
        self.len = len;
    }

    /// Makes everything that is in the file durable. Only for a log whose frames are all in the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. What is durable is unknown then, and the log must not be used any more.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_to(self.len).map_err(Error::io("sync", &self.path))?;
        self.synced_through = self.len;
        Ok(())
    }

    /// Takes note that somebody has made every byte below `offset` durable.
    pub(crate) fn note_synced(&mut self, offset: u64) {
        self.synced_through = self.synced_through.max(offset);
    }

    /// Cuts off what was allocated behind the frames. All of them are in the file.
    pub(crate) fn cut_tail(&mut self) {
        // Whoever recovers the log knows zeros behind its end for what they are.
        let _ = self.file.truncate(self.len);
    }

    /// Whether everything appended is durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced_through == self.len
    }

    pub(crate) fn number(&self) -> FileNumber {
        self.number
    }

    /// End of the frames.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for whoever has the turn on it.
    pub(crate) fn file(&self) -> &Arc<dyn LogFile> {
        &self.file
    }
}

/// What a database that is only read has in the place of a log's file.
#[derive(Debug)]
struct NoFile;

impl LogFile for NoFile {
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn store(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_to(&self, _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Stores gathered frames, which begin at `offset`. What is not synced at once goes through a mapping, if there is one; what is
/// goes by a call, which then finds blocks and length there already, so that the sync has no metadata to write.
///
/// # Errors
///
/// As the system gives them. Whether the file was brought back to where it ended before is the second value.
pub(crate) fn store_frames(
    file: &dyn LogFile,
    offset: u64,
    frames: &[u8],
    reserved: Option<&mut u64>,
) -> Result<(), (io::Error, bool)> {
    let stored = match reserved {
        Some(reserved) => {
            reserve(file, offset + frames.len() as u64, reserved).and_then(|()| file.store(offset, frames))
        }
        None => file
            .fill(offset, frames.len(), &mut |place| place.copy_from_slice(frames))
            .and_then(|is_mapped| if is_mapped { Ok(()) } else { file.store(offset, frames) }),
    };
    if is_planted("ignore_enospc") && stored.as_ref().is_err_and(is_disk_full) {
        return Ok(());
    }
    stored.map_err(|error| {
        let is_cut = file.truncate(offset).is_ok();
        (error, is_cut)
    })
}

fn reserve(file: &dyn LogFile, end: u64, reserved: &mut u64) -> io::Result<()> {
    if end > *reserved {
        let ahead = end.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let target = (end + ahead).next_multiple_of(RESERVE_BYTES_MIN);
        file.reserve(target)?;
        *reserved = target;
    }
    Ok(())
}
