//! The bytes of a simulated file, in pieces that copies of the disk share.
//!
//! A disk is copied at every call that changes it, so that each of them can be crashed at later: a copy shares every
//! piece, and a write replaces the pieces that it touches.

use std::sync::Arc;

const CHUNK_BYTES: usize = 4096;

/// The unit in which a disk keeps or loses what was not synced.
pub(super) const SECTOR_BYTES: usize = 512;

type Chunk = [u8; CHUNK_BYTES];

/// A file's bytes. Behind its length every byte of the last piece is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies what lies at `offset` and answers how many bytes that were.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let count = buffer.len().min(self.len.saturating_sub(offset));
        let mut done = 0;
        while done < count {
            let (chunk, start) = ((offset + done) / CHUNK_BYTES, (offset + done) % CHUNK_BYTES);
            let step = (CHUNK_BYTES - start).min(count - done);
            buffer[done..done + step].copy_from_slice(&self.chunks[chunk][start..start + step]);
            done += step;
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        self.extend_to(offset + bytes.len());
        let mut done = 0;
        while done < bytes.len() {
            let (chunk, start) = ((offset + done) / CHUNK_BYTES, (offset + done) % CHUNK_BYTES);
            let step = (CHUNK_BYTES - start).min(bytes.len() - done);
            Arc::make_mut(&mut self.chunks[chunk])[start..start + step]
                .copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
    }

    /// Cuts, or extends with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len >= self.len {
            return self.extend_to(len);
        }
        self.chunks.truncate(len.div_ceil(CHUNK_BYTES));
        if !len.is_multiple_of(CHUNK_BYTES)
            && let Some(last) = self.chunks.last_mut()
        {
            Arc::make_mut(last)[len % CHUNK_BYTES..].fill(0);
        }
        self.len = len;
    }

    pub(super) fn flip(&mut self, bit: u64) {
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        if byte < self.len {
            Arc::make_mut(&mut self.chunks[byte / CHUNK_BYTES])[byte % CHUNK_BYTES] ^= mask;
        }
    }

    /// Whether the sector at `start` of both is the same piece of memory: then nothing has to be compared.
    pub(super) fn shares(&self, other: &Self, start: usize) -> bool {
        let chunk = start / CHUNK_BYTES;
        match (self.chunks.get(chunk), other.chunks.get(chunk)) {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether the bytes `start..end`, at most a sector, are the same in both.
    pub(super) fn equals(&self, other: &Self, start: usize, end: usize) -> bool {
        let (mut left, mut right) = ([0; SECTOR_BYTES], [0; SECTOR_BYTES]);
        let wanted = (end - start).min(SECTOR_BYTES);
        self.read(&mut left[..wanted], start) == other.read(&mut right[..wanted], start) && left == right
    }

    /// Copies the bytes `start..end` of `source`, which need not reach that far; what it lacks stays.
    pub(super) fn copy_from(&mut self, source: &Self, start: usize, end: usize) {
        let mut sector = [0; SECTOR_BYTES];
        let count = source.read(&mut sector[..end.saturating_sub(start).min(SECTOR_BYTES)], start);
        if count > 0 {
            self.write(&sector[..count], start);
        }
    }

    fn extend_to(&mut self, len: usize) {
        if len > self.len {
            self.chunks.resize_with(len.div_ceil(CHUNK_BYTES), || Arc::new([0; CHUNK_BYTES]));
            self.len = len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(contents: &Contents) -> Vec<u8> {
        let mut bytes = vec![0xEE; contents.len() + 7];
        let count = contents.read(&mut bytes, 0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn bytes_are_those_of_a_vector() {
        let (mut contents, mut model) = (Contents::default(), Vec::new());
        let random = crate::sim::SimRandom::new(3);
        for step in 0..2_000u64 {
            let offset = random.below(9_000) as usize;
            if random.below(8) == 0 {
                contents.resize(offset);
                model.resize(offset, 0);
            } else {
                let bytes = vec![step as u8 | 1; random.below(5_000) as usize];
                contents.write(&bytes, offset);
                model.resize(model.len().max(offset + bytes.len()), 0);
                model[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            assert_eq!(all(&contents), model, "step {step}");
        }
    }

    #[test]
    fn a_copy_does_not_see_later_writes() {
        let mut contents = Contents::default();
        contents.write(&[1; 10_000], 0);
        let copy = contents.clone();
        contents.write(&[2; 10], 5_000);
        assert!(contents.shares(&copy, 0) && !contents.shares(&copy, 5_120));
        assert_eq!(all(&copy), vec![1; 10_000]);
    }
}
