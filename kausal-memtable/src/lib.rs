//! Memtables: the writes of the recent past, in one arena region each.
//!
//! | room | what lives there |
//! |---|---|
//! | [`Memtable`] | one index in one region generation: permits, inserts, look-ups, a cursor for the flush |
//! | [`MemtableManager`] | the active memtable and the frozen ones behind it, rotation, release |
//!
//! The crate constructs no arena: a manager receives the coordinator of its owner's region pool. It touches no
//! file: who flushes takes a memtable's cursor and writes what it shows.
//!
//! # Examples
//!
//! ```
//! use kausal_arena::{Budget, RegionPool};
//! use kausal_index::{EntryRef, Kind, SeqNo, TreeIndex};
//! use kausal_memtable::MemtableManager;
//!
//! let pool = RegionPool::new(&Budget::root("memtables", 4 << 20), 1 << 20, 2, || {}).unwrap();
//! let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
//!
//! let active = manager.active();
//! let permit = active.permit(1, 11).unwrap();
//! let seqno = SeqNo::new(1).unwrap();
//! active.insert(&permit, EntryRef { key: b"apple", seqno, kind: Kind::Put, value: b"red" }).unwrap();
//! drop(permit);
//!
//! let frozen = manager.rotate(()).unwrap();
//! assert_eq!(frozen.get(b"apple", SeqNo::MAX).unwrap().value, b"red");
//! manager.release(&frozen);
//! ```
#![forbid(unsafe_code)]

mod manager;
mod memtable;

pub use manager::{MemtableManager, RotateRefused, Tables};
pub use memtable::{Memtable, Stage};
