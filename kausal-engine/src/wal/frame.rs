//! Writes the frame of one batch straight to where it goes: into a mapped log, or behind the frames of its group.
//!
//! The length comes first ([`FrameBytes::of`]), so that the place can be had before a byte is copied; then keys and values
//! are copied once.

use kausal_index::SeqNo;
use twox_hash::XxHash3_64;

use crate::changes::Changes;
use crate::ids::FileNumber;
use crate::wal::format::{FRAME_ALIGN, FRAME_HEADER_BYTES, KIND_BATCH, seed};

/// Bytes of a batch before its changes: first sequence number and count.
const BATCH_HEADER_BYTES: usize = 12;

/// How long the frame of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameBytes {
    payload: usize,
}

impl FrameBytes {
    /// Measures the frame of `changes`.
    pub(crate) fn of(changes: &impl Changes) -> Self {
        let bytes = changes.changes().map(|change| {
            let lengths = varint_bytes(change.key.len() as u64) + varint_bytes(change.value.len() as u64);
            varint_bytes(u64::from(change.keyspace.0)) + 1 + lengths + change.key.len() + change.value.len()
        });
        Self { payload: BATCH_HEADER_BYTES + bytes.sum::<usize>() }
    }

    /// The whole frame, header and padding included.
    pub(crate) fn total(self) -> usize {
        (FRAME_HEADER_BYTES + self.payload).next_multiple_of(FRAME_ALIGN as usize)
    }
}

/// Where in which log a frame stands, and what is known of the log when it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct FramePlace {
    pub(super) database_id: u64,
    pub(super) number: FileNumber,
    pub(super) offset: u64,
    pub(super) synced_through: u64,
}

/// Writes the frame of `changes`, the first of which has number `first`, into `target`, which is as long as `bytes` says.
pub(super) fn write_frame(
    target: &mut [u8],
    bytes: FrameBytes,
    place: FramePlace,
    first: SeqNo,
    changes: &impl Changes,
) {
    debug_assert_eq!(target.len(), bytes.total());
    let mut rest = Rest(&mut target[8..]);
    rest.put(&place.offset.to_le_bytes());
    rest.put(&place.synced_through.to_le_bytes());
    rest.put(&(bytes.payload as u32).to_le_bytes());
    rest.put(&[KIND_BATCH, 0, 0, 0]);
    rest.put(&first.get().to_le_bytes());
    rest.put(&(changes.count() as u32).to_le_bytes());
    for change in changes.changes() {
        rest.put_varint(u64::from(change.keyspace.0));
        rest.put(&[change.kind as u8]);
        rest.put_varint(change.key.len() as u64);
        rest.put(change.key);
        rest.put_varint(change.value.len() as u64);
        rest.put(change.value);
    }
    rest.0.fill(0);
    let checksum =
        XxHash3_64::oneshot_with_seed(seed(place.database_id, place.number, place.offset), &target[8..]);
    target[..8].copy_from_slice(&checksum.to_le_bytes());
}

/// What is still to be written of a frame.
struct Rest<'a>(&'a mut [u8]);

impl Rest<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.0 = rest;
    }

    #[inline]
    fn put_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.put(&[number as u8]);
    }
}

fn varint_bytes(number: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::WriteBatch;
    use crate::ids::KeyspaceId;
    use crate::wal::format::{Batch, FrameHeader};

    #[test]
    fn a_frame_is_as_long_as_was_measured_and_reads_back() {
        for len in [0, 1, 127, 128, 300, 16_384, 70_000] {
            let mut batch = WriteBatch::new();
            batch.put_in(KeyspaceId(300), b"key", &vec![7; len]).unwrap();
            batch.delete(b"gone").unwrap();
            let bytes = FrameBytes::of(&batch);
            let mut frame = vec![0xFF; bytes.total()];
            let number = FileNumber(3);
            let place = FramePlace { database_id: 9, number, offset: 64, synced_through: 5 };
            write_frame(&mut frame, bytes, place, SeqNo::new(1).unwrap(), &batch);
            let header = FrameHeader::from_bytes(frame[..FRAME_HEADER_BYTES].try_into().unwrap());
            assert_eq!((header.offset, header.synced_through), (64, 5));
            assert_eq!(header.frame_bytes(), frame.len() as u64);
            assert_eq!(header.checksum, XxHash3_64::oneshot_with_seed(seed(9, number, 64), &frame[8..]));
            let payload = &frame[FRAME_HEADER_BYTES..][..header.payload_bytes as usize];
            let read = Batch::from_payload(payload).expect("a sound batch");
            let changes: Vec<_> =
                read.changes().map(|(_, change)| (change.key, change.value.len())).collect();
            assert_eq!(changes, [(&b"key"[..], len), (b"gone", 0)]);
        }
    }

    #[test]
    fn a_varint_is_as_long_as_was_measured() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            crate::codec::put_varint(&mut bytes, number);
            assert_eq!(varint_bytes(number), bytes.len(), "{number}");
        }
    }
}
