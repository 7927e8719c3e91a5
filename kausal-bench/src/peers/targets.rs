//! What the engine is held to against its peers: musts, and stretches that may be missed with an explanation.

use crate::row::Grade::{self, Must, Stretch};

/// Whom a target is against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Everybody.
    All,
    /// fjall and RocksDB, in runs in which they lose nothing that was committed.
    Lsm,
    /// This one.
    Peer(&'static str),
}

/// Workload, metric, whom it is against, the least ratio, and whether that is a must.
pub type Target = (&'static str, &'static str, Against, f64, Grade);

/// All of them, in the order of the table.
pub const RATIOS: &[Target] = &[
    ("fillseq", "rate", Against::All, 3.0, Must),
    ("fillseq", "rate", Against::All, 5.0, Stretch),
    ("fillseq", "rate_with_settle", Against::All, 1.5, Must),
    ("fillrandom", "rate", Against::All, 3.0, Must),
    ("fillrandom", "rate", Against::All, 5.0, Stretch),
    ("fillrandom", "rate_with_settle", Against::All, 1.5, Must),
    ("fillrandom", "cpu", Against::Lsm, 2.5, Must),
    ("overwrite", "rate", Against::All, 3.0, Must),
    ("overwrite", "rate", Against::All, 5.0, Stretch),
    ("overwrite", "rate_with_settle", Against::All, 1.5, Must),
    ("deleterandom", "rate", Against::All, 3.0, Must),
    ("deleterandom", "rate", Against::All, 5.0, Stretch),
    ("deleterandom", "rate_with_settle", Against::All, 1.5, Must),
    ("fillbatch", "rate", Against::All, 3.5, Must),
    ("put/4", "rate", Against::All, 3.0, Must),
    ("fillsync/1", "rate", Against::All, 1.0, Must),
    ("fillsync/4", "rate", Against::All, 1.4, Must),
    ("fillsync/16", "rate", Against::All, 2.0, Must),
    ("load", "rate", Against::All, 1.3, Must),
    ("fill1k", "rate", Against::All, 2.5, Must),
    ("readrandom/cached", "rate", Against::Peer("heed"), 1.1, Must),
    ("readrandom/cached", "rate", Against::Peer("heed"), 1.4, Stretch),
    ("readrandom/cached", "rate", Against::Lsm, 3.5, Must),
    ("readrandom/quarter", "rate", Against::Lsm, 3.0, Must),
    ("readrandom/quarter", "rate", Against::Lsm, 4.0, Stretch),
    ("readrandom/quarter", "rate", Against::Peer("heed"), 0.6, Must),
    ("readmissing", "rate", Against::All, 1.5, Must),
    ("seekrandom", "rate", Against::Lsm, 8.0, Must),
    ("readseq", "rate", Against::Lsm, 5.0, Must),
    ("readwhilewriting", "rate", Against::Lsm, 4.5, Must),
    ("readwhilewriting", "rate", Against::Peer("heed"), 1.0, Stretch),
    ("ycsb_a", "rate", Against::All, 3.0, Must),
    ("ycsb_b", "rate", Against::All, 1.5, Must),
    ("ycsb_e", "rate", Against::Lsm, 4.0, Must),
    ("open", "per_entry", Against::Lsm, 5.0, Must),
    ("latency/put", "slowest", Against::Peer("fjall"), 20.0, Must),
    ("latency/put", "slowest", Against::Peer("rocksdb"), 0.2, Must),
];

/// Those of ours with mapped tables, which has the kernel's page cache on top of its memory, as LMDB has.
pub const MAPPED_RATIOS: &[Target] = &[("readrandom/quarter", "rate", Against::Peer("heed"), 1.1, Stretch)];

/// Two threads put at least this much faster than one.
pub const SCALING: f64 = 1.3;

/// Opening takes at most this many times the least that it has to do.
pub const OF_FLOOR: f64 = 2.0;

/// Memory in use is at most this many budgets, and [`MEMORY_FIXED`] bytes.
pub const MEMORY: f64 = 1.1;

/// Bytes beside the budget.
pub const MEMORY_FIXED: f64 = (16 << 20) as f64;

/// Entries that may be lost with a killed process, in percent.
pub const LOST: f64 = 0.0;
