//! Allowances: many small charges on one node without its lock.
//!
//! An allowance draws quanta from its node and hands out parts of them by one atomic operation. The node counts whole
//! quanta as used, so its limit holds at every instant; what is handed out is exact in the allowance itself.

use std::fmt;
use std::sync::Arc;

use crate::budget::{Budget, Reservation};
use crate::error::AllocError;
use crate::sync::{AtomicUsize, Mutex, Ordering, fence, spin_loop};

/// Small charges drawn from quanta of a [`Budget`] node. Cloning gives another handle on the same allowance.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Allowance, Budget};
///
/// let node = Budget::root("pinned values", 1 << 20);
/// let allowance = Allowance::new(&node, 64 << 10);
/// let pin = allowance.take(100).unwrap();
/// assert_eq!((allowance.used(), node.used()), (100, 64 << 10));
/// drop(pin);
/// allowance.settle();
/// assert_eq!(node.used(), 0);
/// ```
#[derive(Clone)]
pub struct Allowance {
    shared: Arc<Shared>,
}

struct Shared {
    quantum: usize,
    /// Handed out.
    used: AtomicUsize,
    /// May be handed out. Grows only under the lock below, and after the node was charged.
    drawn: AtomicUsize,
    charge: Mutex<Reservation>,
}

impl Allowance {
    /// An allowance on `node` that draws `quantum` bytes (at least one) at a time. Draws nothing yet.
    pub fn new(node: &Budget, quantum: usize) -> Self {
        let charge = Mutex::new(Reservation::empty(node));
        let (used, drawn) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { quantum: quantum.max(1), used, drawn, charge }) }
    }

    /// Takes `bytes`, which come back when the result drops. One atomic operation if they have been drawn already.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the node does not admit another quantum, or there is no machine with so much; nothing is taken then.
    pub fn take(&self, bytes: usize) -> Result<Allotment, AllocError> {
        while !self.shared.try_take(bytes) {
            self.draw(bytes)?;
        }
        Ok(Allotment { shared: Arc::clone(&self.shared), bytes })
    }

    /// Bytes handed out now.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// Gives quanta that are not in use back to the node. Returns the bytes.
    pub fn settle(&self) -> usize {
        let mut charge = self.shared.charge.lock();
        let drawn = charge.bytes();
        let mut used = self.shared.used.load(Ordering::Relaxed);
        loop {
            let keep =
                used.checked_next_multiple_of(self.shared.quantum).map_or(drawn, |keep| keep.min(drawn));
            // First nobody may take them any more, then they go back.
            self.shared.drawn.store(keep, Ordering::Relaxed);
            // SeqCst: pairs with the fence in `try_take`.
            fence(Ordering::SeqCst);
            used = self.shared.used.load(Ordering::Relaxed);
            if used <= keep {
                charge.shrink_to(keep);
                return drawn - keep;
            }
            // Somebody took from what was just withdrawn, or is about to notice that they may not.
            spin_loop();
        }
    }

    fn draw(&self, bytes: usize) -> Result<(), AllocError> {
        let mut charge = self.shared.charge.lock();
        let used = self.shared.used.load(Ordering::Relaxed);
        // Below this no multiple of the quantum that is looked for wraps around.
        let max = isize::MAX as usize;
        let need = used.checked_add(bytes).filter(|need| *need <= max);
        let need = need.ok_or(AllocError::TooLarge { bytes, max })?;
        if need > charge.bytes() {
            let wish = need.checked_next_multiple_of(self.shared.quantum).unwrap_or(need);
            charge.resize(wish).or_else(|_| charge.resize(need))?;
        }
        self.shared.drawn.store(charge.bytes(), Ordering::Relaxed);
        Ok(())
    }
}

impl Shared {
    fn try_take(&self, bytes: usize) -> bool {
        let mut used = self.used.load(Ordering::Relaxed);
        let after = loop {
            let Some(after) = used.checked_add(bytes) else { return false };
            if after > self.drawn.load(Ordering::Relaxed) {
                return false;
            }
            match self.used.compare_exchange_weak(used, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break after,
                Err(now) => used = now,
            }
        };
        // SeqCst: this raises `used` and then looks at `drawn`, while `settle` lowers `drawn` and then looks at `used`. With a
        // fence between the two on both sides, one of them sees the other, and what is handed out is never given back.
        fence(Ordering::SeqCst);
        let admitted = after <= self.drawn.load(Ordering::Relaxed);
        if !admitted {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        admitted
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, drawn) = (self.used(), self.shared.drawn.load(Ordering::Relaxed));
        out.debug_struct("Allowance").field("used", &used).field("drawn", &drawn).finish_non_exhaustive()
    }
}

/// Bytes taken from an [`Allowance`]; they go back when it drops.
#[must_use = "dropping an allotment gives its bytes back at once"]
pub struct Allotment {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Allotment {
    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Allotment {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Allotment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Allotment").field("bytes", &self.bytes).finish()
    }
}
