//! Entries: what every layer of the engine stores, orders and hands on.
//!
//! An entry is a key, a sequence number, a kind and a value. Keys compare bytewise, for ever; among the
//! versions of one key the newest comes first. The pair (key, sequence number) names an entry: two entries
//! with the same pair are a mistake of the caller, whatever their kinds are.
//!
//! Not here: how an entry is laid out in memory or on disk. Each index and each file format decides that.

use std::cmp::Ordering;
use std::fmt;

/// Longest key in bytes. Its length fits in 16 bits, in memory and on disk.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Position of an entry in the history of the database; 56 bits, because it shares a word with its [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before every entry. Reserved: no entry carries it.
    pub const ZERO: Self = Self(0);
    /// The largest sequence number. A look-up at `MAX` sees the newest version of every key.
    pub const MAX: Self = Self((1 << 56) - 1);

    /// The sequence number `number`, or `None` if it does not fit in 56 bits.
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence number `count` places later, or `None` past [`SeqNo::MAX`].
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(number) => Self::new(number),
            None => None,
        }
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What an entry says about its key. The numbers are part of the file formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// The key has no value from here on.
    Delete = 0,
    /// The key has this value.
    Put = 1,
    /// The key's value lies in a blob file; the entry's value is the reference to it.
    Blob = 2,
}

impl Kind {
    /// The kind with this number, or `None` if this version knows no such kind.
    ///
    /// Numbers 3 to 7 are reserved for range deletes, merges, single deletes, expiry and separated values.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Delete),
            1 => Some(Self::Put),
            2 => Some(Self::Blob),
            _ => None,
        }
    }
}

/// A sequence number and a kind in one word: `seqno << 8 | kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackedSeqNo(u64);

impl PackedSeqNo {
    /// Packs the two.
    pub const fn new(seqno: SeqNo, kind: Kind) -> Self {
        Self(seqno.0 << 8 | kind as u64)
    }

    /// The word read from memory or disk, or `None` if its kind is not known.
    pub const fn from_u64(word: u64) -> Option<Self> {
        match Kind::from_u8(word as u8) {
            Some(_) => Some(Self(word)),
            None => None,
        }
    }

    /// The word to be written.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The sequence number.
    pub const fn seqno(self) -> SeqNo {
        SeqNo(self.0 >> 8)
    }

    /// The kind.
    pub const fn kind(self) -> Kind {
        match Kind::from_u8(self.0 as u8) {
            Some(kind) => kind,
            // Both constructors admit known kinds only.
            None => unreachable!(),
        }
    }
}

/// A borrowed entry. Costs four words; copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The user's key, at most [`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// When it was written. Never [`SeqNo::ZERO`] in a stored entry.
    pub seqno: SeqNo,
    /// What it says about the key.
    pub kind: Kind,
    /// The value; empty for a [`Kind::Delete`].
    pub value: &'a [u8],
}

impl EntryRef<'_> {
    /// Bytes of the caller's data in this entry: key and value.
    pub const fn payload_bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// Where this entry stands relative to (`key`, `seqno`) in the order of every cursor:
    /// key ascending, sequence number descending.
    pub fn cmp_position(&self, key: &[u8], seqno: SeqNo) -> Ordering {
        compare_positions((self.key, self.seqno), (key, seqno))
    }

    /// An owned copy.
    pub fn to_owned(&self) -> Entry {
        Entry { key: self.key.to_vec(), seqno: self.seqno, kind: self.kind, value: self.value.to_vec() }
    }
}

/// Compares two positions: key ascending, then sequence number *descending*.
#[inline]
pub fn compare_positions(left: (&[u8], SeqNo), right: (&[u8], SeqNo)) -> Ordering {
    // Without a call, where the first bytes decide.
    if let (Some(left), Some(right)) = (left.0.first_chunk(), right.0.first_chunk())
        && left != right
    {
        return u64::from_be_bytes(*left).cmp(&u64::from_be_bytes(*right));
    }
    left.0.cmp(right.0).then_with(|| right.1.cmp(&left.1))
}

/// An entry that owns its bytes, for models, tests and tools. Hot paths use [`EntryRef`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The user's key.
    pub key: Vec<u8>,
    /// When it was written.
    pub seqno: SeqNo,
    /// What it says about the key.
    pub kind: Kind,
    /// The value; empty for a [`Kind::Delete`].
    pub value: Vec<u8>,
}

impl Entry {
    /// Borrows this entry.
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef { key: &self.key, seqno: self.seqno, kind: self.kind, value: &self.value }
    }
}
