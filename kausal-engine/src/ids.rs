//! Identifiers shared by all rooms of the engine.

pub use kausal_sstable::{FileNumber, KeyspaceId, TableId};
