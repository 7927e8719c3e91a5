//! Blocks of entries: sorted, prefix-compressed, searchable.
//!
//! Data blocks and the index block share this layout. The contents:
//!
//! | part | layout |
//! |---|---|
//! | entries | shared key bytes (varint), further key bytes (varint), value bytes (varint), sequence number and kind (u64), key, value |
//! | restarts | offset (u32) of every sixteenth entry, whose key is stored whole |
//! | count | number of restarts (u32) |
//!
//! Entries are in cursor order: key ascending, sequence number descending.

mod builder;
mod cursor;

pub(crate) use builder::BlockBuilder;
pub(crate) use cursor::{BlockCursor, Position};
