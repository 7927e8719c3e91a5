//! A block buffer out of a pool, for walks that do not come back to a block: no cache, and warm memory.

use std::fmt;

use kausal_arena::AllocError;

use crate::buffer::BlockBuffer;
use crate::error::TableError;
use crate::file::TableFile;
use crate::format::{BlockHandle, BlockKind};
use crate::lookup::BufferPool;
use crate::source::BlockSource;

/// A [`BlockBuffer`] that goes back to its [`BufferPool`] when it drops. Its siblings come from there too.
pub struct PooledBuffer<'p> {
    pool: &'p BufferPool,
    /// There until it drops.
    buffer: Option<Box<BlockBuffer>>,
}

impl BufferPool {
    /// A buffer of the pool.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if none is idle and the budget has no room for a small block.
    pub fn lend(&self) -> Result<PooledBuffer<'_>, AllocError> {
        Ok(PooledBuffer { pool: self, buffer: Some(self.take()?) })
    }
}

impl PooledBuffer<'_> {
    fn buffer_mut(&mut self) -> &mut BlockBuffer {
        self.buffer.as_mut().expect("only `drop` takes it")
    }
}

impl BlockSource for PooledBuffer<'_> {
    // Compactions read each block once, 128 KiB at a time, and their inputs are gone afterwards.
    const WANTS_MAPPED: bool = false;

    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        self.buffer_mut().fetch(file, handle, kind, ahead)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| buffer.bytes())
    }

    fn forget(&mut self) {
        self.buffer_mut().forget();
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        self.pool.lend()
    }
}

impl Drop for PooledBuffer<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give(buffer);
        }
    }
}

impl fmt::Debug for PooledBuffer<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.buffer.fmt(out)
    }
}
