//! Builds the contents of a block, entry by entry.

use kausal_index::PackedSeqNo;

use crate::format::put_varint;

/// Entries from one whole key to the next.
const RESTART_INTERVAL: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    contents: Vec<u8>,
    restarts: Vec<u32>,
    last_key: Vec<u8>,
    count: usize,
}

impl BlockBuilder {
    /// Adds an entry; the caller keeps the order and the size limit.
    pub(crate) fn add(&mut self, key: &[u8], packed: PackedSeqNo, value: &[u8]) {
        let shared = if self.count.is_multiple_of(RESTART_INTERVAL) {
            self.restarts.push(self.contents.len() as u32);
            0
        } else {
            common_prefix(&self.last_key, key)
        };
        put_varint(&mut self.contents, shared as u64);
        put_varint(&mut self.contents, (key.len() - shared) as u64);
        put_varint(&mut self.contents, value.len() as u64);
        self.contents.extend_from_slice(&packed.to_u64().to_le_bytes());
        self.contents.extend_from_slice(&key[shared..]);
        self.contents.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the contents if the block ended here.
    pub(crate) fn bytes(&self) -> usize {
        self.contents.len() + 4 * self.restarts.len() + 4
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.contents.capacity() + 4 * self.restarts.capacity() + self.last_key.capacity()
    }

    /// Ends the block and lends its contents.
    pub(crate) fn finish(&mut self) -> &[u8] {
        for restart in &self.restarts {
            self.contents.extend_from_slice(&restart.to_le_bytes());
        }
        self.contents.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        &self.contents
    }

    /// Begins the next block in the same memory.
    pub(crate) fn clear(&mut self) {
        self.contents.clear();
        self.restarts.clear();
        self.last_key.clear();
        self.count = 0;
    }
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
