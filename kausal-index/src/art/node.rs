//! Inner nodes: their layouts, how they are read, and how a writer that holds their lock changes them.
//!
//! | kind | children | bytes | how a byte is found |
//! |---|---|---|---|
//! | `Four`, `Eight` | ≤ 4, 8 | 32, 48 | one word compared at once |
//! | `Sixteen`, `ThirtyTwo`, `SixtyFour` | ≤ 16, 32, 64 | 88, 168, 328 | sixteen bytes at a time |
//! | `Full` | ≤ 256 | 1032 | by place |
//!
//! Every kind begins with the [`Word`] and the slot `here` of the key that ends at the node's level. All but `Full` have
//! a list: key bytes in the order they came, eight to an atomic word, then as many slots.
//!
//! A position in a node is a number: 0 is `here`, `1 + byte` a child; positions ascend as keys do.
//!
//! The invariants cited by number are those of the folder's first page.

use kausal_arena::sync::{AtomicU64, Ordering};
use kausal_arena::{AllocError, Writer};

use super::lock::{Guard, State, Word};
use super::memory::{Link, Memory, Slot, UNIT};
use super::search::{self, ByteSet};

/// What every inner node begins with.
#[repr(C)]
pub(super) struct Header {
    pub(super) word: Word,
    /// The versions of the key that is as long as the node's level.
    pub(super) here: Slot,
}

/// A node with a list of up to `CHILDREN` children.
#[repr(C)]
pub(super) struct Listed<const WORDS: usize, const CHILDREN: usize> {
    header: Header,
    bytes: [AtomicU64; WORDS],
    slots: [Slot; CHILDREN],
}

/// A node with a slot for every byte.
#[repr(C)]
pub(super) struct Full {
    header: Header,
    slots: [Slot; FULL_SLOTS],
}

#[cfg(not(any(loom, shuttle)))]
mod shape {
    use super::Listed;

    pub(super) type Four = Listed<1, 4>;
    pub(super) type Eight = Listed<1, 8>;
    pub(super) type Sixteen = Listed<2, 16>;
    pub(super) type ThirtyTwo = Listed<4, 32>;
    pub(super) type SixtyFour = Listed<8, 64>;
    pub(super) const FULL_SLOTS: usize = 256;

    const _: () = assert!(size_of::<Four>() == 32 && size_of::<Eight>() == 48 && size_of::<Sixteen>() == 88);
    const _: () = assert!(size_of::<ThirtyTwo>() == 168 && size_of::<SixtyFour>() == 328);
    const _: () = assert!(size_of::<super::Full>() == 1032);
}

/// A model's keys have few bytes, all below `FULL_SLOTS`, so that a handful of inserts grows a node through all kinds.
#[cfg(any(loom, shuttle))]
mod shape {
    use super::Listed;

    pub(super) type Four = Listed<1, 2>;
    pub(super) type Eight = Listed<1, 3>;
    pub(super) type Sixteen = Listed<1, 4>;
    pub(super) type ThirtyTwo = Listed<1, 5>;
    pub(super) type SixtyFour = Listed<1, 6>;
    pub(super) const FULL_SLOTS: usize = 8;
}

use shape::{Eight, FULL_SLOTS, Four, Sixteen, SixtyFour, ThirtyTwo};

/// The kind of a node; part of every link to it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Four = 1,
    Eight,
    Sixteen,
    ThirtyTwo,
    SixtyFour,
    Full,
}

impl Kind {
    /// The kind of the node that `link` names.
    #[inline]
    fn of(link: Link) -> Self {
        match link.kind_bits() {
            1 => Self::Four,
            2 => Self::Eight,
            3 => Self::Sixteen,
            4 => Self::ThirtyTwo,
            5 => Self::SixtyFour,
            kind => {
                debug_assert!(kind == 6, "read as a node, and it is one");
                Self::Full
            }
        }
    }

    /// The kind a node of this kind grows into.
    fn larger(self) -> Self {
        match self {
            Self::Four => Self::Eight,
            Self::Eight => Self::Sixteen,
            Self::Sixteen => Self::ThirtyTwo,
            Self::ThirtyTwo => Self::SixtyFour,
            Self::SixtyFour | Self::Full => Self::Full,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Four => size_of::<Four>(),
            Self::Eight => size_of::<Eight>(),
            Self::Sixteen => size_of::<Sixteen>(),
            Self::ThirtyTwo => size_of::<ThirtyTwo>(),
            Self::SixtyFour => size_of::<SixtyFour>(),
            Self::Full => size_of::<Full>(),
        }
        .next_multiple_of(UNIT)
    }
}

/// The largest node.
pub(super) const NODE_BYTES_MAX: usize = Kind::Full.bytes();

/// Most children of a node with a list.
const LIST_MAX: usize = 64;

/// A child on its way into a new node: its byte and its link.
pub(super) type Child = (u8, Link);

/// A node that was just written, and what it took from the pen.
pub(super) struct NewNode {
    pub(super) link: Link,
    pub(super) bytes: usize,
    pub(super) slack: usize,
}

/// A node to read, or to change under its lock.
#[derive(Clone, Copy)]
pub(super) enum Node<'m> {
    Four(&'m Four),
    Eight(&'m Eight),
    Sixteen(&'m Sixteen),
    ThirtyTwo(&'m ThirtyTwo),
    SixtyFour(&'m SixtyFour),
    Full(&'m Full),
}

/// One expression for the five kinds with a list, another for `Full`.
macro_rules! by_kind {
    ($node:expr, $listed:ident => $with_list:expr, $full:ident => $with_all:expr) => {
        match $node {
            Node::Four($listed) => $with_list,
            Node::Eight($listed) => $with_list,
            Node::Sixteen($listed) => $with_list,
            Node::ThirtyTwo($listed) => $with_list,
            Node::SixtyFour($listed) => $with_list,
            Node::Full($full) => $with_all,
        }
    };
}

impl Memory {
    /// What every node begins with.
    #[inline]
    pub(super) fn header(&self, link: Link) -> &Header {
        debug_assert!(link.is_node(), "read as a node, and it is one");
        // SAFETY: every kind of node begins with a header (`repr(C)`), written before its link was stored (invariant 1)
        // and made of atomics (invariant 2).
        unsafe { self.start(link).cast::<Header>().as_ref() }
    }

    /// The node that `link` names.
    #[inline]
    pub(super) fn node(&self, link: Link) -> Node<'_> {
        match Kind::of(link) {
            // SAFETY: the link's bits say that a `Four` was written there before the link was stored (invariant 1); it is
            // made of atomics (invariant 2), and stays (invariant 3).
            Kind::Four => Node::Four(unsafe { self.start(link).cast().as_ref() }),
            // SAFETY: as above, for an `Eight`.
            Kind::Eight => Node::Eight(unsafe { self.start(link).cast().as_ref() }),
            // SAFETY: as above, for a `Sixteen`.
            Kind::Sixteen => Node::Sixteen(unsafe { self.start(link).cast().as_ref() }),
            // SAFETY: as above, for a `ThirtyTwo`.
            Kind::ThirtyTwo => Node::ThirtyTwo(unsafe { self.start(link).cast().as_ref() }),
            // SAFETY: as above, for a `SixtyFour`.
            Kind::SixtyFour => Node::SixtyFour(unsafe { self.start(link).cast().as_ref() }),
            // SAFETY: as above, for a `Full`.
            Kind::Full => Node::Full(unsafe { self.start(link).cast().as_ref() }),
        }
    }

    /// Some leaf below `link`, or that leaf itself.
    pub(super) fn any_leaf(&self, mut link: Link) -> Link {
        while link.is_node() {
            let header = self.header(link);
            let child = self.node(link).any_child(header.word.load());
            link = if child.is_nil() { header.here.load() } else { child };
        }
        link
    }

    /// Writes the smallest kind of node: of `level`, with `here` and one or two children.
    pub(super) fn new_node(
        &self,
        pen: &Writer,
        level: u16,
        here: Link,
        children: &[Child],
    ) -> Result<NewNode, AllocError> {
        self.write_node(pen, Kind::Four, level, here, children)
    }

    /// Writes a copy of the node `link`, whose lock the caller holds, of the next larger kind and with one child more.
    pub(super) fn grow_node(
        &self,
        pen: &Writer,
        link: Link,
        state: State,
        child: Child,
    ) -> Result<NewNode, AllocError> {
        let mut children = [(0, Link::NIL); LIST_MAX + 1];
        let count = self.node(link).list(state, &mut children);
        children[count] = child;
        let kind = Kind::of(link).larger();
        let here = self.header(link).here.load();
        self.write_node(pen, kind, state.level() as u16, here, &children[..=count])
    }

    fn write_node(
        &self,
        pen: &Writer,
        kind: Kind,
        level: u16,
        here: Link,
        children: &[Child],
    ) -> Result<NewNode, AllocError> {
        let count = if kind == Kind::Full { 0 } else { children.len() as u8 };
        let header = Header { word: Word::new(level, count), here: Slot::new(here) };
        match kind {
            Kind::Four => self.write(pen, kind, Four::new(header, children)),
            Kind::Eight => self.write(pen, kind, Eight::new(header, children)),
            Kind::Sixteen => self.write(pen, kind, Sixteen::new(header, children)),
            Kind::ThirtyTwo => self.write(pen, kind, ThirtyTwo::new(header, children)),
            Kind::SixtyFour => self.write(pen, kind, SixtyFour::new(header, children)),
            Kind::Full => self.write(pen, kind, Full::new(header, children)),
        }
    }

    fn write<T>(&self, pen: &Writer, kind: Kind, node: T) -> Result<NewNode, AllocError> {
        const { assert!(align_of::<T>() <= UNIT, "links name multiples of a unit") };
        let bytes = kind.bytes();
        debug_assert!(size_of::<T>() <= bytes, "a node is written as its kind");
        let fresh = self.allocate(pen, bytes)?;
        // SAFETY: the memory is aligned to a unit, has room for the kind, and nobody else knows of it.
        unsafe { fresh.start.cast::<T>().write(node) };
        // SAFETY: a node of this kind was just written there.
        let link = unsafe { self.link(&fresh, kind as u32) };
        Ok(NewNode { link, bytes, slack: fresh.padding })
    }
}

impl<'m> Node<'m> {
    /// Bytes of the node.
    pub(super) fn bytes(link: Link) -> usize {
        Kind::of(link).bytes()
    }

    /// The slot of the child at `byte`, if there is one.
    #[inline]
    pub(super) fn child(self, state: State, byte: u8) -> Option<&'m Slot> {
        by_kind!(self, listed => listed.child(state, byte), full => {
            let slot = &full.slots[byte as usize];
            (!slot.load().is_nil()).then_some(slot)
        })
    }

    /// The child that stands first in the node, whatever its byte.
    pub(super) fn any_child(self, state: State) -> Link {
        by_kind!(self, listed => if state.count() > 0 { listed.slots[0].load() } else { Link::NIL }, full => {
            full.slots.iter().map(Slot::load).find(|link| !link.is_nil()).unwrap_or(Link::NIL)
        })
    }

    /// The first child at a byte of at least `from`.
    #[inline]
    pub(super) fn at_or_after(self, state: State, from: u8) -> Option<Child> {
        by_kind!(self, listed => {
            let (byte, place) = search::at_or_after(&listed.words(), state.count(), from)?;
            Some((byte, listed.slots.get(place)?.load()))
        }, full => {
            let slots = full.slots.get(from as usize..)?;
            (from..=u8::MAX).zip(slots).map(|(byte, slot)| (byte, slot.load())).find(|child| !child.1.is_nil())
        })
    }

    /// The last child at a byte of at most `upto`.
    #[inline]
    pub(super) fn at_or_before(self, state: State, upto: u8) -> Option<Child> {
        by_kind!(self, listed => {
            let (byte, place) = search::at_or_before(&listed.words(), state.count(), upto)?;
            Some((byte, listed.slots.get(place)?.load()))
        }, full => {
            let slots = full.slots.iter().take(1 + upto as usize).enumerate().rev();
            slots.map(|(byte, slot)| (byte as u8, slot.load())).find(|child| !child.1.is_nil())
        })
    }

    /// The bytes from `from` on that have a child, if the node has a list; a full one is looked through as fast without.
    #[inline]
    pub(super) fn bytes_from(self, state: State, from: u8) -> Option<ByteSet> {
        by_kind!(self, listed => Some(ByteSet::at_or_after(&listed.words(), state.count(), from)), _full => None)
    }

    /// How many of the 256 bytes a walk looks ahead in this node: as many as hold some ten children.
    #[inline]
    pub(super) fn span(self) -> u8 {
        match self {
            Self::Four(_) | Self::Eight(_) | Self::Sixteen(_) => 255,
            Self::ThirtyTwo(_) => 96,
            Self::SixtyFour(_) => 48,
            Self::Full(_) => 16,
        }
    }

    /// Brings the beginnings of the children at the bytes `lower ..= upper` towards the processor.
    #[inline]
    pub(super) fn prefetch(self, memory: &Memory, state: State, lower: u8, upper: u8) {
        by_kind!(self, listed => {
            let mut places = search::between(&listed.words(), state.count(), lower, upper);
            while let Some(slot) = listed.slots.get(places.trailing_zeros() as usize) {
                memory.prefetch_start(slot.load());
                places &= places - 1;
            }
        }, full => {
            let slots = full.slots.get(lower as usize..=upper as usize).unwrap_or(&[]);
            slots.iter().for_each(|slot| memory.prefetch_start(slot.load()));
        });
    }

    /// Whether one more child fits in.
    pub(super) fn has_room(self, state: State) -> bool {
        by_kind!(self, listed => state.count() < listed.slots.len(), _full => true)
    }

    /// Adds a child that is not there yet to a node that has room. `guard` is this node's lock.
    pub(super) fn add(self, guard: &mut Guard<'_>, (byte, link): Child) {
        by_kind!(self, listed => listed.add(guard, (byte, link)), full => full.slots[byte as usize].store(link));
    }

    /// Writes the children of a list to `children` and answers how many they are. A full node never grows.
    fn list(self, state: State, children: &mut [Child]) -> usize {
        by_kind!(self, listed => {
            let bytes = listed.words();
            for (place, child) in children.iter_mut().enumerate().take(state.count()) {
                *child = ((bytes[place / 8] >> (8 * (place % 8))) as u8, listed.slots[place].load());
            }
            state.count()
        }, _full => unreachable!("a full node has room for every child"))
    }
}

impl<const WORDS: usize, const CHILDREN: usize> Listed<WORDS, CHILDREN> {
    fn new(header: Header, children: &[Child]) -> Self {
        let mut words = [0; WORDS];
        for (place, (byte, _)) in children.iter().enumerate() {
            words[place / 8] |= u64::from(*byte) << (8 * (place % 8));
        }
        let link_at = |place: usize| children.get(place).map_or(Link::NIL, |child| child.1);
        Self {
            header,
            bytes: words.map(AtomicU64::new),
            slots: std::array::from_fn(|place| Slot::new(link_at(place))),
        }
    }

    #[inline]
    fn words(&self) -> [u64; WORDS] {
        // Relaxed: the bytes that count were written before the count was published (`Guard::drop`), others are ignored.
        std::array::from_fn(|word| self.bytes[word].load(Ordering::Relaxed))
    }

    #[inline]
    fn child(&self, state: State, byte: u8) -> Option<&Slot> {
        self.slots.get(search::find(&self.words(), state.count(), byte)?)
    }

    fn add(&self, guard: &mut Guard<'_>, (byte, link): Child) {
        let place = guard.state().count();
        self.slots[place].store(link);
        let word = &self.bytes[place / 8];
        // Relaxed, both: only the lock's holder writes the word, and the guard publishes it.
        let byte = u64::from(byte) << (8 * (place % 8));
        word.store(word.load(Ordering::Relaxed) | byte, Ordering::Relaxed);
        guard.count_child();
    }
}

impl Full {
    fn new(header: Header, children: &[Child]) -> Self {
        let mut links = [Link::NIL; FULL_SLOTS];
        for (byte, link) in children {
            links[*byte as usize] = *link;
        }
        Self { header, slots: links.map(Slot::new) }
    }
}
