//! Arenas with one owner, one budget and one O(1) way out.
//!
//! Memory is a tree. A subsystem owns an arena, charged to a named node of the [`Budget`]; its children get a
//! coordinator, a small handle that keeps working when the owner moves and when the arena is reset. Nothing is
//! freed one by one: the owner resets, in O(1). A reference used after that does not compile where lifetimes can
//! see it, and is a typed error elsewhere.
//!
//! Read in this order:
//!
//! | room | what lives there |
//! |---|---|
//! | [`Budget`], [`Allowance`], [`HostPool`], [`MemoryReport`] | who may hold how much, who holds it now |
//! | [`Arena`], [`ArenaCoordinator`], [`Scope`], [`Retain`] | the owner, the handle for children, the borrowed door |
//! | [`Lease`], [`Writer`], [`Handle`] | the counted door that reads and pins, the pen, the storable pointer |
//! | [`ArenaVec`], [`ArenaString`] | growing things in an arena |
//! | [`Subsystem`], [`ChildArena`], [`ChunkPool`] | arenas below arenas, and chunks that go round between them |
//! | [`RegionPool`], [`Region`], [`Permit`] | regions that go round, and room that is certain before a write |
//! | [`DoubleBuffer`], [`BufferRing`], [`Sealed`] | one buffer takes writes while another is drained |
//! | [`ScratchPool`], [`Scratch`], [`Pool`] | a request's own arena, objects that are lent |
//! | [`Published`], [`PerThread`] | a value that is read without a lock and replaced as a whole; cells that each thread has for itself |
//! | [`sync`], [`testing`](crate) | the door to atomics and locks; arenas for tests |
//!
//! # Features
//!
//! `serde`: reports can be serialised. `allocator-api2`: other crates' collections live in an arena. `sync-counts`: counts
//! locks and read-modify-writes per thread. `testing`: arenas for the tests of crates that may not make one.
//!
//! # Examples
//!
//! ```
//! use kausal_arena::{Arena, Budget, Retain};
//!
//! let budget = Budget::root("service", 1 << 20);
//! let mut arena = Arena::growing(&budget.child("names", 0, 256 << 10).unwrap());
//! let coordinator = arena.coordinator();
//!
//! let name = coordinator.writer().unwrap().try_alloc_handle(*b"kausal").unwrap();
//! assert_eq!(coordinator.lease().unwrap().resolve(name).unwrap(), b"kausal");
//!
//! arena.reset(Retain::Nothing).unwrap();
//! assert!(coordinator.lease().unwrap().resolve(name).is_err());
//! assert_eq!(budget.used(), 0);
//! println!("{}", budget.report());
//! ```

mod alloc;
#[cfg(feature = "allocator-api2")]
mod allocator_api;
mod arena;
mod body;
mod budget;
mod chunk;
mod chunk_pool;
mod coordinator;
mod double_buffer;
mod error;
mod fence;
mod fixed;
mod growing;
mod guard;
mod handle;
mod lease;
mod per_thread;
mod permits;
mod pool;
mod prefetch;
mod published;
mod region;
mod region_pool;
mod report;
mod scope;
mod scratch;
mod subsystem;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod vec;
mod writer;

pub use arena::{Arena, ArenaStats, Released, Retain};
pub use budget::{
    Allotment, Allowance, Budget, HOST_QUANTUM_BYTES, HostPool, MemoryEvent, MemoryEventKind, MemoryEvents,
    Reservation, Shrink,
};
pub use chunk_pool::ChunkPool;
pub use coordinator::ArenaCoordinator;
pub use double_buffer::{BufferCoordinator, BufferRing, BufferStates, DoubleBuffer, Sealed};
pub use error::{
    AllocError, ArenaClosed, DupeRefused, Holders, LeaseHolders, PermitRefused, PermitsLive, PoolExhausted,
    RegionUnavailable, ResetRefused, StaleHandle, StandbyLeased, SubsystemRefused,
};
pub use handle::Handle;
pub use lease::Lease;
pub use per_thread::PerThread;
pub use pool::{Pool, Pooled};
pub use prefetch::prefetch_line;
pub use published::Published;
pub use region::{Permit, Region};
pub use region_pool::{RegionCoordinator, RegionPool};
pub use report::{LeaseReport, MemoryReport, NodeChange, NodeReport};
pub use scope::Scope;
pub use scratch::{Scratch, ScratchPool};
pub use subsystem::{ChildArena, Subsystem};
pub use vec::{ArenaString, ArenaVec};
pub use writer::Writer;

/// The tour of the README is run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Everything that is handed between threads may be.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Arena>();
    shared::<ArenaCoordinator>();
    shared::<Lease>();
    shared::<RegionPool>();
    shared::<Region>();
    shared::<ChunkPool>();
    shared::<Subsystem>();
    shared::<DoubleBuffer>();
    shared::<Sealed>();
    shared::<Pool<Vec<u8>>>();
    shared::<Allowance>();
    shared::<Published<Vec<u8>>>();
    sent::<Writer>();
    sent::<Permit>();
    sent::<Scratch>();
    assert!(size_of::<ArenaCoordinator>() <= 16);
    assert!(size_of::<RegionCoordinator>() <= 16);
    assert!(size_of::<Handle<u8>>() == 16);
};
