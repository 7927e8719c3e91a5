//! A region generation and its permits: room that is certain before anything is logged.
//!
//! 1. [`Region::permit`] reserves a contiguous range for a batch's upper bound. If that succeeds, the inserts of
//!    the batch cannot fail for lack of memory; if not, nothing has happened and nothing may be logged.
//! 2. The permit's pen writes into that range and nowhere else. When the permit drops, the unused rest goes back, also where
//!    other permits were minted meanwhile: later ones get it.
//! 3. [`Region::freeze`] stops new permits at once and succeeds when none is out: from then on nobody writes.
//!
//! Invariant: after `freeze` has answered `Ok`, no permit exists and none will.

use std::fmt;

use crate::body::{BLOCK_ALIGN, Block};
use crate::error::{AllocError, PermitRefused, PermitsLive};
use crate::lease::Lease;
use crate::writer::Writer;

/// One generation of a pool's region: mints permits, leases and writers. Comes back to the pool when it and every
/// lease on it are gone.
pub struct Region {
    lease: Lease,
}

impl Region {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { lease }
    }

    /// A lease on this generation.
    #[track_caller]
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    pub(crate) fn as_lease(&self) -> &Lease {
        &self.lease
    }

    /// A pen that takes blocks from the region as it needs them, for what is not a batch.
    #[track_caller]
    pub fn writer(&self) -> Writer {
        self.lease.writer()
    }

    /// Number of this generation.
    pub fn generation(&self) -> u64 {
        self.lease.generation()
    }

    /// Bytes handed out so far: the capacity used, whether what lies there is live or dead.
    pub fn used(&self) -> usize {
        self.lease.used()
    }

    /// Bytes an empty generation has.
    pub fn capacity(&self) -> usize {
        self.lease.body().capacity()
    }

    /// Reserves `bytes` for one batch.
    ///
    /// # Errors
    ///
    /// [`PermitRefused`]; nothing is reserved then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kausal_arena::{Budget, RegionPool};
    /// # let pool = RegionPool::new(&Budget::unlimited("memtables"), 1 << 16, 1, || {}).unwrap();
    /// let region = pool.coordinator().take().unwrap();
    /// let permit = region.permit(1000).unwrap();
    /// assert!(region.freeze().is_err());
    /// permit.pen().try_alloc_slice_copy(&[1_u8; 600]).unwrap();
    /// drop(permit);
    /// assert!(region.used() < 700, "the rest came back");
    /// assert!(region.freeze().is_ok() && region.permit(1).is_err());
    /// ```
    #[track_caller]
    pub fn permit(&self, bytes: usize) -> Result<Permit, PermitRefused> {
        let max = self.capacity();
        if bytes > max {
            return Err(PermitRefused::TooLarge { need: bytes, max });
        }
        let body = self.lease.body();
        body.permits().mint()?;
        match body.take_for_permit(bytes) {
            Ok(block) => {
                // The pen refuses what the permit does not cover.
                let covered = bytes.next_multiple_of(BLOCK_ALIGN).min(block.bytes);
                let pen = Writer::on_block(self.lease(), Block { bytes: covered, ..block });
                Ok(Permit { pen, bytes, behind: block.bytes - covered })
            }
            Err(error) => {
                body.permits().end();
                let AllocError::Exhausted { need, have } = error else {
                    return Err(PermitRefused::Full { need: bytes, have: 0 });
                };
                Err(PermitRefused::Full { need, have })
            }
        }
    }

    /// Stops new permits, and answers whether the last one has ended.
    ///
    /// # Errors
    ///
    /// [`PermitsLive`] while permits are out; no new ones are minted, so asking again succeeds in the end.
    pub fn freeze(&self) -> Result<(), PermitsLive> {
        self.lease.body().permits().seal()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Region").field("lease", &self.lease).field("used", &self.used()).finish()
    }
}

/// The right to write one batch: a lease on the generation and a physical reservation in its region.
///
/// The log takes a `&Permit` as evidence: no reservation, no log record.
#[must_use = "dropping a permit gives its reservation back"]
pub struct Permit {
    pen: Writer,
    bytes: usize,
    /// Bytes behind the pen's block that go back with its rest.
    behind: usize,
}

impl Permit {
    /// The pen that writes into the reservation. It refuses what the reservation does not cover.
    pub fn pen(&self) -> &Writer {
        &self.pen
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Generation of the region the permit is for.
    pub fn generation(&self) -> u64 {
        self.pen.lease().generation()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // First the rest of the reservation goes back, then the region may freeze.
        self.pen.finish_before(self.behind);
        self.pen.lease().body().permits().end();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Permit").field("pen", &self.pen).field("bytes", &self.bytes).finish()
    }
}
