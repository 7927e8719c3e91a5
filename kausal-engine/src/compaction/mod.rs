//! Compaction: fewer, larger tables on deeper levels, without what nobody can see any more.
//!
//! | room | what lives there |
//! |---|---|
//! | `policy` | which tables to merge next |
//! | `job` | merges them, streaming, within a fixed working set |

mod job;
mod policy;

pub(crate) use policy::{Pick, pick};
