//! The properties block: what a table says about itself.
//!
//! | field | layout |
//! |---|---|
//! | keyspace | u32 |
//! | entries, tombstones, blob references | u64 each |
//! | smallest and largest sequence number | u64 each |
//! | bytes of keys, bytes of values | u64 each |
//! | data blocks | u64 |
//! | filter bits per key | u32 |
//! | first key, last key | length (varint), bytes, each |

use kausal_index::{EntryRef, Kind, SeqNo};

use crate::error::Damage;
use crate::format::{put_varint, take_bytes, take_part, word};
use crate::ids::KeyspaceId;

const FIXED_BYTES: usize = 4 + 8 * 8 + 4;

/// Counts and bounds of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The keyspace whose entries these are.
    pub keyspace: KeyspaceId,
    /// Entries of every kind.
    pub entry_count: u64,
    /// Of these, tombstones.
    pub tombstone_count: u64,
    /// Of these, references to blob files.
    pub blob_count: u64,
    /// Smallest sequence number.
    pub seqno_min: SeqNo,
    /// Largest sequence number.
    pub seqno_max: SeqNo,
    /// Bytes of keys before compression.
    pub key_bytes: u64,
    /// Bytes of values before compression.
    pub value_bytes: u64,
    /// Data blocks.
    pub block_count: u64,
    /// Bits the filter was given per key; 0 is no filter.
    pub filter_bits_per_key: u32,
    /// First key.
    pub key_min: Vec<u8>,
    /// Last key.
    pub key_max: Vec<u8>,
}

impl Properties {
    pub(crate) fn new(keyspace: KeyspaceId, filter_bits_per_key: u32) -> Self {
        Self {
            keyspace,
            entry_count: 0,
            tombstone_count: 0,
            blob_count: 0,
            seqno_min: SeqNo::MAX,
            seqno_max: SeqNo::ZERO,
            key_bytes: 0,
            value_bytes: 0,
            block_count: 0,
            filter_bits_per_key,
            key_min: Vec::new(),
            key_max: Vec::new(),
        }
    }

    /// Counts one more entry, the last in order so far.
    pub(crate) fn count(&mut self, entry: EntryRef<'_>) {
        if self.entry_count == 0 {
            self.key_min = entry.key.to_vec();
        }
        self.entry_count += 1;
        self.tombstone_count += u64::from(entry.kind == Kind::Delete);
        self.blob_count += u64::from(entry.kind == Kind::Blob);
        self.seqno_min = self.seqno_min.min(entry.seqno);
        self.seqno_max = self.seqno_max.max(entry.seqno);
        self.key_bytes += entry.key.len() as u64;
        self.value_bytes += entry.value.len() as u64;
        self.key_max.clear();
        self.key_max.extend_from_slice(entry.key);
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.key_min.len() + self.key_max.len() + 6);
        bytes.extend_from_slice(&self.keyspace.0.to_le_bytes());
        let words = [
            self.entry_count,
            self.tombstone_count,
            self.blob_count,
            self.seqno_min.get(),
            self.seqno_max.get(),
            self.key_bytes,
            self.value_bytes,
            self.block_count,
        ];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&self.filter_bits_per_key.to_le_bytes());
        for key in [&self.key_min, &self.key_max] {
            put_varint(&mut bytes, key.len() as u64);
            bytes.extend_from_slice(key);
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        Self::parse(bytes).ok_or(Damage::Properties)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, mut rest) = bytes.split_at_checked(FIXED_BYTES)?;
        let count = |place: usize| word(fixed, 4 + 8 * place);
        let number =
            |place: usize| u32::from_le_bytes(fixed[place..place + 4].try_into().expect("four bytes"));
        let mut key = || {
            let len = take_part(&mut rest)?;
            take_bytes(&mut rest, len).map(<[u8]>::to_vec)
        };
        let (key_min, key_max) = (key()?, key()?);
        let properties = Self {
            keyspace: KeyspaceId(number(0)),
            entry_count: count(0),
            tombstone_count: count(1),
            blob_count: count(2),
            seqno_min: SeqNo::new(count(3))?,
            seqno_max: SeqNo::new(count(4))?,
            key_bytes: count(5),
            value_bytes: count(6),
            block_count: count(7),
            filter_bits_per_key: number(68),
            key_min,
            key_max,
        };
        (rest.is_empty() && properties.key_min <= properties.key_max && properties.entry_count > 0)
            .then_some(properties)
    }
}
