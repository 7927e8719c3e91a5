//! Memory events: what happened last in a budget tree, in a ring that is made once.
//!
//! 1. [`MemoryEvents::start`] makes the ring, charged to a node, and the tree records until its owner drops it.
//! 2. An event is recorded where the tree's lock is held anyway: a node's use enters another quantum of
//!    [`MemoryEvents::QUANTUM_BYTES`], a charge is refused, keepers of idle memory were asked. What others know of,
//!    they note by [`Budget::note`]: regions.
//! 3. Recording calls no allocator. The oldest event gives way; numbers go on, so a gap tells how many did.
//!
//! Not here: when. Numbers order the events of a tree; a clock would cost more than the rest.

use std::fmt;
use std::sync::Arc;

use super::{Budget, Reservation};
use crate::error::AllocError;
use crate::report::bytes;

/// What happened. All figures are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum MemoryEventKind {
    /// The node's use entered a higher quantum.
    Grew,
    /// The node's use fell into a lower quantum.
    Shrank,
    /// The node had no room for a charge here or below; so much was free.
    Refused {
        /// Bytes that were free.
        have: usize,
    },
    /// Keepers of idle memory let some go, asked on behalf of the node.
    GaveBack {
        /// Bytes they were asked for.
        asked: usize,
    },
    /// A region was taken from the node's pool.
    RegionTaken,
    /// A region came back to the node's pool.
    RegionReturned,
}

impl MemoryEventKind {
    /// The kind in one word, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grew => "grew",
            Self::Shrank => "shrank",
            Self::Refused { .. } => "refused",
            Self::GaveBack { .. } => "gave_back",
            Self::RegionTaken => "region_taken",
            Self::RegionReturned => "region_returned",
        }
    }
}

/// Something that happened in a budget tree. See [`Budget::events`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MemoryEvent {
    /// Counts the events of the tree from 0.
    pub number: u64,
    /// Name of the node.
    pub node: Arc<str>,
    /// What happened.
    pub kind: MemoryEventKind,
    /// Bytes that came, went or were wanted.
    pub bytes: usize,
    /// Bytes that the node and those below it used afterwards.
    pub used: usize,
    /// The node's hard limit.
    pub limit: usize,
}

impl fmt::Display for MemoryEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = bytes(self.bytes);
        write!(out, "{} {}: ", self.number, self.node)?;
        match self.kind {
            MemoryEventKind::Grew => write!(out, "grew by {count}"),
            MemoryEventKind::Shrank => write!(out, "shrank by {count}"),
            MemoryEventKind::Refused { have } => write!(out, "refused {count}, {} free", bytes(have)),
            MemoryEventKind::GaveBack { asked: usize::MAX } => {
                write!(out, "got {count} of idle memory back, asked for all")
            }
            MemoryEventKind::GaveBack { asked } => {
                write!(out, "got {count} of idle memory back, asked for {}", bytes(asked))
            }
            MemoryEventKind::RegionTaken => write!(out, "a region of {count} taken"),
            MemoryEventKind::RegionReturned => write!(out, "a region of {count} returned"),
        }?;
        let limit = if self.limit == usize::MAX { "no limit".to_owned() } else { bytes(self.limit) };
        write!(out, "; {} of {limit}", bytes(self.used))
    }
}

/// The last events. Under the tree's lock.
pub(super) struct Ring {
    /// Never grows beyond the capacity that it was made with.
    events: Vec<MemoryEvent>,
    capacity: usize,
    next: u64,
}

impl Ring {
    /// Notes an event, whose number is given here.
    pub(super) fn note(&mut self, mut event: MemoryEvent) {
        event.number = self.next;
        let place = (self.next % self.capacity as u64) as usize;
        self.next += 1;
        match self.events.get_mut(place) {
            Some(oldest) => *oldest = event,
            None => self.events.push(event),
        }
    }

    /// The oldest first.
    pub(super) fn events(&self) -> Vec<MemoryEvent> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.number);
        events
    }
}

/// Lets a budget tree record its last events for as long as this lives.
///
/// # Examples
///
/// ```
/// use kausal_arena::{Budget, MemoryEventKind, MemoryEvents};
///
/// let root = Budget::root("database", 1 << 20);
/// let _events = MemoryEvents::start(&root.child("events", 0, 64 << 10).unwrap(), 100)?;
/// let cache = root.child("cache", 0, 256 << 10).unwrap();
/// let held = cache.reserve(200 << 10)?;
/// assert!(cache.reserve(100 << 10).is_err());
/// let shown: Vec<String> = root.events().iter().map(ToString::to_string).collect();
/// assert_eq!(shown, [
///     "0 cache: grew by 200 KiB; 200 KiB of 256 KiB",
///     "1 cache: refused 100 KiB, 56.0 KiB free; 200 KiB of 256 KiB",
/// ]);
/// # drop(held);
/// # Ok::<_, kausal_arena::AllocError>(())
/// ```
#[derive(Debug)]
pub struct MemoryEvents {
    node: Budget,
    _charge: Reservation,
}

impl MemoryEvents {
    /// A node that grows or shrinks is noted when its use enters another multiple of this.
    pub const QUANTUM_BYTES: usize = 64 << 10;

    /// Records the last `capacity` events, at least one, of the whole tree of `node`, which is charged for them. A ring that is
    /// there already is replaced.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the node has no room.
    pub fn start(node: &Budget, capacity: usize) -> Result<Self, AllocError> {
        let capacity = capacity.max(1);
        let charge = node.reserve(capacity.saturating_mul(size_of::<MemoryEvent>()))?;
        let ring = Ring { events: Vec::with_capacity(capacity), capacity, next: 0 };
        let older = node.node.whole.tree.lock().events.replace(ring);
        drop(older);
        Ok(Self { node: node.clone(), _charge: charge })
    }
}

impl Drop for MemoryEvents {
    fn drop(&mut self) {
        let ring = self.node.node.whole.tree.lock().events.take();
        drop(ring);
    }
}

impl Budget {
    /// The last events of the whole tree, the oldest first; none unless [`MemoryEvents`] are recorded.
    pub fn events(&self) -> Vec<MemoryEvent> {
        self.node.whole.tree.lock().events.as_ref().map(Ring::events).unwrap_or_default()
    }

    /// Notes what happened at this node, if [`MemoryEvents`] are recorded. Takes the tree's lock; allocates nothing.
    pub fn note(&self, kind: MemoryEventKind, bytes: usize) {
        self.node.whole.tree.lock().note(self.node.index, kind, bytes);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn kinds(root: &Budget) -> Vec<(u64, String, MemoryEventKind, usize)> {
        let events = root.events().into_iter();
        events.map(|event| (event.number, event.node.to_string(), event.kind, event.bytes)).collect()
    }

    fn recorded(capacity: usize) -> (Budget, Budget, MemoryEvents) {
        let root = Budget::root("root", 1 << 20);
        let events = MemoryEvents::start(&root.child("events", 0, 64 << 10).unwrap(), capacity).unwrap();
        let node = root.child("node", 0, 512 << 10).unwrap();
        (root, node, events)
    }

    #[test]
    fn quanta_and_refusals_are_noted_and_small_changes_are_not() {
        let (root, node, _events) = recorded(8);
        let mut held = node.reserve(1000).unwrap();
        held.resize(65_000).unwrap();
        assert_eq!(kinds(&root), []);
        held.resize(70_000).unwrap();
        assert!(held.resize(600_000).is_err());
        held.shrink_to(10);
        let name = || "node".to_owned();
        assert_eq!(
            kinds(&root),
            [
                (0, name(), MemoryEventKind::Grew, 5_000),
                (1, name(), MemoryEventKind::Refused { have: (512 << 10) - 70_000 }, 530_000),
                (2, name(), MemoryEventKind::Shrank, 69_990),
            ]
        );
    }

    #[test]
    fn the_oldest_gives_way_and_numbers_go_on() {
        let (root, node, events) = recorded(3);
        for bytes in 0..10 {
            node.note(MemoryEventKind::RegionTaken, bytes);
        }
        let seen: Vec<_> = root.events().iter().map(|event| (event.number, event.bytes)).collect();
        assert_eq!(seen, [(7, 7), (8, 8), (9, 9)]);
        drop(events);
        assert!(root.events().is_empty() && root.used() == 0);
    }

    #[test]
    fn a_transfer_is_two_events_or_none() {
        let (root, node, _events) = recorded(8);
        let other = root.child("other", 0, 100 << 10).unwrap();
        let mut held = node.reserve(200 << 10).unwrap();
        let mut there = Reservation::empty(&other);
        assert!(held.transfer(&mut there, 150 << 10).is_err());
        held.transfer(&mut there, 80 << 10).unwrap();
        let shown: Vec<_> = kinds(&root).into_iter().map(|(_, node, kind, _)| (node, kind.name())).collect();
        let expected = [("node", "grew"), ("other", "refused"), ("other", "grew"), ("node", "shrank")];
        assert_eq!(shown, expected.map(|(node, kind)| (node.to_owned(), kind)));
    }
}
