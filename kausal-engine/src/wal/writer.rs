//! Appends frames to a log and syncs it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::Permit;

use crate::error::Error;
use crate::ids::FileNumber;
use crate::vfs::LogFile;
use crate::wal::format::{FrameBuilder, HEADER_BYTES, Header, PreviousLog, seed};

/// Frames of buffered writes kept in memory before they go to the kernel.
const BUFFER_BYTES: usize = 64 << 10;

/// The writer of one log.
#[derive(Debug)]
pub(crate) struct WalWriter {
    file: Arc<dyn LogFile>,
    path: PathBuf,
    number: FileNumber,
    database_id: u64,
    /// End of the frames, buffered ones included.
    len: u64,
    /// Frames that are not in the file yet; they end at `len`.
    buffer: Vec<u8>,
    synced_through: u64,
    broken: bool,
}

impl WalWriter {
    /// Writes the header into a new file. Its name is not durable yet.
    pub(crate) fn create(
        file: Arc<dyn LogFile>,
        path: PathBuf,
        number: FileNumber,
        database_id: u64,
        previous: Option<PreviousLog>,
    ) -> Result<Self, Error> {
        let header = Header { number, database_id, previous };
        file.store(0, &header.to_bytes()).map_err(Error::io("write", &path))?;
        let (len, buffer) = (HEADER_BYTES, Vec::new());
        Ok(Self { file, path, number, database_id, len, buffer, synced_through: 0, broken: false })
    }

    /// The log of a database that is only read: nothing can be appended to it.
    pub(crate) fn read_only(directory: &Path) -> Self {
        Self {
            file: Arc::new(NoFile),
            path: directory.to_owned(),
            number: FileNumber(0),
            database_id: 0,
            len: 0,
            buffer: Vec::new(),
            synced_through: 0,
            broken: false,
        }
    }

    /// Appends a frame; when this returns, it survives the process. The permit is the evidence that its entries have
    /// room in the memtable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. The log ends where it ended before, or it is broken.
    pub(crate) fn append(&mut self, permit: &Permit, frame: &mut FrameBuilder) -> Result<(), Error> {
        self.flush()?;
        let bytes = self.seal(permit, frame);
        let len = bytes.len() as u64;
        let stored = self.file.store(self.len, bytes);
        self.settle(stored, self.len)?;
        self.len += len;
        Ok(())
    }

    /// Appends a frame to the buffer, which goes to the file when it is full, with the next `append`, or by `flush`.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub(crate) fn append_buffered(&mut self, permit: &Permit, frame: &mut FrameBuilder) -> Result<(), Error> {
        let bytes = self.seal(permit, frame);
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            return self.append(permit, frame);
        }
        self.len += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands buffered frames to the kernel.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); the buffered frames are kept.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let start = self.len - self.buffer.len() as u64;
        let stored = self.file.store(start, &self.buffer);
        self.settle(stored, start)?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes every frame durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. What is durable is unknown then, and the log must not be used any more.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        if let Err(error) = self.file.sync_to(self.len) {
            self.broken = true;
            return Err(Error::io("sync", &self.path)(error));
        }
        self.synced_through = self.len;
        Ok(())
    }

    /// Whether everything appended is durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced_through == self.len
    }

    /// Whether a failure left the file in a state that nobody knows.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn number(&self) -> FileNumber {
        self.number
    }

    /// End of the frames.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn seal<'f>(&self, _permit: &Permit, frame: &'f mut FrameBuilder) -> &'f [u8] {
        frame.seal(seed(self.database_id, self.number, self.len), self.len, self.synced_through)
    }

    /// After a failed store, cuts the file back to `end`, where it was good.
    fn settle(&mut self, stored: std::io::Result<()>, end: u64) -> Result<(), Error> {
        let Err(error) = stored else { return Ok(()) };
        if self.file.truncate(end).is_err() {
            self.broken = true;
        }
        Err(Error::io("write", &self.path)(error))
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
