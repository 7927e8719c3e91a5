//! Block buffers: where a block read from disk lies while it is looked at. Reused, so that a warm read allocates
//! nothing, and charged to a budget.
//!
//! A buffer reads a window of the file: one block, or that and what a walk will want next. Raw contents are lent from
//! the window itself.

use std::ops::Range;

use kausal_arena::{AllocError, Budget, Reservation};

use crate::compression::{Decompressor, RAW};
use crate::error::TableError;
use crate::file::{StoredShape, TableFile};
use crate::format::{BlockHandle, BlockKind, TRAILER_BYTES};
use crate::source::BlockSource;

/// Blocks up to this size are held without asking the budget again.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// What a compressed block was stored in is given back at once if it is longer than this.
const STORED_BYTES_KEPT_MAX: usize = 256 << 10;
/// A buffer keeps the memory of a block of this size for the next one, also if a cache took the block.
const LARGE_BLOCK_BYTES: usize = 16 << 10;
/// A walk puts keys of data blocks together; the longest takes this.
const KEY_BYTES_MAX: usize = 64 << 10;

/// A reusable buffer for one block.
#[derive(Debug)]
pub struct BlockBuffer {
    budget: Budget,
    /// Bytes of the file from `window_start` on, as far as `window_bytes` goes; the rest is left from before.
    window: Vec<u8>,
    window_start: u64,
    window_bytes: usize,
    /// Contents that had to be decompressed.
    plain: Vec<u8>,
    /// Where the contents lie: in the window, or in `plain`.
    contents: Range<usize>,
    is_plain: bool,
    /// What a key of the block being read may take beside it.
    key_bytes_max: usize,
    code: u8,
    decompressor: Decompressor,
    charge: Reservation,
}

impl BlockBuffer {
    /// An empty buffer, charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget has no room for a small block.
    pub fn new(budget: &Budget) -> Result<Self, AllocError> {
        let charge = budget.reserve(BUFFER_BYTES_MIN)?;
        Ok(Self {
            budget: budget.clone(),
            window: Vec::new(),
            window_start: 0,
            window_bytes: 0,
            plain: Vec::new(),
            contents: 0..0,
            is_plain: false,
            key_bytes_max: KEY_BYTES_MAX,
            code: RAW,
            decompressor: Decompressor::default(),
            charge,
        })
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.window.capacity() + self.plain.capacity() + self.decompressor.memory_bytes()
    }

    /// Bytes that the budget was asked for.
    pub(crate) fn charged_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// Compression of the block fetched last.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether the block fetched last is so large that its memory is not kept for the next one.
    pub(crate) fn is_large(&self) -> bool {
        self.contents.len() > LARGE_BLOCK_BYTES
    }

    /// Gives the memory of a large block back: its contents lie in a cache now. What a walk puts keys together in stays charged.
    pub(crate) fn give_back_large(&mut self) {
        if !self.is_large() {
            return;
        }
        let bytes = self.contents.len();
        (self.window, self.plain, self.window_bytes) = (Vec::new(), Vec::new(), 0);
        (self.contents, self.is_plain) = (0..0, false);
        let held = bytes.min(KEY_BYTES_MAX) + self.decompressor.memory_bytes();
        // Never more than before, so it cannot fail; if it did, too much would stay charged.
        let _ = self.charge.resize(held.max(BUFFER_BYTES_MIN).min(self.charge.bytes()));
    }

    /// Charges for a window and decompressed contents of these sizes, and a key put together.
    fn charge(&mut self, window: usize, plain: usize, context: usize) -> Result<(), AllocError> {
        let key = window.max(plain).min(self.key_bytes_max);
        let held = window + plain + key + self.decompressor.memory_bytes() + context;
        if held > self.charge.bytes() { self.charge.resize(held) } else { Ok(()) }
    }

    /// Makes room for a window of `bytes`, whose former contents are lost.
    fn make_room(&mut self, bytes: usize) -> Result<(), AllocError> {
        self.window_bytes = 0;
        if bytes > self.window.capacity() {
            self.charge(bytes, self.plain.capacity(), 0)?;
            // Exactly: what the budget was asked for.
            self.window = Vec::new();
            self.window.reserve_exact(bytes);
        }
        if bytes > self.window.len() {
            self.window.resize(bytes, 0);
        }
        Ok(())
    }

    /// Reads `bytes` at `offset`, and up to `ahead` behind them if the budget has room.
    fn read(&mut self, file: &TableFile, offset: u64, bytes: usize, ahead: u64) -> Result<(), TableError> {
        let left = file.len.saturating_sub(offset.saturating_add(bytes as u64));
        let wanted = bytes + left.min(ahead) as usize;
        let read = match self.make_room(wanted) {
            Ok(()) => wanted,
            Err(_) if wanted > bytes => {
                self.make_room(bytes).map_err(|source| file.no_memory(source))?;
                bytes
            }
            Err(source) => return Err(file.no_memory(source)),
        };
        file.read(&mut self.window[..read], offset)?;
        self.window_start = offset;
        self.window_bytes = read;
        Ok(())
    }

    fn decompress(
        &mut self,
        file: &TableFile,
        place: Range<usize>,
        block: StoredShape,
    ) -> Result<(), TableError> {
        let bytes = block.contents_bytes;
        let context = self.decompressor.bytes_to_come(block.code);
        if bytes > self.plain.capacity() || context > 0 {
            let plain = bytes.max(self.plain.capacity());
            self.charge(self.window.capacity(), plain, context).map_err(|source| file.no_memory(source))?;
        }
        if bytes > self.plain.capacity() {
            self.plain = Vec::new();
            self.plain.reserve_exact(bytes);
        }
        if bytes > self.plain.len() {
            self.plain.resize(bytes, 0);
        }
        let block = block.of(&self.window[place]);
        file.decompress(block, &mut self.decompressor, &mut self.plain[..bytes])?;
        (self.contents, self.is_plain) = (0..bytes, true);
        if self.window.capacity() > STORED_BYTES_KEPT_MAX {
            (self.window, self.window_bytes) = (Vec::new(), 0);
        }
        Ok(())
    }
}

impl BlockSource for BlockBuffer {
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        (self.contents, self.is_plain) = (0..0, false);
        self.key_bytes_max = if kind == BlockKind::Data { KEY_BYTES_MAX } else { 0 };
        let bytes = file.stored_bytes(handle)?;
        let inside = handle.offset.checked_sub(self.window_start).map(|start| start as usize);
        let held = inside.filter(|&start| ahead > 0 && start.saturating_add(bytes) <= self.window_bytes);
        let start = match held {
            Some(start) => start,
            None => {
                self.read(file, handle.offset, bytes, ahead)?;
                0
            }
        };
        let block = file.check(handle, kind, &self.window[start..start + bytes])?;
        self.code = block.shape().code;
        if block.raw().is_some() {
            self.contents = start..start + bytes - TRAILER_BYTES;
            return Ok(());
        }
        let shape = block.shape();
        self.decompress(file, start..start + bytes - TRAILER_BYTES, shape)
    }

    fn bytes(&self) -> &[u8] {
        if self.is_plain { &self.plain[self.contents.clone()] } else { &self.window[self.contents.clone()] }
    }

    fn forget(&mut self) {
        (self.contents, self.is_plain, self.window_bytes) = (0..0, false, 0);
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Self::new(&self.budget)
    }
}
