//! Sorted string tables: entries in key order in one immutable file, every byte of it under a checksum.
//!
//! | room | what lives there |
//! |---|---|
//! | [`TableWriter`], [`TableSink`] | writes a table from front to back |
//! | [`Table`], [`TableSource`], [`FileBytes`] | opens, looks up, verifies; what is lent from a mapped file |
//! | [`TableCursor`], [`RunCursor`], [`MergingCursor`] | ordered walks over a table, a level, anything |
//! | [`BlockSource`], [`BlockBuffer`] | where the bytes of blocks come from |
//! | [`BlockCache`], [`CachedBlocks`], [`PinnedBlock`], [`Pinned`] | blocks kept in memory of a fixed size |
//! | [`Properties`], [`Footer`], [`TableError`] | what a table says about itself, and what may be wrong with it |
//!
//! The crate opens no file: it writes to a sink and reads from a source that its user brings. `FORMAT.md` beside this
//! crate is enough to write a second reader.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use kausal_arena::Budget;
//! use kausal_index::{EntryRef, Kind, SeqNo};
//! use kausal_sstable::{BlockBuffer, FileNumber, KeyspaceId, Table, TableId, TableOptions, TableWriter};
//!
//! let budget = Budget::root("tables", 4 << 20);
//! let mut writer =
//!     TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, TableOptions::default(), &budget).unwrap();
//! let seqno = SeqNo::new(1).unwrap();
//! for key in [b"apple", b"beech"] {
//!     writer.add(EntryRef { key, seqno, kind: Kind::Put, value: b"tree" }).unwrap();
//! }
//! let (file, _) = writer.finish().unwrap();
//!
//! let table = Table::open(Arc::new(file), FileNumber(1), None, &budget).unwrap();
//! let mut buffer = BlockBuffer::new(&budget).unwrap();
//! assert_eq!(table.get(b"beech", SeqNo::MAX, &mut buffer).unwrap().unwrap().value, b"tree");
//! ```
// Only the block cache has some, in the files that ARCHITECTURE.md names.
#![deny(unsafe_code)]

mod align;
mod block;
mod blocks;
mod buffer;
mod cache;
mod cached;
mod compression;
mod cursor;
mod error;
mod file;
mod filter;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod growth;
mod ids;
mod index;
mod lookup;
mod mapped;
mod merge;
mod pooled;
mod prefetch;
mod properties;
mod range_tombstones;
mod reader;
mod run;
mod segment;
mod source;
mod verify;
mod writer;

pub use blocks::BlockInfo;
pub use buffer::BlockBuffer;
pub use cache::{
    BlockCache, BlockCacheOptions, BlockClass, BlockKey, CacheStats, ClassStats, FrameHint, InsertError,
    Peek, Pinned, PinnedBlock, Refusal,
};
pub use cached::CachedBlocks;
pub use compression::{Compression, Decompressor};
pub use cursor::TableCursor;
pub use error::{Damage, TableError, WriteError};
pub use file::{StoredBlock, TableFile, TableSource};
pub use filter::KeyHash;
pub use format::{BlockHandle, BlockKind, FORMAT_VERSION, Footer, TRAILER_BYTES};
pub use ids::{FileNumber, TableId};
pub use kausal_index::{KeyspaceId, RangeTombstone};
pub use lookup::{BufferPool, LookupBlocks};
pub use mapped::FileBytes;
pub use merge::{MergeMemory, MergingCursor};
pub use pooled::PooledBuffer;
pub use properties::Properties;
pub use range_tombstones::RangeTombstones;
pub use reader::{Approach, Residency, Table};
pub use run::RunCursor;
pub use source::BlockSource;
pub use verify::Verified;
pub use writer::{TableOptions, TableSink, TableSummary, TableWriter, WriterMemory};

/// The tour of the README is run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
