//! What the write path asks of a batch, so that a single change needs no batch of its own.

use kausal_index::{KEY_BYTES_MAX, KeyspaceId};
use kausal_memtable::BatchPart;

use crate::batch::{ChangeKind, ChangeRef, ConditionRef, WriteBatch};
use crate::error::Error;

/// Changes that are applied as one.
pub(crate) trait Changes {
    /// Number of changes.
    fn count(&self) -> usize;

    /// Bytes of keys and values between them.
    fn bytes(&self) -> usize;

    /// The changes in order.
    fn changes(&self) -> impl Iterator<Item = ChangeRef<'_>>;

    /// What they need in each keyspace that they are of.
    fn keyspace_parts(&self) -> &[BatchPart];

    /// What must hold for them to be applied.
    fn required(&self) -> impl Iterator<Item = ConditionRef<'_>>;
}

impl Changes for WriteBatch {
    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        self.payload_bytes()
    }

    fn changes(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        self.iter()
    }

    fn keyspace_parts(&self) -> &[BatchPart] {
        self.parts()
    }

    fn required(&self) -> impl Iterator<Item = ConditionRef<'_>> {
        self.conditions()
    }
}

/// One put or delete, borrowed from its caller. Making it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleChange<'a> {
    change: ChangeRef<'a>,
    part: BatchPart,
}

impl<'a> SingleChange<'a> {
    /// Sets `key` to `value`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the key is too long.
    pub(crate) fn put(keyspace: KeyspaceId, key: &'a [u8], value: &'a [u8]) -> Result<Self, Error> {
        Self::new(ChangeRef { keyspace, kind: ChangeKind::Put, key, value })
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub(crate) fn delete(keyspace: KeyspaceId, key: &'a [u8]) -> Result<Self, Error> {
        Self::new(ChangeRef { keyspace, kind: ChangeKind::Delete, key, value: b"" })
    }

    fn new(change: ChangeRef<'a>) -> Result<Self, Error> {
        if change.key.len() > KEY_BYTES_MAX {
            return Err(Error::key_too_long(change.key.len()));
        }
        let mut part = BatchPart::new(change.keyspace);
        change.count_in(&mut part);
        Ok(Self { change, part })
    }
}

impl Changes for SingleChange<'_> {
    fn count(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        self.change.key.len() + self.change.value.len()
    }

    fn changes(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        std::iter::once(self.change)
    }

    fn keyspace_parts(&self) -> &[BatchPart] {
        std::slice::from_ref(&self.part)
    }

    fn required(&self) -> impl Iterator<Item = ConditionRef<'_>> {
        std::iter::empty()
    }
}
