//! Write batches: several changes that become visible and durable together or not at all.

use kausal_index::{KEY_BYTES_MAX, Kind};

use crate::error::Error;

/// An ordered list of changes, applied as one. A later change of a key wins over an earlier one.
///
/// # Examples
///
/// ```
/// use kausal_engine::WriteBatch;
///
/// let mut batch = WriteBatch::new();
/// batch.put(b"from", b"10").unwrap();
/// batch.delete(b"to").unwrap();
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    kind: Kind,
    key_end: usize,
    value_end: usize,
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
        self.push(Kind::Put, key, value)
    }

    /// Removes `key`; no error if it is absent.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the key is longer than [`KEY_BYTES_MAX`].
    pub fn delete(&mut self, key: &[u8]) -> Result<(), Error> {
        self.push(Kind::Delete, key, b"")
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values between them.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the changes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    /// The changes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &[u8], &[u8])> {
        let mut start = 0;
        self.changes.iter().map(move |change| {
            let key = &self.bytes[start..change.key_end];
            let value = &self.bytes[change.key_end..change.value_end];
            start = change.value_end;
            (change.kind, key, value)
        })
    }

    /// Adds a change of any kind.
    pub(crate) fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::key_too_long(key.len()));
        }
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.changes.push(Change { kind, key_end, value_end: self.bytes.len() });
        Ok(())
    }
}
