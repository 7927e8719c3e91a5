//! Compaction: fewer, larger tables on deeper levels, without what nobody can see any more.
//!
//! A policy looks at the shape of one keyspace's tree and proposes a step; the engine takes the most urgent proposal of all
//! keyspaces, turns it into tables that may be merged without an older version passing a newer one, and merges them.
//!
//! | room | what lives there |
//! |---|---|
//! | `policy` | what a policy sees and says; the policies by name |
//! | `leveled` | few runs to read, more bytes written |
//! | `lazy_leveling` | more runs to read, few bytes written |
//! | `fifo` | nothing merged; the oldest dropped |
//! | `settle` | fewer runs of a leveled tree when nobody writes |
//! | `pick` | from a step to the tables that it takes |
//! | `range` | the same for a part of a keyspace that somebody asks for |
//! | `job` | merges them, streaming, within a fixed working set |
//! | `parts` | the same for ranges of their keys at the same time |

mod fifo;
mod job;
mod lazy_leveling;
mod leveled;
mod parts;
mod pick;
mod policy;
mod range;
mod settle;

pub(crate) use pick::{Goal, Pick, pick};
pub(crate) use policy::Setting;
pub use policy::{Compaction, CompactionPolicy, Proposal, Step, TreeShape};
