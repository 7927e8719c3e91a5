//! The properties block: what a table says about itself.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | keyspace |
//! | 4 | 4 | bits of the filter per key; 0 is no filter |
//! | 8 | 4 | bytes of the key prefixes in the filter; 0 is none |
//! | 12 | 4 | compression that the writer was asked for |
//! | 16 | 15 × 8 | the counts below, in this order |
//! | 136 | | first key, last key: length (varint), bytes, each |

use kausal_index::{EntryRef, KeyspaceId, Kind, SeqNo};

use crate::compression::name;
use crate::error::Damage;
use crate::format::{put_varint, take_bytes, take_part, take_varint, word};
use crate::writer::TableOptions;

const COUNTS: usize = 15;
const FIXED_BYTES: usize = 16 + 8 * COUNTS;

/// Counts and bounds of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The keyspace whose entries these are.
    pub keyspace: KeyspaceId,
    /// Bits the filter was given per key; 0 is no filter.
    pub filter_bits_per_key: u32,
    /// Length of the key prefixes that the filter holds besides whole keys; 0 is none.
    pub filter_prefix_bytes: u32,
    /// Code of the compression that the writer was asked for; single blocks may be raw.
    pub(crate) compression: u32,
    /// Entries of every kind.
    pub entry_count: u64,
    /// Of these, tombstones.
    pub tombstone_count: u64,
    /// Of these, references to blob files.
    pub blob_count: u64,
    /// Fragments of range tombstones.
    pub range_tombstone_count: u64,
    /// Smallest sequence number, of entries and range tombstones.
    pub seqno_min: SeqNo,
    /// Largest sequence number.
    pub seqno_max: SeqNo,
    /// Bytes of keys before compression.
    pub key_bytes: u64,
    /// Bytes of values before compression.
    pub value_bytes: u64,
    /// Data blocks.
    pub block_count: u64,
    /// Of these, those that are compressed.
    pub compressed_block_count: u64,
    /// Bytes of the data blocks' contents.
    pub block_bytes: u64,
    /// Bytes of the data blocks as they are stored, without trailers.
    pub stored_block_bytes: u64,
    /// Bytes of filters and indexes as they are stored, without trailers.
    pub index_bytes: u64,
    /// Segments: runs of data blocks with a filter and an index of their own.
    pub segment_count: u64,
    /// When the table was written, in microseconds since 1970; 0 if the writer was not told.
    pub created_micros: u64,
    /// First key.
    pub key_min: Vec<u8>,
    /// Last key.
    pub key_max: Vec<u8>,
}

impl Properties {
    pub(crate) fn new(keyspace: KeyspaceId, options: &TableOptions) -> Self {
        Self {
            keyspace,
            filter_bits_per_key: options.filter_bits_per_key,
            filter_prefix_bytes: options.filter_prefix_bytes,
            compression: options.compression.code().into(),
            entry_count: 0,
            tombstone_count: 0,
            blob_count: 0,
            range_tombstone_count: 0,
            seqno_min: SeqNo::MAX,
            seqno_max: SeqNo::ZERO,
            key_bytes: 0,
            value_bytes: 0,
            block_count: 0,
            compressed_block_count: 0,
            block_bytes: 0,
            stored_block_bytes: 0,
            index_bytes: 0,
            segment_count: 0,
            created_micros: options.created_micros,
            key_min: Vec::new(),
            key_max: Vec::new(),
        }
    }

    /// The same table with nothing counted yet.
    pub(crate) fn uncounted(&self) -> Self {
        Self {
            filter_prefix_bytes: self.filter_prefix_bytes,
            filter_bits_per_key: self.filter_bits_per_key,
            compression: self.compression,
            created_micros: self.created_micros,
            ..Self::new(self.keyspace, &TableOptions::default())
        }
    }

    /// Counts one more entry. The last key is set at the end, by whoever has it.
    #[inline]
    pub(crate) fn count(&mut self, entry: EntryRef<'_>) {
        if self.entry_count == 0 {
            self.key_min = entry.key.to_vec();
        }
        self.entry_count += 1;
        self.tombstone_count += u64::from(entry.kind == Kind::Delete);
        self.blob_count += u64::from(entry.kind == Kind::Blob);
        self.count_seqno(entry.seqno);
        self.key_bytes += entry.key.len() as u64;
        self.value_bytes += entry.value.len() as u64;
    }

    /// Widens the bounds of sequence numbers.
    #[inline]
    pub(crate) fn count_seqno(&mut self, seqno: SeqNo) {
        self.seqno_min = self.seqno_min.min(seqno);
        self.seqno_max = self.seqno_max.max(seqno);
    }

    /// Counts one more data block.
    pub(crate) fn count_block(&mut self, contents: usize, stored: usize, is_compressed: bool) {
        self.block_count += 1;
        self.compressed_block_count += u64::from(is_compressed);
        self.block_bytes += contents as u64;
        self.stored_block_bytes += stored as u64;
    }

    /// The compression that the writer was asked for.
    pub fn compression_name(&self) -> &'static str {
        u8::try_from(self.compression).map_or("unknown", name)
    }

    fn counts(&self) -> [u64; COUNTS] {
        [
            self.entry_count,
            self.tombstone_count,
            self.blob_count,
            self.range_tombstone_count,
            self.seqno_min.get(),
            self.seqno_max.get(),
            self.key_bytes,
            self.value_bytes,
            self.block_count,
            self.compressed_block_count,
            self.block_bytes,
            self.stored_block_bytes,
            self.index_bytes,
            self.segment_count,
            self.created_micros,
        ]
    }

    /// The contents, with room behind them for a trailer.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.key_min.len() + self.key_max.len() + 32);
        let numbers = [self.keyspace.0, self.filter_bits_per_key, self.filter_prefix_bytes, self.compression];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        self.counts().iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
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
        let count = |place: usize| word(fixed, 16 + 8 * place);
        let number =
            |place: usize| u32::from_le_bytes(fixed[place..place + 4].try_into().expect("four bytes"));
        let mut key = || {
            if cfg!(kausal_planted = "sst_properties") {
                let len = take_varint(&mut rest)? as usize;
                return Some(rest[..len].to_vec());
            }
            let len = take_part(&mut rest)?;
            take_bytes(&mut rest, len).map(<[u8]>::to_vec)
        };
        let (key_min, key_max) = (key()?, key()?);
        let properties = Self {
            keyspace: KeyspaceId(number(0)),
            filter_bits_per_key: number(4),
            filter_prefix_bytes: number(8),
            compression: number(12),
            entry_count: count(0),
            tombstone_count: count(1),
            blob_count: count(2),
            range_tombstone_count: count(3),
            seqno_min: SeqNo::new(count(4))?,
            seqno_max: SeqNo::new(count(5))?,
            key_bytes: count(6),
            value_bytes: count(7),
            block_count: count(8),
            compressed_block_count: count(9),
            block_bytes: count(10),
            stored_block_bytes: count(11),
            index_bytes: count(12),
            segment_count: count(13),
            created_micros: count(14),
            key_min,
            key_max,
        };
        let is_empty = properties.entry_count == 0 && properties.range_tombstone_count == 0;
        (rest.is_empty() && properties.key_min <= properties.key_max && !is_empty).then_some(properties)
    }
}
