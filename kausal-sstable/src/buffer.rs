//! Block buffers: where a block read from disk lies while it is looked at. Reused, so that a warm read allocates
//! nothing, and charged to a budget.

use kausal_arena::{AllocError, Budget, Reservation};

use crate::error::{Damage, TableError};
use crate::format::{BlockHandle, TRAILER_BYTES, check_block};
use crate::reader::TableFile;

/// Blocks up to this size are held without asking the budget again.
const BUFFER_BYTES_MIN: usize = 8 << 10;

/// A reusable buffer for one block.
#[derive(Debug)]
pub struct BlockBuffer {
    bytes: Vec<u8>,
    /// Bytes of the block's contents at the front of `bytes`.
    contents: usize,
    pub(crate) position: crate::block::Position,
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
        Ok(Self { bytes: Vec::new(), contents: 0, position: crate::block::Position::default(), charge })
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.position.memory_bytes()
    }

    pub(crate) fn contents(&self) -> &[u8] {
        &self.bytes[..self.contents]
    }

    /// Contents and position, to be used together.
    pub(crate) fn parts(&mut self) -> (&[u8], &mut crate::block::Position) {
        (&self.bytes[..self.contents], &mut self.position)
    }

    /// Reads and checks the block at `handle`.
    pub(crate) fn load(&mut self, table: &TableFile, handle: BlockHandle) -> Result<(), TableError> {
        self.contents = 0;
        let bytes = table.check_bounds(handle)? + TRAILER_BYTES;
        if bytes > self.bytes.capacity() {
            // A key is at most 64 KiB, and a block that holds a long one is at least as long.
            let held = (bytes + bytes.min(64 << 10)).max(BUFFER_BYTES_MIN);
            self.charge
                .resize(held.max(self.charge.bytes()))
                .map_err(|source| TableError::Memory { file: table.number, source })?;
            // Exactly: what the budget was asked for.
            self.bytes.clear();
            self.bytes.reserve_exact(bytes);
        }
        self.bytes.resize(bytes, 0);
        table.read(&mut self.bytes, handle.offset)?;
        self.contents = check_block(table.table, handle.offset, &self.bytes)
            .map_err(|what: Damage| table.corrupt(handle.offset, what))?;
        Ok(())
    }
}
