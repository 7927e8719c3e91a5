//! In-memory indexes over arena memory: the vocabulary of entries and cursors, the trait of an index, and
//! implementations of it.
//!
//! | room | what lives there |
//! |---|---|
//! | [`EntryRef`], [`SeqNo`], [`Kind`] | what is stored and how it is ordered |
//! | [`Cursor`] | one ordered walk, for memtables, tables and merges |
//! | [`BlockIndex`] | what a memtable asks of its index, with the laws |
//! | [`TreeIndex`] | concurrent B-link tree in a region: readers never wait, walks are cheap |
//! | [`SkipListIndex`] | lock-free skip list in a region |
//! | [`HashIndex`] | hash table over a log in a region: look-ups in two cache misses, ordered only once frozen |
//! | [`ArtIndex`] | adaptive radix tree in a region; long shared prefixes cost nothing |
//! | [`BTreeIndex`] | the oracle, and the model of a new implementation |
//! | `conformance` | the contract as tests, for any index (feature `conformance`) |
//!
//! An index constructs no arena and does no I/O. It owns a lease on a region generation and writes through the
//! pens that its callers bring.
//!
//! # Examples
//!
//! ```
//! use kausal_index::{BlockIndex, Cursor, EntryRef, Kind, SeqNo, SkipListIndex};
//!
//! let region = kausal_arena::testing::region(1 << 16);
//! let pen = region.writer();
//! let index = SkipListIndex::create(region.lease(), &pen).unwrap();
//! for (number, key) in [(1, b"pear"), (2, b"plum"), (3, b"fig ")] {
//!     let seqno = SeqNo::new(number).unwrap();
//!     index.insert(&pen, EntryRef { key, seqno, kind: Kind::Put, value: b"" }).unwrap();
//! }
//! let mut cursor = index.cursor().unwrap();
//! cursor.seek_to_first().unwrap();
//! assert_eq!(cursor.entry().unwrap().key, b"fig ");
//! ```

mod art;
mod block_index;
#[cfg(not(loom))]
mod btree;
#[cfg(all(feature = "conformance", not(any(loom, shuttle))))]
pub mod conformance;
mod cursor;
mod entry;
mod hash;
mod keyspace;
mod memory;
mod skip_list;
mod tally;
mod tree;

pub use art::ArtIndex;
pub use block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
#[cfg(not(loom))]
pub use btree::BTreeIndex;
pub use cursor::Cursor;
pub use entry::{Entry, EntryRef, KEY_BYTES_MAX, Kind, PackedSeqNo, SeqNo, compare_positions};
pub use hash::HashIndex;
pub use keyspace::{KeyspaceId, RangeTombstone};
pub use skip_list::SkipListIndex;
pub use tree::TreeIndex;

/// The tour of the README is run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
