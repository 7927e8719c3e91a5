//! The stores that are built in, each in a file of its own.

#[cfg(feature = "peer-fjall")]
pub mod fjall;
#[cfg(feature = "peer-heed")]
pub mod heed;
pub mod kausal;
#[cfg(feature = "peer-redb")]
pub mod redb;
#[cfg(feature = "peer-rocksdb")]
pub mod rocksdb;
#[cfg(feature = "peer-sled")]
pub mod sled;
#[cfg(feature = "peer-surrealkv")]
pub mod surrealkv;

use super::store::Kind;

/// Who is compared with the others.
pub const OURS: &str = "kausal";

/// Ours again, with mapped tables: nobody's peer. Its rows are those of [`MAPPED_WORKLOADS`].
pub const MAPPED: &str = "kausal-mapped";

/// What [`MAPPED`] is measured by: reads, with less cache than there is data.
pub const MAPPED_WORKLOADS: &[&str] = &["readrandom/quarter", "readwhilewriting", "ycsb_b", "ycsb_e"];

/// Everybody there is, in the order of the table, whether built in or not; [`MAPPED`] apart.
pub const NAMES: [&str; 7] = [OURS, "fjall", "rocksdb", "heed", "redb", "sled", "surrealkv"];

/// Everybody who is built in, ours first.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind { name: OURS, open: kausal::open, workloads: None },
        #[cfg(unix)]
        Kind { name: MAPPED, open: kausal::open_mapped, workloads: Some(MAPPED_WORKLOADS) },
        #[cfg(feature = "peer-fjall")]
        Kind { name: "fjall", open: fjall::open, workloads: None },
        #[cfg(feature = "peer-rocksdb")]
        Kind { name: "rocksdb", open: rocksdb::open, workloads: None },
        #[cfg(feature = "peer-heed")]
        Kind { name: "heed", open: heed::open, workloads: None },
        #[cfg(feature = "peer-redb")]
        Kind { name: "redb", open: redb::open, workloads: None },
        #[cfg(feature = "peer-sled")]
        Kind { name: "sled", open: sled::open, workloads: None },
        #[cfg(feature = "peer-surrealkv")]
        Kind { name: "surrealkv", open: surrealkv::open, workloads: None },
    ]
}

#[cfg(test)]
mod tests;
