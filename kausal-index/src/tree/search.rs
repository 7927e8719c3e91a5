//! Where a position stands: in a node, and from the root down.
//!
//! While a reader looks, the key in a slot only gets smaller: slots shift to the right, and a split leaves behind what
//! later shifts overwrite with smaller keys. So "this slot is before the target" stays true once seen, and what is not
//! is looked at again at the end.

use std::cmp::Ordering;

use crate::entry::SeqNo;
use crate::tree::TreeIndex;
use crate::tree::memory::{Memory, NIL};
use crate::tree::node::{COMMON_BYTES_MAX, Node, SLOTS, Word};

/// A position looked for: before the versions of `key` that are numbered `at` or below, behind the newer ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) key: &'a [u8],
    /// A sequence number, or -1: behind all versions.
    pub(super) at: i64,
}

impl<'a> Target<'a> {
    /// Before the entry (`key`, `at`).
    #[inline]
    pub(super) fn before(key: &'a [u8], at: SeqNo) -> Self {
        Self { key, at: at.get() as i64 }
    }

    /// Right behind the entry (`key`, `at`).
    #[inline]
    pub(super) fn behind(key: &'a [u8], at: SeqNo) -> Self {
        Self { key, at: at.get() as i64 - 1 }
    }
}

/// Up to eight bytes of `key` behind the first `skip`, as a number that compares like them.
#[inline]
pub(super) fn prefix_behind(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(padded)
        }
    }
}

/// What both keys begin with, as far as a node can leave it out of its prefixes.
pub(super) fn common_of<'a>(left: &'a [u8], right: &[u8]) -> &'a [u8] {
    let pairs = left.iter().zip(right).take(COMMON_BYTES_MAX);
    &left[..pairs.take_while(|(left, right)| left == right).count()]
}

impl Memory {
    /// The first slot that was not before `target` when it was looked at, under `word`; its length if all were.
    ///
    /// Slot 0 of an inner node is before every target: it is the low end of the node, whatever its key.
    #[inline]
    pub(super) fn find(&self, node: Node<'_>, word: Word, target: &Target<'_>) -> usize {
        self.find_and_tell(node, word, target).0
    }

    /// The same, and whether what the slot holds may be the target itself, as far as prefixes tell.
    #[inline]
    pub(super) fn find_and_tell(&self, node: Node<'_>, word: Word, target: &Target<'_>) -> (usize, bool) {
        let (from, len) = (usize::from(node.level() > 0), word.len());
        if word.is_rewriting() {
            return (self.find_by_keys(node, from, len, target), true);
        }
        let common_bytes = node.common_bytes();
        if common_bytes > 0 {
            // All keys of the node stand on the same side of a target that does not begin like them.
            match node.compare_common(target.key, common_bytes) {
                Ordering::Less => return (from, false),
                Ordering::Greater => return (len, false),
                Ordering::Equal => {}
            }
        }
        let prefix = prefix_behind(target.key, common_bytes);
        let first = first_at_or_above(node, from, len, prefix);
        if first < len && node.prefix(first) == prefix {
            return (self.find_among_ties(node, first, len, prefix, target), true);
        }
        (first, false)
    }

    /// The same without prefixes.
    #[cold]
    fn find_by_keys(&self, node: Node<'_>, from: usize, len: usize, target: &Target<'_>) -> usize {
        let (mut lower, mut upper) = (from, len);
        while lower < upper {
            let middle = lower.midpoint(upper);
            if self.compare(node.entry(middle), target).is_lt() {
                lower = middle + 1;
            } else {
                upper = middle;
            }
        }
        lower
    }

    /// Goes on where prefixes cannot decide.
    fn find_among_ties(
        &self,
        node: Node<'_>,
        first: usize,
        len: usize,
        prefix: u64,
        target: &Target<'_>,
    ) -> usize {
        if self.compare(node.entry(first), target).is_ge() {
            return first;
        }
        let (mut lower, mut upper) = (first + 1, len);
        while lower < upper {
            let middle = lower.midpoint(upper);
            let is_before = match node.prefix(middle).cmp(&prefix) {
                Ordering::Equal => self.compare(node.entry(middle), target).is_lt(),
                order => order.is_lt(),
            };
            if is_before {
                lower = middle + 1;
            } else {
                upper = middle;
            }
        }
        lower
    }
}

/// The first slot of `from..len` whose prefix was not below `prefix` when it was looked at.
#[inline]
fn first_at_or_above(node: Node<'_>, from: usize, len: usize, prefix: u64) -> usize {
    let (mut lower, mut left) = (from, len.min(SLOTS) - from);
    while left > 1 {
        let half = left / 2;
        // Written so that it compiles to a conditional move: the outcome is a coin toss, a branch would be missed.
        lower += if node.prefix(lower + half - 1) < prefix { half } else { 0 };
        left -= half;
    }
    if left == 1 && node.prefix(lower) < prefix { lower + 1 } else { lower }
}

/// How far a descent went.
#[derive(Clone, Copy)]
pub(super) struct Descent<'m> {
    pub(super) node: Node<'m>,
    /// A node that was reached from its left neighbour, because no separator led to it; nil if there was none.
    pub(super) unled: u32,
}

impl TreeIndex {
    /// The node of `level` in which `target` falls, or a left neighbour of it, from the root.
    #[inline]
    pub(super) fn descend(&self, level: u8, target: &Target<'_>) -> Descent<'_> {
        let mut node = self.memory.node(self.root());
        let mut unled = NIL;
        while node.level() > level {
            let (child, right) = self.step(node, target);
            node = self.memory.node(child);
            if right {
                unled = child;
            } else {
                self.memory.prefetch_node(child);
            }
        }
        Descent { node, unled }
    }

    /// One step of a descent from an inner node: to a child, or (`true`) to the right neighbour.
    #[inline]
    pub(super) fn step(&self, node: Node<'_>, target: &Target<'_>) -> (u32, bool) {
        loop {
            let word = node.word();
            let found = self.memory.find(node, word, target);
            if found == word.len() && self.falls_right(word, target) {
                return (word.next(), true);
            }
            // The separator there was before the target. What is stored there now may have a smaller one; both lead
            // left of the target.
            let child = node.child(found - 1);
            if word.has_held(node.word()) {
                return (child, false);
            }
        }
    }

    /// Whether `target` falls behind the low key of the right neighbour.
    #[inline]
    pub(super) fn falls_right(&self, word: Word, target: &Target<'_>) -> bool {
        word.next() != NIL && self.memory.compare(self.memory.node(word.next()).entry(0), target).is_lt()
    }
}
