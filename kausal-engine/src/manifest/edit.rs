//! What a record of the manifest says: tagged fields, each behind its length, so that this version can tell a field it
//! does not know and refuse it by name.
//!
//! Tags: 1 next file number, 2 last sequence number, 3 oldest live log, 4 added table, 5 removed table, 6 added keyspace,
//! 7 removed keyspace with all its tables, 10 next keyspace, 11 recovered log that counts beside the live ones until an edit names
//! an oldest live log. Reserved: 8 synced-through mark, 9 blob statistics.

use std::cmp::Ordering;
use std::ops::Bound;

use kausal_index::SeqNo;

use crate::codec::{Decoder, put_bytes, put_varint};
use crate::ids::{FileNumber, KeyspaceId, TableId};
use crate::wal::RecoveredLog;

/// What the manifest knows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) level: u8,
    pub(crate) file: FileNumber,
    pub(crate) table_id: TableId,
    pub(crate) file_bytes: u64,
    pub(crate) entry_count: u64,
    pub(crate) tombstone_count: u64,
    /// Fragments of range tombstones.
    pub(crate) range_tombstone_count: u64,
    /// Entries that a newer version or a range tombstone of the same table hides from all but old snapshots.
    pub(crate) hidden_count: u64,
    /// First key of an entry or a range tombstone.
    pub(crate) key_min: Vec<u8>,
    /// Last key, or the first one behind it.
    pub(crate) key_max: Vec<u8>,
    /// Whether `key_max` is the end of a range tombstone, which does not cover it.
    pub(crate) key_max_is_excluded: bool,
    pub(crate) seqno_min: SeqNo,
    pub(crate) seqno_max: SeqNo,
    /// The blob files that its entries refer to.
    pub(crate) blobs: Vec<FileNumber>,
}

impl TableMeta {
    /// Whether `key` lies within the table's bounds.
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        self.key_min.as_slice() <= key && !self.ends_before(key)
    }

    /// Whether `key` lies behind everything in the table.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match self.key_max.as_slice().cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => self.key_max_is_excluded,
            Ordering::Greater => false,
        }
    }

    /// Whether anything in the table can go once no snapshot tells its versions apart and nothing older is below it.
    pub(crate) fn has_garbage(&self) -> bool {
        self.tombstone_count + self.range_tombstone_count + self.hidden_count > 0
    }

    /// The last key, if there is one, or the first behind it.
    pub(crate) fn upper(&self) -> Bound<&[u8]> {
        if self.key_max_is_excluded { Bound::Excluded(&self.key_max) } else { Bound::Included(&self.key_max) }
    }

    /// Whether the first key is not beyond `upper`.
    pub(crate) fn begins_within(&self, upper: Bound<&[u8]>) -> bool {
        match upper {
            Bound::Included(upper) => self.key_min.as_slice() <= upper,
            Bound::Excluded(upper) => self.key_min.as_slice() < upper,
            Bound::Unbounded => true,
        }
    }

    fn put(&self, target: &mut Vec<u8>) {
        target.push(self.level);
        for word in [
            u64::from(self.keyspace.0),
            self.file.0,
            self.table_id.0,
            self.file_bytes,
            self.entry_count,
            self.tombstone_count,
            self.range_tombstone_count,
            self.hidden_count,
            self.seqno_min.get(),
            self.seqno_max.get(),
        ] {
            put_varint(target, word);
        }
        put_bytes(target, &self.key_min);
        put_bytes(target, &self.key_max);
        target.push(u8::from(self.key_max_is_excluded));
        put_varint(target, self.blobs.len() as u64);
        self.blobs.iter().for_each(|blob| put_varint(target, blob.0));
    }

    fn take(decoder: &mut Decoder<'_>) -> Option<Self> {
        let level = decoder.u8().filter(|&level| usize::from(level) < crate::version::LEVEL_COUNT)?;
        let keyspace = take_keyspace(decoder)?;
        let (file, table_id) = (FileNumber(decoder.varint()?), TableId(decoder.varint()?));
        let (file_bytes, entry_count) = (decoder.varint()?, decoder.varint()?);
        let (tombstone_count, range_tombstone_count) = (decoder.varint()?, decoder.varint()?);
        let hidden_count = decoder.varint()?;
        let (seqno_min, seqno_max) = (SeqNo::new(decoder.varint()?)?, SeqNo::new(decoder.varint()?)?);
        let (key_min, key_max) = (decoder.bytes()?.to_vec(), decoder.bytes()?.to_vec());
        let key_max_is_excluded = decoder.u8().filter(|&flag| flag <= 1)? == 1;
        let blob_count = decoder.varint()?;
        let mut blobs = Vec::new();
        for _ in 0..blob_count {
            blobs.push(FileNumber(decoder.varint()?));
        }
        (key_min <= key_max).then_some(Self {
            keyspace,
            level,
            file,
            table_id,
            file_bytes,
            entry_count,
            tombstone_count,
            range_tombstone_count,
            hidden_count,
            key_min,
            key_max,
            key_max_is_excluded,
            seqno_min,
            seqno_max,
            blobs,
        })
    }
}

/// One change of the state; the first of a manifest is the whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionEdit {
    pub(crate) next_file: Option<FileNumber>,
    pub(crate) last_seqno: Option<SeqNo>,
    /// Forgets the recovered logs of earlier edits.
    pub(crate) oldest_log: Option<FileNumber>,
    pub(crate) recovered_logs: Vec<RecoveredLog>,
    pub(crate) removed_tables: Vec<(u8, FileNumber)>,
    pub(crate) added_tables: Vec<TableMeta>,
    pub(crate) next_keyspace: Option<KeyspaceId>,
    pub(crate) added_keyspaces: Vec<(KeyspaceId, String)>,
    pub(crate) removed_keyspaces: Vec<KeyspaceId>,
}

/// Why a payload is no edit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadEdit {
    Malformed,
    UnknownField(u8),
}

impl VersionEdit {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut field = |tag: u8, put: &dyn Fn(&mut Vec<u8>)| {
            let mut contents = Vec::new();
            put(&mut contents);
            bytes.push(tag);
            put_bytes(&mut bytes, &contents);
        };
        if let Some(number) = self.next_file {
            field(1, &|target| put_varint(target, number.0));
        }
        if let Some(seqno) = self.last_seqno {
            field(2, &|target| put_varint(target, seqno.get()));
        }
        if let Some(number) = self.oldest_log {
            field(3, &|target| put_varint(target, number.0));
        }
        for table in &self.added_tables {
            field(4, &|target| table.put(target));
        }
        for (level, number) in &self.removed_tables {
            field(5, &|target| {
                target.push(*level);
                put_varint(target, number.0);
            });
        }
        for (id, name) in &self.added_keyspaces {
            field(6, &|target| {
                put_varint(target, u64::from(id.0));
                put_bytes(target, name.as_bytes());
            });
        }
        for id in &self.removed_keyspaces {
            field(7, &|target| put_varint(target, u64::from(id.0)));
        }
        if let Some(id) = self.next_keyspace {
            field(10, &|target| put_varint(target, u64::from(id.0)));
        }
        for log in &self.recovered_logs {
            field(11, &|target| {
                [log.number.0, log.len, log.synced, log.flushed.get()]
                    .into_iter()
                    .for_each(|word| put_varint(target, word));
            });
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, BadEdit> {
        let mut edit = Self::default();
        let mut decoder = Decoder(bytes);
        while !decoder.is_empty() {
            let tag = decoder.u8().ok_or(BadEdit::Malformed)?;
            let mut contents = Decoder(decoder.bytes().ok_or(BadEdit::Malformed)?);
            let known = edit.take_field(tag, &mut contents).ok_or(BadEdit::Malformed)?;
            if !known {
                return Err(BadEdit::UnknownField(tag));
            }
            if !contents.is_empty() {
                return Err(BadEdit::Malformed);
            }
        }
        Ok(edit)
    }

    /// Reads one field; answers whether its tag is known.
    fn take_field(&mut self, tag: u8, contents: &mut Decoder<'_>) -> Option<bool> {
        match tag {
            1 => self.next_file = Some(FileNumber(contents.varint()?)),
            2 => self.last_seqno = Some(SeqNo::new(contents.varint()?)?),
            3 => self.oldest_log = Some(FileNumber(contents.varint()?)),
            4 => self.added_tables.push(TableMeta::take(contents)?),
            5 => self.removed_tables.push((contents.u8()?, FileNumber(contents.varint()?))),
            6 => {
                let id = take_keyspace(contents)?;
                self.added_keyspaces.push((id, String::from_utf8(contents.bytes()?.to_vec()).ok()?));
            }
            7 => self.removed_keyspaces.push(take_keyspace(contents)?),
            10 => self.next_keyspace = Some(take_keyspace(contents)?),
            11 => self.recovered_logs.push(RecoveredLog {
                number: FileNumber(contents.varint()?),
                len: contents.varint()?,
                synced: contents.varint()?,
                flushed: SeqNo::new(contents.varint()?)?,
            }),
            _ => return Some(false),
        }
        Some(true)
    }
}

fn take_keyspace(decoder: &mut Decoder<'_>) -> Option<KeyspaceId> {
    u32::try_from(decoder.varint()?).ok().map(KeyspaceId)
}
