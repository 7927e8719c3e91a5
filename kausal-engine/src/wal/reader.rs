//! Recovers one log: its frames in order, then the verdict about its end.
//!
//! The file is read a window at a time, and a frame is looked at where it lies in the window: a call for a frame, or two, would
//! cost more than its checksum and its inserts. A frame longer than the window makes it as long as itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::Reservation;
use twox_hash::XxHash3_64;

use crate::error::{Damage, Error};
use crate::ids::FileNumber;
use crate::vfs::VfsFile;
use crate::wal::format::{
    BadBatch, BadHeader, Batch, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Header,
    KIND_BATCH, PreviousLog, seed,
};

/// Bytes that are read at once.
pub(crate) const WINDOW_BYTES: usize = 64 << 10;

/// What most of a file holds behind its frames: told apart many bytes at a time.
static ZEROS: [u8; WINDOW_BYTES] = [0; WINDOW_BYTES];

/// A log being read.
#[derive(Debug)]
pub(crate) struct LogScan {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    number: FileNumber,
    database_id: u64,
    file_bytes: u64,
    /// Bytes known from elsewhere to have been synced.
    trusted: u64,
    /// Largest `synced_through` of the frames seen.
    synced_through: u64,
    previous: Option<PreviousLog>,
    /// Whether damage is where the log ends, and no error.
    salvages: bool,
    /// Where damage was passed over.
    damaged: Option<u64>,
    offset: u64,
    /// Bytes of the file, from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
    charge: Reservation,
}

/// What is known of a log before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    /// Bytes that must be good.
    pub(crate) trusted: u64,
    /// Where it ends, if it was recovered before.
    pub(crate) limit: Option<u64>,
}

/// What the next step of a scan found.
#[derive(Debug)]
pub(crate) enum Scanned<'a> {
    /// A batch.
    Batch(Batch<'a>),
    /// The end of what counts, and how many bytes behind it were dropped.
    End { end: u64, dropped: u64 },
}

impl LogScan {
    /// Opens a log of which `trusted` bytes are known to have been synced, and bytes behind `limit`, if it is known, do not
    /// count. With `salvages` damage to them is where the log ends.
    /// `charge` pays for the window, and has [`WINDOW_BYTES`].
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`] if trusted bytes are damaged, [`Error::NewerFormat`], [`Error::Io`].
    pub(crate) fn open(
        file: Arc<dyn VfsFile>,
        path: &Path,
        number: FileNumber,
        database_id: u64,
        Extent { trusted, limit }: Extent,
        salvages: bool,
        charge: Reservation,
    ) -> Result<Self, Error> {
        let file_bytes = file.len().map_err(Error::io("read the length of", path))?;
        let file_bytes = limit.map_or(file_bytes, |limit| file_bytes.min(limit));
        let mut scan = Self {
            file,
            path: path.to_owned(),
            number,
            database_id,
            file_bytes,
            trusted,
            synced_through: 0,
            previous: None,
            salvages,
            damaged: None,
            offset: HEADER_BYTES,
            window: Vec::new(),
            window_start: 0,
            charge,
        };
        if file_bytes < trusted {
            let what = Damage::FileLength { expected: trusted, actual: file_bytes };
            scan.refuse(file_bytes, what)?;
        }
        match scan.read_header()? {
            Some(header) => scan.previous = header.previous,
            None => {
                // The header was never durable, so no frame was: unless a valid frame says otherwise.
                if trusted > 0 || scan.later_frame_claims(0)? {
                    scan.refuse(0, Damage::LogHeader)?;
                }
                scan.offset = 0;
                scan.file_bytes = 0;
            }
        }
        Ok(scan)
    }

    /// An error, unless damage is to be passed over.
    fn refuse(&mut self, offset: u64, what: Damage) -> Result<(), Error> {
        if !self.salvages {
            return Err(Error::corruption(&self.path, offset, what));
        }
        self.damaged.get_or_insert(offset);
        Ok(())
    }

    /// Where damage was passed over, if it was.
    pub(crate) fn damaged(&self) -> Option<u64> {
        self.damaged
    }

    /// How the log before this one ended, as this one's header has it.
    pub(crate) fn previous(&self) -> Option<PreviousLog> {
        self.previous
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on from `offset`, where a frame begins that was read before.
    pub(crate) fn go_back(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Largest synced length that a frame of this log claims.
    pub(crate) fn synced_through(&self) -> u64 {
        self.synced_through
    }

    /// The next batch, or the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`] if bytes that were synced are damaged, [`Error::Io`], [`Error::ChangeTooLarge`].
    pub(crate) fn next(&mut self) -> Result<Scanned<'_>, Error> {
        let offset = self.offset;
        let Some(header) = self.read_frame(offset)? else { return self.end_at(offset) };
        self.offset = offset + header.frame_bytes();
        self.synced_through = self.synced_through.max(header.synced_through);
        let start = (offset - self.window_start) as usize + FRAME_HEADER_BYTES;
        let payload = &self.window[start..][..header.payload_bytes as usize];
        if header.kind != KIND_BATCH {
            let what = format!("record kind {}", header.kind);
            return Err(Error::NewerFormat { file: self.path.clone(), what });
        }
        // The checksum was right, so this is no accident of the disk.
        match Batch::from_payload(payload) {
            Ok(batch) => Ok(Scanned::Batch(batch)),
            Err(BadBatch::Malformed) => Err(Error::corruption(&self.path, offset, Damage::Payload)),
            Err(BadBatch::UnknownChange(kind)) => {
                let what = format!("change of kind {kind}");
                Err(Error::NewerFormat { file: self.path.clone(), what })
            }
        }
    }

    /// The verdict when there is no good frame at `offset`.
    fn end_at(&mut self, offset: u64) -> Result<Scanned<'static>, Error> {
        if offset < self.trusted.max(self.synced_through) || self.later_frame_claims(offset)? {
            self.refuse(offset, Damage::Record)?;
        }
        let dropped = self.written_behind(offset)?;
        self.offset = self.file_bytes.max(offset);
        self.file_bytes = offset;
        Ok(Scanned::End { end: offset, dropped })
    }

    fn read_header(&self) -> Result<Option<Header>, Error> {
        let mut bytes = [0; HEADER_BYTES as usize];
        if self.file_bytes < HEADER_BYTES {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &self.path))?;
        match Header::from_bytes(&bytes) {
            Ok(header) if header.number == self.number && header.database_id == self.database_id => {
                Ok(Some(header))
            }
            // Sound, but another's: it lay where this log is now, and this header never reached the disk.
            Ok(_) => Ok(None),
            Err(BadHeader::Newer(version)) => {
                let what = format!("log format version {version}");
                Err(Error::NewerFormat { file: self.path.clone(), what })
            }
            Err(BadHeader::Damaged) => Ok(None),
        }
    }

    /// The `len` bytes at `offset`, which the file has; they stay in the window.
    fn read_window(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let is_there = |start: usize| start.checked_add(len).is_some_and(|end| end <= self.window.len());
        let start = offset.checked_sub(self.window_start).and_then(|start| usize::try_from(start).ok());
        if let Some(start) = start.filter(|&start| is_there(start)) {
            return Ok(&self.window[start..][..len]);
        }
        let bytes = (self.file_bytes - offset).min(len.max(WINDOW_BYTES) as u64) as usize;
        // What the window holds until the read has succeeded is nothing.
        self.window.clear();
        if bytes > self.window.capacity() {
            let charged = self.charge.resize(bytes.max(self.charge.bytes()));
            charged.map_err(Error::batch_too_large(bytes))?;
            self.window = Vec::new();
            self.window.reserve_exact(bytes);
        }
        self.window.resize(bytes, 0);
        self.window_start = offset;
        if let Err(error) = self.file.read_exact_at(&mut self.window, offset) {
            self.window.clear();
            return Err(Error::io("read", &self.path)(error));
        }
        Ok(&self.window[..len])
    }

    /// Looks at the frame at `offset`, if there is a good one. It is in the window then.
    fn read_frame(&mut self, offset: u64) -> Result<Option<FrameHeader>, Error> {
        if self.file_bytes.saturating_sub(offset) < FRAME_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let fixed = self.read_window(offset, FRAME_HEADER_BYTES)?;
        let header = FrameHeader::from_bytes(fixed.first_chunk().expect("as many as were asked for"));
        let fits = header.frame_bytes() <= self.file_bytes - offset;
        // Frames name their own offset: most of what is no frame is told apart before it is read whole.
        if header.offset != offset || !fits || header.reserved != [0; 3] {
            return Ok(None);
        }
        let seed = seed(self.database_id, self.number, offset);
        let frame = self.read_window(offset, header.frame_bytes() as usize)?;
        let expected = XxHash3_64::oneshot_with_seed(seed, &frame[8..]);
        Ok((expected == header.checksum).then_some(header))
    }

    /// Bytes behind `offset` up to the last that is not zero: space that was allocated ahead and not written is none.
    fn written_behind(&mut self, offset: u64) -> Result<u64, Error> {
        let (mut start, mut written) = (offset, 0);
        while start < self.file_bytes {
            let len = (self.file_bytes - start).min(WINDOW_BYTES as u64) as usize;
            let bytes = self.read_window(start, len)?;
            if *bytes != ZEROS[..len]
                && let Some(place) = bytes.iter().rposition(|&byte| byte != 0)
            {
                written = start + place as u64 + 1 - offset;
            }
            start += len as u64;
        }
        Ok(written)
    }

    /// Whether some valid frame behind `offset` says that the log was synced beyond `offset`.
    fn later_frame_claims(&mut self, offset: u64) -> Result<bool, Error> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut start = offset.next_multiple_of(FRAME_ALIGN) + FRAME_ALIGN;
        while start + (FRAME_HEADER_BYTES as u64) <= self.file_bytes {
            let len = (self.file_bytes - start).min(window.len() as u64) as usize;
            self.file.read_exact_at(&mut window[..len], start).map_err(Error::io("read", &self.path))?;
            // No frame begins in zeros: on to where the next window is to begin.
            let behind = (len - FRAME_HEADER_BYTES) / FRAME_ALIGN as usize * FRAME_ALIGN as usize
                + FRAME_ALIGN as usize;
            let mut place = if window[..len] == ZEROS[..len] { behind } else { 0 };
            while place + FRAME_HEADER_BYTES <= len {
                let at = start + place as u64;
                // A frame's second word is its own offset.
                let named = window[place + 8..place + 16] == at.to_le_bytes();
                if named
                    && let Some(header) = self.read_frame(at)?
                    && header.synced_through > offset
                {
                    return Ok(true);
                }
                place += FRAME_ALIGN as usize;
            }
            start += place as u64;
        }
        Ok(false)
    }
}
