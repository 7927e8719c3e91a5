//! What can be refused, as values.
//!
//! Running out of memory is an ordinary outcome here: every refusal says how much was asked for, how much there
//! was, and who holds the rest. Nothing has changed when one of these is returned.

use std::fmt;
use std::sync::Arc;

use crate::report::LeaseReport;

/// Holders named in a refusal.
const HOLDERS_MAX: usize = 3;

/// The largest holders of a budget at the moment of a refusal, at most three, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders([Option<(Arc<str>, usize)>; HOLDERS_MAX]);

impl Holders {
    /// Name and bytes of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().flatten().map(|(name, bytes)| (&**name, *bytes))
    }

    /// Puts a holder in its place, if it is among the largest. Allocates nothing: a refusal is an ordinary answer.
    pub(crate) fn add(&mut self, name: &Arc<str>, bytes: usize) {
        let place = self.0.iter().position(|held| held.as_ref().is_none_or(|(_, held)| *held < bytes));
        if let Some(place) = place {
            self.0[place..].rotate_right(1);
            self.0[place] = Some((Arc::clone(name), bytes));
        }
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0[0].is_none() {
            return out.write_str("nobody");
        }
        for (place, (name, bytes)) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(out, "{comma}{name} ({bytes} bytes)")?;
        }
        Ok(())
    }
}

/// Why memory was not handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum AllocError {
    /// A fixed region, a permit or a request arena has too little room. A smaller allocation may succeed.
    #[error("{need} bytes needed, the arena has {have} left")]
    Exhausted { need: usize, have: usize },
    /// A node of the budget tree is at its ceiling. Succeeds once a holder gives something back.
    #[error("budget `{node}`: {need} bytes needed, {have} free; largest holders: {holders}")]
    BudgetExceeded { node: Arc<str>, need: usize, have: usize, holders: Holders },
    /// The host's own pool has no more for this tree.
    #[error("the host's pool refused {need} bytes")]
    HostRefused { need: usize },
    /// More than this kind of arena can ever hold. Retrying does not help.
    #[error("{bytes} bytes asked for, at most {max} are possible")]
    TooLarge { bytes: usize, max: usize },
    /// Offsets were asked of an arena that grows; only a fixed region has them.
    #[error("a growing arena has no offsets; use a fixed region")]
    NoOffsets,
    /// The operating system has no memory left.
    #[error("the operating system refused {bytes} bytes")]
    OutOfMemory { bytes: usize },
}

/// The arena behind a coordinator has been dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arena is closed: its owner is gone")]
pub struct ArenaClosed;

/// The handle belongs to another generation than the lease it was resolved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stale handle: made in generation {made_in}, the lease reads generation {lease}")]
#[expect(missing_docs, reason = "the message says what each field is")]
pub struct StaleHandle {
    pub made_in: u64,
    pub lease: u64,
}

/// Why something was not copied from one arena to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DupeRefused {
    /// The source has been reset since.
    #[error(transparent)]
    Stale(#[from] StaleHandle),
    /// The target has no room.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

/// A reset was refused because somebody can still read the generation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "reset refused: {leases} leases on generation {generation} are alive{holders}; drop them or use `retire`"
)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub struct ResetRefused {
    pub generation: u64,
    pub leases: usize,
    pub holders: LeaseHolders,
}

/// The leases on a generation that have a name or were traced, the oldest first.
///
/// Empty in a release build unless [`Budget::trace_leases`](crate::Budget::trace_leases) is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseHolders(pub(crate) Vec<LeaseReport>);

impl LeaseHolders {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &LeaseReport> {
        self.0.iter()
    }
}

impl fmt::Display for LeaseHolders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, lease) in self.iter().enumerate() {
            let mark = if place == 0 { ": " } else { ", " };
            write!(out, "{mark}{lease}")?;
        }
        Ok(())
    }
}

/// Why a subsystem was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubsystemRefused {
    /// The parent's owner is gone.
    #[error(transparent)]
    Closed(#[from] ArenaClosed),
    /// The parent's budget does not admit the child.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

/// Nothing was swapped: every other buffer is still in use. One is free when the last lease on it ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no standby buffer: {sealed} sealed and {draining} draining are still leased{holders}")]
#[expect(missing_docs, reason = "the message says what each field is")]
pub struct StandbyLeased {
    pub sealed: usize,
    pub draining: usize,
    pub holders: LeaseHolders,
}

/// Every object of the pool is in use, or lost with a guard that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} objects of the pool are in use")]
#[expect(missing_docs, reason = "the message says what the field is")]
pub struct PoolExhausted {
    pub capacity: usize,
}

/// Why a pool handed out no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum RegionUnavailable {
    /// Every region is in use. One comes back when the last lease on its generation ends.
    #[error("all {total} regions of the pool are in use")]
    Exhausted { total: usize },
    /// The pool's owner is gone.
    #[error("the region pool is closed: its owner is gone")]
    Closed,
}

/// Why a region minted no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum PermitRefused {
    /// Too little room is left. The next generation may have it.
    #[error("the region has {have} bytes left, the batch may need {need}")]
    Full { need: usize, have: usize },
    /// More than an empty region holds. No generation will ever have it.
    #[error("the batch may need {need} bytes, a whole region has {max}")]
    TooLarge { need: usize, max: usize },
    /// The region is being frozen.
    #[error("the region takes no more writes")]
    Sealed,
}

/// Permits are out, so the region is not frozen yet. It mints no new ones; ask again when these have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{permits} permits on the region are alive")]
#[expect(missing_docs, reason = "the message says what the field is")]
pub struct PermitsLive {
    pub permits: usize,
}
