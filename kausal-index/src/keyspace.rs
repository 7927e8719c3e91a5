//! What memtables, tables and the engine say alike of keys beside an index: which keyspace they are of, and which of them a
//! range delete covers. Nothing here enters an index.

use std::fmt;

use crate::entry::SeqNo;

/// Names a keyspace; keys of different keyspaces have nothing to do with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

impl KeyspaceId {
    /// The keyspace that every database, memtable and table has from its beginning.
    pub const DEFAULT: Self = Self(0);
}

impl fmt::Display for KeyspaceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A range tombstone, or a fragment of one: every key from `start` to before `end` has no value from `seqno` down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeTombstone<'a> {
    /// The first key covered.
    pub start: &'a [u8],
    /// The first key behind it that is not covered.
    pub end: &'a [u8],
    /// When it was written: entries below have no value.
    pub seqno: SeqNo,
}
