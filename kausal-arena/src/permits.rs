//! The count of permits on one generation, and the seal that lets no more be minted.

use crate::error::{PermitRefused, PermitsLive};
use crate::sync::{AtomicU64, Ordering};

/// Set once the region is being frozen; the lower bits count the permits that are out.
const SEALED: u64 = 1 << 63;

#[derive(Debug)]
pub(crate) struct Permits {
    state: AtomicU64,
}

impl Default for Permits {
    fn default() -> Self {
        Self { state: AtomicU64::new(0) }
    }
}

impl Permits {
    pub(crate) fn mint(&self) -> Result<(), PermitRefused> {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & SEALED == 0 {
            // Relaxed: a permit publishes nothing when it is minted.
            let minted =
                self.state.compare_exchange_weak(state, state + 1, Ordering::Relaxed, Ordering::Relaxed);
            match minted {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
        Err(PermitRefused::Sealed)
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
