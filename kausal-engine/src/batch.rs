//! Write batches: several changes that become visible and durable together or not at all.

use kausal_index::{KEY_BYTES_MAX, KeyspaceId, Kind};
use kausal_memtable::BatchPart;

use crate::error::Error;

/// What a change does. The number is its kind in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// The key has no value from here on.
    Delete = 0,
    /// The key has this value.
    Put = 1,
    /// The key's value lies in a blob file.
    Blob = 2,
    /// Every key from the change's key to before its value has no value from here on.
    DeleteRange = 3,
}

impl ChangeKind {
    /// The kind with this number, or `None` if this version knows no such kind.
    pub(crate) fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Delete),
            1 => Some(Self::Put),
            2 => Some(Self::Blob),
            3 => Some(Self::DeleteRange),
            _ => None,
        }
    }

    /// The kind of the entry that the change makes; a range delete makes none.
    pub(crate) fn of_entry(self) -> Option<Kind> {
        match self {
            Self::Delete => Some(Kind::Delete),
            Self::Put => Some(Kind::Put),
            Self::Blob => Some(Kind::Blob),
            Self::DeleteRange => None,
        }
    }
}

/// One change of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeRef<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) kind: ChangeKind,
    /// The key, or the first key of a range.
    pub(crate) key: &'a [u8],
    /// The value, or the end of a range, which it does not include.
    pub(crate) value: &'a [u8],
}

impl ChangeRef<'_> {
    /// Adds what the change needs in a memtable to `part`.
    pub(crate) fn count_in(&self, part: &mut BatchPart) {
        let bytes = self.key.len() + self.value.len();
        if self.kind == ChangeKind::DeleteRange {
            part.range_deletes += 1;
            part.range_bytes += bytes;
        } else {
            part.entries += 1;
            part.payload_bytes += bytes;
        }
    }
}

/// What must hold for a batch to be applied: a key has this value, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConditionRef<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) key: &'a [u8],
    pub(crate) expected: Option<&'a [u8]>,
}

/// An ordered list of changes, applied as one. A later change of a key wins over an earlier one.
///
/// Changes may be of any keyspaces; those without a keyspace in their name are of the default one. A batch may also name
/// what must hold before it is applied ([`require`](Self::require)): compare-and-swap over any number of keys.
///
/// # Examples
///
/// ```
/// use kausal_engine::WriteBatch;
///
/// let mut batch = WriteBatch::new();
/// batch.require(b"from", Some(b"20")).unwrap();
/// batch.put(b"from", b"10").unwrap();
/// batch.delete(b"to").unwrap();
/// batch.delete_range(b"log/2025", b"log/2026").unwrap();
/// assert_eq!(batch.len(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    changes: Vec<Change>,
    /// What the changes need in each keyspace.
    parts: Vec<BatchPart>,
    condition_bytes: Vec<u8>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    keyspace: KeyspaceId,
    kind: ChangeKind,
    key_end: usize,
    value_end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Condition {
    keyspace: KeyspaceId,
    key_end: usize,
    /// `None` is a key without a value.
    value_end: Option<usize>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the key is longer than [`KEY_BYTES_MAX`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.put_in(KeyspaceId::DEFAULT, key, value)
    }

    /// Sets `key` of `keyspace` to `value`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put). Whether there is such a keyspace shows when the batch is written.
    pub fn put_in(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.push(ChangeRef { keyspace, kind: ChangeKind::Put, key, value })
    }

    /// Removes `key`; no error if it is absent.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &[u8]) -> Result<(), Error> {
        self.delete_in(KeyspaceId::DEFAULT, key)
    }

    /// Removes `key` of `keyspace`; no error if it is absent.
    ///
    /// # Errors
    ///
    /// As [`put_in`](Self::put_in).
    pub fn delete_in(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<(), Error> {
        self.push(ChangeRef { keyspace, kind: ChangeKind::Delete, key, value: b"" })
    }

    /// Removes every key from `start` to before `end`, at the cost of one change, however many there are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the range is empty, or a bound longer than [`KEY_BYTES_MAX`].
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<(), Error> {
        self.delete_range_in(KeyspaceId::DEFAULT, start, end)
    }

    /// Removes every key of `keyspace` from `start` to before `end`.
    ///
    /// # Errors
    ///
    /// As [`delete_range`](Self::delete_range).
    pub fn delete_range_in(&mut self, keyspace: KeyspaceId, start: &[u8], end: &[u8]) -> Result<(), Error> {
        if start >= end {
            return Err(Error::invalid("a range that ends where it starts, or before, covers no key"));
        }
        self.push(ChangeRef { keyspace, kind: ChangeKind::DeleteRange, key: start, value: end })
    }

    /// Lets the batch be applied only if `key` has the value `expected` at that moment, or none.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn require(&mut self, key: &[u8], expected: Option<&[u8]>) -> Result<(), Error> {
        self.require_in(KeyspaceId::DEFAULT, key, expected)
    }

    /// Lets the batch be applied only if `key` of `keyspace` has the value `expected` at that moment, or none.
    ///
    /// # Errors
    ///
    /// As [`put_in`](Self::put_in).
    pub fn require_in(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        expected: Option<&[u8]>,
    ) -> Result<(), Error> {
        check_key(key)?;
        self.condition_bytes.extend_from_slice(key);
        let key_end = self.condition_bytes.len();
        let value_end = expected.map(|expected| {
            self.condition_bytes.extend_from_slice(expected);
            self.condition_bytes.len()
        });
        self.conditions.push(Condition { keyspace, key_end, value_end });
        Ok(())
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values between the changes.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets changes and conditions, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
        self.parts.clear();
        self.condition_bytes.clear();
        self.conditions.clear();
    }

    /// The changes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        let mut start = 0;
        self.changes.iter().map(move |change| {
            let key = &self.bytes[start..change.key_end];
            let value = &self.bytes[change.key_end..change.value_end];
            start = change.value_end;
            ChangeRef { keyspace: change.keyspace, kind: change.kind, key, value }
        })
    }

    /// What must hold.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = ConditionRef<'_>> {
        let mut start = 0;
        self.conditions.iter().map(move |condition| {
            let key = &self.condition_bytes[start..condition.key_end];
            let expected = condition.value_end.map(|end| &self.condition_bytes[condition.key_end..end]);
            start = condition.value_end.unwrap_or(condition.key_end);
            ConditionRef { keyspace: condition.keyspace, key, expected }
        })
    }

    /// What the changes need in each keyspace that they are of.
    pub(crate) fn parts(&self) -> &[BatchPart] {
        &self.parts
    }

    /// Adds the conditions of `other`.
    pub(crate) fn copy_conditions(&mut self, other: &Self) {
        debug_assert!(self.conditions.is_empty(), "their ends are places in bytes that begin with them");
        self.condition_bytes.clone_from(&other.condition_bytes);
        self.conditions.clone_from(&other.conditions);
    }

    /// Adds a change of any kind.
    pub(crate) fn push(&mut self, change: ChangeRef<'_>) -> Result<(), Error> {
        check_key(change.key)?;
        if change.kind == ChangeKind::DeleteRange {
            check_key(change.value)?;
        }
        self.bytes.extend_from_slice(change.key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(change.value);
        let ChangeRef { keyspace, kind, .. } = change;
        self.changes.push(Change { keyspace, kind, key_end, value_end: self.bytes.len() });
        let part = match self.parts.iter_mut().find(|part| part.keyspace == keyspace) {
            Some(part) => part,
            None => {
                self.parts.push(BatchPart::new(keyspace));
                self.parts.last_mut().expect("pushed just now")
            }
        };
        change.count_in(part);
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX { Err(Error::key_too_long(key.len())) } else { Ok(()) }
}
