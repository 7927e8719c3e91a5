//! The count of permits on one generation, and the seal that lets no more be minted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{PermitRefused, PermitsLive};

/// Set once the region is being frozen; the lower bits count the permits that are out.
const SEALED: u64 = 1 << 63;

#[derive(Debug, Default)]
pub(crate) struct Permits {
    state: AtomicU64,
}

impl Permits {
    /// Forgets seal and count, for a new generation that nobody else can reach yet.
    pub(crate) fn begin(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    pub(crate) fn mint(&self) -> Result<(), PermitRefused> {
        // Relaxed: a permit publishes nothing when it is minted.
        let minted = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            (state & SEALED == 0).then_some(state + 1)
        });
        minted.map(|_| ()).map_err(|_| PermitRefused::Sealed)
    }

    pub(crate) fn end(&self) {
        // Release: pairs with the Acquire in `seal`.
        self.state.fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn seal(&self) -> Result<(), PermitsLive> {
        // Acquire: pairs with the Release in `end`; who freezes sees all that was written under permits.
        match self.state.fetch_or(SEALED, Ordering::Acquire) & !SEALED {
            0 => Ok(()),
            permits => Err(PermitsLive { permits: permits as usize }),
        }
    }
}
