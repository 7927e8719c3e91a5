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

/// Everybody there is, in the order of the table, whether built in or not.
pub const NAMES: [&str; 7] = [OURS, "fjall", "rocksdb", "heed", "redb", "sled", "surrealkv"];

/// Everybody who is built in, ours first.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind { name: OURS, open: kausal::open },
        #[cfg(feature = "peer-fjall")]
        Kind { name: "fjall", open: fjall::open },
        #[cfg(feature = "peer-rocksdb")]
        Kind { name: "rocksdb", open: rocksdb::open },
        #[cfg(feature = "peer-heed")]
        Kind { name: "heed", open: heed::open },
        #[cfg(feature = "peer-redb")]
        Kind { name: "redb", open: redb::open },
        #[cfg(feature = "peer-sled")]
        Kind { name: "sled", open: sled::open },
        #[cfg(feature = "peer-surrealkv")]
        Kind { name: "surrealkv", open: surrealkv::open },
    ]
}

#[cfg(test)]
mod tests;
