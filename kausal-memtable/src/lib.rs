//! Memtables: the writes of the recent past, in one arena region each.
//!
//! | room | what lives there |
//! |---|---|
//! | [`Memtable`] | one region generation: permits, inserts, look-ups, cursors for the flush, accounting |
//! | [`Keyspace`], [`KeyspaceId`], [`BatchPart`] | one index and its range tombstones; what a batch needs there |
//! | [`RangeTombstones`], [`RangeTombstone`], [`Fragments`] | what covers a key at a snapshot, and the fragments a table stores |
//! | [`MemtableManager`], [`Tables`] | the active memtable and the frozen ones behind it, rotation, release |
//! | [`Pinned`] | a value that stays in its region while it lives, named in the memory report |
//! | [`Parked`], [`ParkingCursor`] | where a cursor stood, without holding anything |
//!
//! The crate constructs no arena: a manager receives the coordinator of its owner's region pool. It touches no
//! file: who flushes takes a memtable's cursors and writes what they show.
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
//! let sealed = manager.rotate(()).unwrap();
//! sealed.freeze().unwrap();
//! assert_eq!(sealed.get(b"apple", SeqNo::MAX).unwrap().value, b"red");
//! manager.release(&sealed);
//! drop((active, sealed));
//! assert_eq!(pool.coordinator().free_count(), 1, "its region is back, whole");
//! ```
#![forbid(unsafe_code)]

mod keyspace;
mod keyspaces;
mod manager;
mod memtable;
mod parking;
// A model checker's `Arc` is no cart. What pins is the arena's lease, which has models of its own.
#[cfg(not(any(loom, shuttle)))]
mod pinned;
mod range_tombstones;
mod tally;

pub use kausal_index::{KeyspaceId, RangeTombstone};
pub use keyspace::{BatchPart, KeyBounds, Keyspace};
pub use manager::{MemtableManager, RotateRefused, Tables};
pub use memtable::{BatchRefused, FreezeRefused, Memtable, MemtableBytes, Stage};
pub use parking::{Parked, ParkingCursor, Resumed, WalkRefused};
#[cfg(not(any(loom, shuttle)))]
pub use pinned::Pinned;
pub use range_tombstones::{Fragments, RangeRefused, RangeTombstones};

/// The tour of the README is run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
