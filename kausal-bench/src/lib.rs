//! Benchmarks of the kausal crates: both sides of every ratio in one run, interleaved, medians of several samples.
//!
//! | room | what lives there |
//! |---|---|
//! | [`ratio`] | samples of two subjects in turn, and what their medians say |
//! | [`release_memtable`] | giving a memtable back by one drop of its region, against dropping the same entries one by one |
//!
//! An absolute time on a shared machine means nothing; quote the ratio.
#![forbid(unsafe_code)]

pub mod ratio;
pub mod release_memtable;
