//! What can go wrong with a table, as values that say where.

use std::io;

use kausal_arena::AllocError;

use crate::ids::{FileNumber, TableId};

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TableError {
    /// The file does not hold what its format promises. Retrying does not help.
    #[error("table {file}: corrupt at byte {offset}: {what}")]
    Corruption { file: FileNumber, offset: u64, what: Damage },
    /// The file was written by a newer version of this library.
    #[error("table {file}: format version {version}, this library reads up to {supported}")]
    NewerFormat { file: FileNumber, version: u32, supported: u32 },
    /// The file needs a part of this library that was not built.
    #[error("table {file}: needs {what}, which this build does not have")]
    NotBuilt { file: FileNumber, what: &'static str },
    /// The operating system refused the read. Retrying may help.
    #[error("table {file}: cannot read {len} bytes at byte {offset}")]
    Io { file: FileNumber, offset: u64, len: u64, source: io::Error },
    /// The budget has no room for what must be held.
    #[error("table {file}: no memory")]
    Memory { file: FileNumber, source: AllocError },
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Damage {
    #[error("the file has {actual} bytes, not the {expected} it should have")]
    FileLength { expected: u64, actual: u64 },
    #[error("the footer is not that of a table")]
    Footer,
    #[error("the file is table {actual}, not table {expected}")]
    ForeignTable { expected: TableId, actual: TableId },
    #[error("the checksum does not match")]
    Checksum,
    #[error("compression type {0} is not known")]
    Compression(u8),
    #[error("the compressed contents are malformed")]
    Decompression,
    #[error("the block is of kind {actual}, not of kind {expected}")]
    BlockKind { expected: u8, actual: u8 },
    #[error("the dictionary is malformed")]
    Dictionary,
    #[error("the range tombstones are malformed")]
    RangeTombstones,
    #[error("the root is malformed")]
    Root,
    #[error("a block of {bytes} bytes is claimed where {available} are")]
    BlockBounds { bytes: u64, available: u64 },
    #[error("the block's contents are malformed")]
    Block,
    #[error("the filter is malformed")]
    Filter,
    #[error("the properties are malformed")]
    Properties,
    #[error("the entries are out of order")]
    Order,
    #[error("an index entry does not match its block")]
    Index,
    #[error("the filter denies a key that the table holds")]
    FilterDenies,
    #[error("the properties do not match what the table holds")]
    PropertiesMismatch,
}

/// Why the writer refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum WriteError {
    /// Entries must come in order: key ascending, sequence number descending. Range tombstones must as well, by start
    /// and sequence number, and must either be of the same range or not touch the same keys.
    #[error("an entry or a range tombstone came out of order")]
    OutOfOrder,
    /// Zstandard was asked for and is not built, or a dictionary without it, or a dictionary that it refuses.
    #[error("this compression cannot be had")]
    Compression,
    /// A block cannot hold so large an entry.
    #[error("an entry of {bytes} bytes, a block holds up to {max}")]
    EntryTooLarge { bytes: usize, max: usize },
    /// A table without entries and range tombstones is never written.
    #[error("a table needs at least one entry or range tombstone")]
    Empty,
    /// The sink refused.
    #[error("cannot write at byte {offset}")]
    Io { offset: u64, source: io::Error },
    /// The budget has no room for the writer's buffers.
    #[error("no memory for the table being written")]
    Memory(#[from] AllocError),
}
