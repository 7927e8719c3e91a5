//! Header, frame and batch of a log: bytes to meaning and back. Believes nothing it reads.

use kausal_index::SeqNo;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::{ChangeKind, ChangeRef};
use crate::codec::Decoder;
use crate::ids::{FileNumber, KeyspaceId};
use crate::planted::is_planted;
use crate::wal::WalWriter;

pub(super) const HEADER_BYTES: u64 = 64;
pub(super) const FRAME_HEADER_BYTES: usize = 32;
pub(super) const FRAME_ALIGN: u64 = 8;
pub(super) const KIND_BATCH: u8 = 1;
pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"KAUSWAL1";

/// How the log before one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreviousLog {
    pub(crate) number: FileNumber,
    pub(crate) len: u64,
}

impl PreviousLog {
    pub(crate) fn of(log: &WalWriter) -> Self {
        Self { number: log.number(), len: log.len() }
    }
}

/// What a log's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: FileNumber,
    pub(super) database_id: u64,
    pub(super) previous: Option<PreviousLog>,
}

/// Why bytes are no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    Newer(u32),
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.database_id.to_le_bytes());
        let previous = self.previous.unwrap_or(PreviousLog { number: FileNumber(0), len: 0 });
        bytes[32..40].copy_from_slice(&previous.number.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&previous.len.to_le_bytes());
        let checksum = xxh3_64_with_seed(&bytes[..56], 0);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES as usize]) -> Result<Self, BadHeader> {
        let word =
            |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"));
        if bytes[..8] != MAGIC || word(56) != xxh3_64_with_seed(&bytes[..56], 0) {
            return Err(BadHeader::Damaged);
        }
        let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(BadHeader::Newer(version));
        }
        let previous = PreviousLog { number: FileNumber(word(32)), len: word(40) };
        Ok(Self {
            number: FileNumber(word(16)),
            database_id: word(24),
            previous: (previous.number.0 != 0).then_some(previous),
        })
    }
}

/// The seed of a frame's checksum.
pub(super) fn seed(database_id: u64, number: FileNumber, offset: u64) -> u64 {
    let number = if is_planted("replay_recycled_tail") { 0 } else { number.0 };
    database_id ^ number.rotate_left(40) ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The fixed part of a frame, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    pub(super) checksum: u64,
    pub(super) offset: u64,
    pub(super) synced_through: u64,
    pub(super) payload_bytes: u32,
    pub(super) kind: u8,
    pub(super) reserved: [u8; 3],
}

impl FrameHeader {
    pub(super) fn from_bytes(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let word =
            |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"));
        Self {
            checksum: word(0),
            offset: word(8),
            synced_through: word(16),
            payload_bytes: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")),
            kind: bytes[28],
            reserved: [bytes[29], bytes[30], bytes[31]],
        }
    }

    /// Length of the whole frame, padding included.
    pub(super) fn frame_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes)).next_multiple_of(FRAME_ALIGN)
    }
}

/// Why a payload is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBatch {
    Malformed,
    /// A change of a kind that this version does not know.
    UnknownChange(u8),
}

/// A batch read from a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) first: SeqNo,
    pub(crate) count: u32,
    changes: Decoder<'a>,
}

impl<'a> Batch<'a> {
    /// Reads a payload, checking every change of it.
    pub(super) fn from_payload(payload: &'a [u8]) -> Result<Self, BadBatch> {
        let batch = Self::begin(payload).ok_or(BadBatch::Malformed)?;
        let mut rest = batch.changes;
        for _ in 0..batch.count {
            batch.change(&mut rest)?;
        }
        if batch.count > 0 && rest.is_empty() { Ok(batch) } else { Err(BadBatch::Malformed) }
    }

    fn begin(payload: &'a [u8]) -> Option<Self> {
        let mut decoder = Decoder(payload);
        let first = SeqNo::new(decoder.u64()?).filter(|&first| first > SeqNo::ZERO)?;
        let count = decoder.u32()?;
        first.checked_add(u64::from(count))?;
        Some(Self { first, count, changes: decoder })
    }

    /// The changes with their sequence numbers.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (SeqNo, ChangeRef<'a>)> {
        let batch = *self;
        let mut rest = self.changes;
        (0..u64::from(self.count)).map_while(move |place| {
            let seqno = batch.first.checked_add(place)?;
            batch.change(&mut rest).ok().map(|change| (seqno, change))
        })
    }

    /// The last sequence number.
    pub(crate) fn last(&self) -> SeqNo {
        self.first.checked_add(u64::from(self.count) - 1).expect("checked when the payload was read")
    }

    fn change(&self, rest: &mut Decoder<'a>) -> Result<ChangeRef<'a>, BadBatch> {
        let keyspace = rest.varint().and_then(|id| u32::try_from(id).ok()).ok_or(BadBatch::Malformed)?;
        let kind = rest.u8().ok_or(BadBatch::Malformed)?;
        let kind = ChangeKind::from_u8(kind).ok_or(BadBatch::UnknownChange(kind))?;
        take_change(KeyspaceId(keyspace), kind, rest).ok_or(BadBatch::Malformed)
    }
}

/// What follows a change's keyspace and kind.
fn take_change<'a>(keyspace: KeyspaceId, kind: ChangeKind, rest: &mut Decoder<'a>) -> Option<ChangeRef<'a>> {
    let mut key = || rest.bytes().filter(|key| key.len() <= kausal_index::KEY_BYTES_MAX);
    let start = key()?;
    let value = match kind {
        ChangeKind::DeleteRange => key().filter(|&end| start < end)?,
        _ => rest.bytes()?,
    };
    Some(ChangeRef { keyspace, kind, key: start, value })
}
