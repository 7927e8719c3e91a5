//! Double buffering: one buffer takes writes while another is drained, and comes back empty by itself.
//!
//! 1. Writers and permits are had from the active buffer, through a [`BufferCoordinator`].
//! 2. [`BufferRing::swap`] makes a standby buffer active and returns [`Sealed`], a lease on the former active one that
//!    was taken before the switch and keeps its bytes for the flush. While no buffer is standing by, `swap` answers
//!    [`StandbyLeased`] and changes nothing. Swap itself never resets.
//! 3. When the [`Sealed`] has been dropped, the buffer is draining: others may still lease it. When the last lease ends,
//!    it is reset in O(1) and stands by.
//!
//! active → sealed → draining → standby; with [`DoubleBuffer`] there are two, with a [`BufferRing`] any number.
//!
//! Invariants:
//! 1. A buffer with a live lease is never reset (body invariant 1): the memory architecture's sketch of this pattern
//!    reset the former active buffer at once, before anybody had flushed it.
//! 2. Exactly one buffer is active at any time, and who writes through the coordinator writes into it.
//!
//! Built on [`RegionPool`]. Not here: when to swap. The memtable manager decides that.

use std::fmt;
use std::ops::Deref;

use crate::budget::Budget;
use crate::error::{
    AllocError, ArenaClosed, LeaseHolders, PermitRefused, PermitsLive, RegionUnavailable, StandbyLeased,
};
use crate::lease::Lease;
use crate::region::{Permit, Region};
use crate::region_pool::RegionPool;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::writer::Writer;

/// Two buffers: one active, one sealed, draining or standing by.
pub type DoubleBuffer = BufferRing<2>;

/// How many buffers of a ring are in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferStates {
    /// Takes writes. One, until the owner is gone.
    pub active: usize,
    /// Has been swapped out, and its [`Sealed`] lives.
    pub sealed: usize,
    /// Its [`Sealed`] is gone, and somebody still leases it.
    pub draining: usize,
    /// Empty, and may become active.
    pub standby: usize,
}

/// Owner of `N` equal buffers, at least two, of which one is active.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Budget, DoubleBuffer};
///
/// let budget = Budget::root("log buffers", 256 << 10);
/// let mut buffers = DoubleBuffer::new(&budget, 64 << 10).unwrap();
/// let coordinator = buffers.coordinator();
/// let line = coordinator.writer().unwrap().alloc_handle_slice_copy(b"first line");
///
/// let sealed = buffers.swap().unwrap();
/// coordinator.writer().unwrap().alloc_slice_copy(b"goes into the other buffer");
/// assert!(buffers.swap().is_err(), "the first buffer has not been drained yet");
/// assert_eq!(sealed.resolve(line).unwrap(), b"first line");
///
/// drop(sealed); // reset in O(1), now that nobody reads it
/// assert!(buffers.swap().is_ok());
/// ```
///
/// A sealed buffer has nothing that resets it, however early somebody tries:
/// ```compile_fail,E0599
/// # let budget = kausal_arena::Budget::unlimited("log buffers");
/// # let mut buffers = kausal_arena::DoubleBuffer::new(&budget, 64 << 10).unwrap();
/// let sealed = buffers.swap().unwrap();
/// sealed.reset();
/// ```
pub struct BufferRing<const N: usize> {
    shared: Arc<Shared>,
    pool: RegionPool,
    budget: Budget,
}

struct Shared {
    /// `None` once the owner is gone.
    active: Mutex<Option<Region>>,
    sealed: Arc<AtomicUsize>,
}

impl<const N: usize> BufferRing<N> {
    /// A ring of `N` buffers of at least `bytes` (header of 128 included), obtained at once and charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the budget or the operating system refuses.
    pub fn new(budget: &Budget, bytes: usize) -> Result<Self, AllocError> {
        const { assert!(N >= 2, "a ring needs a buffer to swap to") };
        let pool = RegionPool::new(budget, bytes, N, || {})?;
        let first = pool.coordinator().take().expect("a new pool has its regions");
        let shared = Shared { active: Mutex::new(Some(first)), sealed: Arc::new(AtomicUsize::new(0)) };
        Ok(Self { shared: Arc::new(shared), pool, budget: budget.clone() })
    }

    /// A handle for children, who write into whichever buffer is active.
    pub fn coordinator(&self) -> BufferCoordinator {
        BufferCoordinator { shared: Arc::clone(&self.shared) }
    }

    /// Makes a standby buffer active and returns the former active one. O(1).
    ///
    /// Writers that were had before go on writing into the sealed buffer until they drop; who must know that nobody does
    /// writes under permits, and asks [`Sealed::freeze`].
    ///
    /// # Errors
    ///
    /// [`StandbyLeased`] if no buffer stands by; nothing has changed then.
    pub fn swap(&mut self) -> Result<Sealed, StandbyLeased> {
        let next = match self.pool.coordinator().take() {
            Ok(region) => region,
            Err(RegionUnavailable::Exhausted { .. } | RegionUnavailable::Closed) => {
                let states = self.states();
                let holders = LeaseHolders(self.budget.leases());
                return Err(StandbyLeased { sealed: states.sealed, draining: states.draining, holders });
            }
        };
        // Relaxed: a number for reports.
        self.shared.sealed.fetch_add(1, Ordering::Relaxed);
        let former = self.shared.active.lock().replace(next);
        let region = former.expect("the active buffer is taken out only by drop");
        Ok(Sealed { region, sealed: Arc::clone(&self.shared.sealed) })
    }

    /// How many buffers are in which state, at a moment in which nobody swaps or lets go.
    pub fn states(&self) -> BufferStates {
        let (sealed, standby) =
            (self.shared.sealed.load(Ordering::Relaxed), self.pool.coordinator().free_count());
        BufferStates { active: 1, sealed, draining: N.saturating_sub(1 + sealed + standby), standby }
    }
}

impl<const N: usize> Drop for BufferRing<N> {
    fn drop(&mut self) {
        let active = self.shared.active.lock().take();
        drop(active);
    }
}

impl<const N: usize> fmt::Debug for BufferRing<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BufferRing").field("states", &self.states()).finish_non_exhaustive()
    }
}

/// Cheap handle to the active buffer of somebody else's ring: writes and reads, cannot swap. 8 bytes.
#[derive(Clone)]
pub struct BufferCoordinator {
    shared: Arc<Shared>,
}

impl BufferCoordinator {
    /// Pins the active buffer.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    #[track_caller]
    pub fn lease(&self) -> Result<Lease, ArenaClosed> {
        // Under the lock the buffer stays the active one between the look and the hold.
        self.shared.active.lock().as_ref().map(Region::lease).ok_or(ArenaClosed)
    }

    /// A pen on the active buffer.
    ///
    /// # Errors
    ///
    /// [`ArenaClosed`] if the owner is gone.
    #[track_caller]
    pub fn writer(&self) -> Result<Writer, ArenaClosed> {
        self.shared.active.lock().as_ref().map(Region::writer).ok_or(ArenaClosed)
    }

    /// Room for `bytes` in the active buffer, certain before it is used.
    ///
    /// # Errors
    ///
    /// [`PermitRefused`]; `Full` means: swap and ask again. `Sealed` if the owner is gone.
    pub fn permit(&self, bytes: usize) -> Result<Permit, PermitRefused> {
        self.shared.active.lock().as_ref().ok_or(PermitRefused::Sealed)?.permit(bytes)
    }
}

impl fmt::Debug for BufferCoordinator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BufferCoordinator").finish_non_exhaustive()
    }
}

/// A lease on a buffer that was swapped out: its bytes stay until this and every other lease on it are gone.
pub struct Sealed {
    region: Region,
    sealed: Arc<AtomicUsize>,
}

impl Sealed {
    /// Stops new permits, and answers whether the last one has ended: from then on nobody writes under a permit.
    ///
    /// # Errors
    ///
    /// [`PermitsLive`] while permits are out; ask again.
    pub fn freeze(&self) -> Result<(), PermitsLive> {
        self.region.freeze()
    }

    /// Bytes in use in the buffer.
    pub fn used(&self) -> usize {
        self.region.used()
    }
}

impl Deref for Sealed {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        self.region.as_lease()
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.sealed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Sealed").field(&self.region).finish()
    }
}
