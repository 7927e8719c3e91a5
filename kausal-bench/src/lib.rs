//! Benchmarks of the kausal crates: both sides of every ratio in one run, interleaved, medians of several samples.
//!
//! | room | what lives there |
//! |---|---|
//! | [`arena`] | allocation, reset and release against bump arenas and general purpose allocators |
//! | [`index`] | the in-memory indexes against each other and against the field's maps |
//! | [`get`] | the engine's read path, and what publishes its view |
//! | [`cache`] | the block cache against the field's caches, the merging cursor against a heap |
//! | [`memtable`] | a memtable beside its index and beside maps that own their entries |
//! | [`table`] | the table format against those of other engines |
//! | [`hot_paths`] | instructions of one operation of each hot path |
//! | [`peers`] | the whole engine against other stores |
//! | [`samples`], [`row`] | samples in turn and their medians; one measured number |
//! | [`text`], [`record`] | a result for people, and for the repository |
//! | [`report`], [`regression`] | the record with plots, for a browser; what became worse since another |
//! | [`chart`] | lines with names, for all plots |
//! | [`options`] | the command line |
//! | [`machine`] | where a record was made |
//! | [`heap`], [`maps`] | general purpose allocators as values, maps whose entries are dropped one by one |
//!
//! An absolute time on a shared machine means nothing; quote the ratio.

pub mod arena;
pub mod cache;
pub mod chart;
pub mod get;
pub mod heap;
pub mod hot_paths;
pub mod index;
pub mod machine;
pub mod maps;
pub mod memtable;
pub mod options;
pub mod peers;
pub mod record;
pub mod regression;
pub mod report;
pub mod row;
pub mod samples;
pub mod table;
pub mod text;
