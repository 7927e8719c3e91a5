//! An embeddable LSM storage engine whose every byte of memory has one owner, one budget and one O(1) way out.
//!
//! Give it N MiB: what it accounts for never exceeds N, and it can say which byte belongs to whom.
//!
//! | room | what lives there |
//! |---|---|
//! | [`StorageEngine`], [`Builder`], [`Options`] | open, write, read, close |
//! | [`Keyspace`] | separate maps of keys to values in one database |
//! | [`WriteBatch`], [`Durability`] | changes that are one, and what they survive |
//! | [`Ingestion`] | much at once, sorted, past the log |
//! | [`Snapshot`], [`Cursor`], [`Request`] | reading a moment; walking it; results in an arena of their own |
//! | [`Compaction`], [`CompactionPolicy`] | what is merged when |
//! | [`Metrics`], [`EventListener`], [`Stall`] | what was done and how long it took; what is happening; why a writer waits |
//! | [`check`] | every checksum, order, manifest and filter of a closed database |
//! | [`vfs`], [`scheduler`], [`clock`], [`environment`] | what the engine asks of the system, and who answers |
//!
//! # Examples
//!
//! ```
//! # fn main() -> Result<(), kausal_engine::Error> {
//! # let folder = tempfile::tempdir().expect("a folder for the example");
//! use kausal_engine::{KeyRange, Options, StorageEngine, WriteBatch, WriteOptions};
//!
//! let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(16 << 20))?;
//! let mut batch = WriteBatch::new();
//! batch.put(b"fruit/apple", b"red")?;
//! batch.put(b"fruit/pear", b"green")?;
//! engine.write(&batch, WriteOptions::default())?;
//!
//! let mut cursor = engine.cursor(KeyRange::prefix(b"fruit/"))?;
//! assert!(cursor.seek_to_last()?);
//! assert_eq!(cursor.key(), Some(&b"fruit/pear"[..]));
//! println!("{}", engine.memory_report());
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod background;
mod batch;
mod blob;
mod changes;
mod check;
mod checkpoint;
pub mod clock;
mod close;
mod codec;
mod commit;
mod compaction;
mod core;
mod courtesy;
mod engine;
pub mod environment;
mod error;
pub mod event;
mod file_names;
mod flow;
mod flush;
mod generation;
mod ids;
mod ingest;
pub mod inspect;
mod job_memory;
mod keyspace;
mod large_batch;
mod level0;
mod listener;
mod manifest;
mod memory;
mod metrics;
mod options;
mod pace;
mod pinned;
mod planted;
mod range_fragments;
mod read;
mod recovery;
mod remedy;
mod replay;
mod request;
mod retention;
mod same_key;
mod scan;
pub mod scheduler;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod snapshot;
mod source;
mod spare_log;
mod spare_tables;
mod stats;
mod table_output;
mod table_syncs;
mod trace;
mod version;
pub mod vfs;
mod wal;
mod write;

pub use batch::WriteBatch;
pub use blob::VALUE_BYTES_MAX;
pub use check::{CheckReport, check};
pub use compaction::{Compaction, CompactionPolicy, Proposal, Step, TreeShape};
pub use engine::{Builder, CompactionPause, DefaultIndex, StorageEngine};
pub use environment::Environment;
pub use error::{Damage, Error};
pub use flow::Stall;
pub use ids::{FileNumber, KeyspaceId, TableId};
pub use ingest::Ingestion;
pub use kausal_arena::{MemoryEvent, MemoryEventKind, MemoryReport, NodeChange, NodeReport};
pub use kausal_sstable::Compression;
pub use keyspace::{KEYSPACE_NAME_BYTES_MAX, Keyspace};
pub use listener::{EngineEvent, EventListener};
#[cfg(feature = "metrics")]
pub use metrics::publish;
pub use metrics::{Latency, LevelFlow, Metrics, Reads, StallReason, StallTotals, Writes};
pub use options::{Durability, MEMORY_BUDGET_MIN, Options, WriteOptions};
pub use pinned::PinnedValue;
pub use recovery::{RecoveryReport, Salvaged};
pub use request::{Page, Pair, Request};
pub use scan::{Cursor, KeyRange, Lent, ValueReader};
pub use snapshot::Snapshot;
pub use stats::{LevelStats, Stats};

/// The tour of the README is run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
