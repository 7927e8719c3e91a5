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
//! | [`Budget`], [`MemoryReport`] | who may hold how much, who holds it now |
//! | [`Arena`], [`ArenaCoordinator`], [`Scope`] | the owner, the handle for children, the borrowed door |
//! | [`Lease`], [`Writer`], [`Handle`] | the counted door that reads and pins, the pen, the storable pointer |
//! | [`RegionPool`], [`Region`], [`Permit`] | regions that go round, and room that is certain before a write |
//! | [`ScratchPool`], [`Scratch`] | a request's own arena |
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

mod arena;
mod body;
mod budget;
mod chunk;
mod error;
mod handle;
mod lease;
mod permits;
mod region;
mod region_pool;
mod report;
mod scratch;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writer;

pub use arena::{Arena, ArenaCoordinator, ArenaStats, Released, Retain, Scope};
pub use budget::{Budget, Reservation};
pub use error::{
    AllocError, ArenaClosed, Holders, PermitRefused, PermitsLive, RegionUnavailable, ResetRefused,
    StaleHandle,
};
pub use handle::Handle;
pub use lease::Lease;
pub use region::{Permit, Region};
pub use region_pool::{RegionCoordinator, RegionPool};
pub use report::{MemoryReport, NodeReport};
pub use scratch::{Scratch, ScratchPool};
pub use writer::Writer;

/// Everything that is handed between threads may be.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Arena>();
    shared::<ArenaCoordinator>();
    shared::<Lease>();
    shared::<RegionPool>();
    shared::<Region>();
    sent::<Writer>();
    sent::<Permit>();
    sent::<Scratch>();
    assert!(size_of::<ArenaCoordinator>() <= 16);
    assert!(size_of::<RegionCoordinator>() <= 16);
    assert!(size_of::<Handle<u8>>() == 16);
};
