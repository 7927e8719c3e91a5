//! The host's own pool above a budget: a tree need not be the top.
//!
//! 1. A root made by [`Budget::root_in`](super::Budget::root_in) asks the host's [`HostPool`] before it holds more than was
//!    granted so far, in quanta of [`HOST_QUANTUM_BYTES`] so that the host is asked rarely.
//! 2. What is no longer needed goes back in the same quanta, all of it when the tree is gone.
//! 3. The other way round, the host asks the tree: [`Budget::please_shrink`](super::Budget::please_shrink) lets idle chunks go
//!    (whoever keeps some is a [`Shrink`]) and gives back what is not in use.
//!
//! The host is called without any lock of ours held, so it may call back.

use std::sync::{Arc, Weak};

/// What is asked of the host at once, if it has that much.
pub const HOST_QUANTUM_BYTES: usize = 1 << 20;

/// The program's own memory pool, of which a budget tree is a part.
///
/// # Examples
///
/// ```
/// use kausal_arena::{AllocError, Budget, HostPool};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// #[derive(Default)]
/// struct Quota(AtomicUsize);
///
/// impl HostPool for Quota {
///     fn reserve(&self, bytes: usize) -> bool {
///         let taken = |used: usize| (used + bytes <= 4 << 20).then_some(used + bytes);
///         self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
///     }
///     fn release(&self, bytes: usize) {
///         self.0.fetch_sub(bytes, Ordering::Relaxed);
///     }
/// }
///
/// let host = Arc::new(Quota::default());
/// let root = Budget::root_in(host.clone(), "database", usize::MAX);
/// let held = root.reserve(3 << 20).unwrap();
/// assert!(matches!(root.reserve(2 << 20), Err(AllocError::HostRefused { .. })));
/// drop((held, root));
/// assert_eq!(host.0.load(Ordering::Relaxed), 0);
/// ```
pub trait HostPool: Send + Sync {
    /// Sets `bytes` aside for the tree; `false` if there are not so many.
    fn reserve(&self, bytes: usize) -> bool;

    /// Takes back `bytes` that were reserved.
    fn release(&self, bytes: usize);

    /// Asked once before the tree gives up: whether others of the host's let at least `bytes` go.
    fn please_shrink(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }
}

/// Whoever keeps memory only to be faster, and can let it go.
pub trait Shrink: Send + Sync {
    /// Lets go of about `bytes`, at once. Returns how many it were.
    fn shrink(&self, bytes: usize) -> usize;
}

/// What a tree knows of the world above it and of what it could let go.
#[derive(Default)]
pub(super) struct Outside {
    pub(super) host: Option<Arc<dyn HostPool>>,
    pub(super) shrinkers: parking_lot::Mutex<Vec<Weak<dyn Shrink>>>,
}

impl Outside {
    /// Asks the host for at least `missing` bytes. Returns what it granted.
    pub(super) fn grant(&self, missing: usize) -> Option<usize> {
        let host = self.host.as_ref()?;
        let quanta = missing.checked_next_multiple_of(HOST_QUANTUM_BYTES)?;
        [quanta, missing]
            .into_iter()
            .find(|&bytes| host.reserve(bytes))
            .or_else(|| (host.please_shrink(missing) && host.reserve(missing)).then_some(missing))
    }

    pub(super) fn give_back(&self, bytes: usize) {
        if let Some(host) = &self.host
            && bytes > 0
        {
            host.release(bytes);
        }
    }

    /// Asks every shrinker in turn until `bytes` are free.
    pub(super) fn shrink(&self, bytes: usize) -> usize {
        let shrinkers: Vec<_> = {
            let mut shrinkers = self.shrinkers.lock();
            shrinkers.retain(|shrinker| shrinker.strong_count() > 0);
            shrinkers.iter().filter_map(Weak::upgrade).collect()
        };
        let mut freed = 0;
        for shrinker in shrinkers {
            if freed >= bytes {
                break;
            }
            freed += shrinker.shrink(bytes - freed);
        }
        freed
    }
}
