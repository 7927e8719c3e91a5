//! Look-ups in leaves, while others insert.
//!
//! 1. A leaf is searched as it stands. What is found is read last, after all comparisons.
//! 2. If it turns out to be before the target, something was inserted meanwhile: one slot further to the right.
//! 3. Then the leaf's word is read again. A new neighbour says that the leaf was split, and that slots behind the new
//!    end may have been overwritten out of turn: the leaf is searched again. Nothing else repeats a search of what was
//!    found, so a reader waits for nobody.

use crate::entry::EntryRef;
use crate::tree::TreeIndex;
use crate::tree::memory::NIL;
use crate::tree::node::{Node, Word};
use crate::tree::search::Target;

/// Entries that a walk asks for ahead of itself: their misses overlap.
const AHEAD: usize = 24;

/// Entries that a walk asks for at once when it begins: short walks go no further.
const AHEAD_AT_FIRST: usize = 8;

/// Where an entry was found.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    node: Node<'m>,
    slot: usize,
    /// The leaf's word when nothing had changed since the entry was read, or [`Word::NEVER`].
    word: Word,
    pub(super) entry: u32,
    /// So many entries behind this one have been asked for, if the walk goes on to the right.
    lead: usize,
}

impl<'m> Place<'m> {
    fn new(node: Node<'m>, slot: usize, before: Word, after: Word, entry: u32) -> Self {
        let word = if before == after && !after.is_locked() { after } else { Word::NEVER };
        Self { node, slot, word, entry, lead: AHEAD_AT_FIRST }
    }
}

impl TreeIndex {
    /// The first entry at or behind `target`.
    #[inline]
    pub(super) fn find_at_or_after(&self, target: &Target<'_>) -> Option<Place<'_>> {
        self.find_at_or_after_in(self.descend(0, target).node, target)
    }

    /// The same from a leaf whose low key is before `target`.
    pub(super) fn find_at_or_after_in<'m>(
        &'m self,
        mut node: Node<'m>,
        target: &Target<'_>,
    ) -> Option<Place<'m>> {
        loop {
            let word = node.word();
            if word.len() == 0 && word.next() == NIL {
                // Nothing was inserted yet: most memtables that are asked are full or this.
                return None;
            }
            let mut slot = self.memory.find(node, word, target);
            let mut entry = NIL;
            while slot < word.len() {
                entry = node.entry(slot);
                self.memory.prefetch_entry(entry);
                if self.memory.compare(entry, target).is_ge() {
                    break;
                }
                slot += 1;
            }
            let after = node.word();
            if !word.has_held(after) {
                continue;
            }
            if slot < word.len() {
                return Some(Place::new(node, slot, word, after, entry));
            }
            if after.len() != word.len() {
                // The last slots were overwritten, and the entries from there now stand behind the length read first.
                continue;
            }
            if word.next() == NIL {
                return None;
            }
            node = self.memory.node(word.next());
        }
    }

    /// The last entry before `target`.
    pub(super) fn find_before(&self, target: &Target<'_>) -> Option<Place<'_>> {
        let mut node = self.descend(0, target).node;
        loop {
            let word = node.word();
            let slot = self.memory.find(node, word, target);
            if slot == word.len() && self.falls_right(word, target) {
                node = self.memory.node(word.next());
                continue;
            }
            if slot == 0 {
                if !word.has_held(node.word()) {
                    continue;
                }
                // Only the leftmost leaf holds nothing before a target that leads to it.
                return None;
            }
            let entry = node.entry(slot - 1);
            // An insert in between would have moved the entry before the target to the slot behind, before it changed
            // the slot just read.
            let is_last = slot == word.len() || self.memory.compare(node.entry(slot), target).is_ge();
            let after = node.word();
            if !is_last || !word.has_held(after) || (slot == word.len() && after.len() != word.len()) {
                continue;
            }
            return Some(Place::new(node, slot - 1, word, after, entry));
        }
    }

    /// The first entry of all.
    pub(super) fn find_first(&self) -> Option<Place<'_>> {
        // Nothing is before the newest version of the empty key.
        self.find_at_or_after(&Target { key: b"", at: i64::MAX })
    }

    /// The last entry of all.
    pub(super) fn find_last(&self) -> Option<Place<'_>> {
        let mut node = self.memory.node(self.root());
        loop {
            let word = node.word();
            if word.next() != NIL {
                node = self.memory.node(word.next());
            } else if node.level() > 0 {
                node = self.memory.node(node.child(word.len() - 1));
            } else if word.len() == 0 {
                return None;
            } else {
                let slot = word.len() - 1;
                let entry = node.entry(slot);
                let after = node.word();
                if (after.next(), after.len()) == (word.next(), word.len()) {
                    return Some(Place::new(node, slot, word, after, entry));
                }
            }
        }
    }

    /// Moves to the following entry if it is in the same leaf and nothing has changed there: what a walk mostly does.
    #[inline]
    pub(super) fn advance(&self, place: &mut Place<'_>) -> bool {
        let slot = place.slot + 1;
        if place.word == Word::NEVER || slot >= place.word.len() {
            return false;
        }
        let entry = place.node.entry(slot);
        if place.node.word() != place.word {
            return false;
        }
        self.prefetch_ahead(place.node, place.word, slot + place.lead);
        if place.lead < AHEAD {
            place.lead += 1;
            self.prefetch_ahead(place.node, place.word, slot + place.lead);
        }
        (place.slot, place.entry) = (slot, entry);
        true
    }

    /// Asks for what stands in `slot`, which may lie in the right neighbour. A stale one costs a wasted hint.
    #[inline]
    fn prefetch_ahead(&self, node: Node<'_>, word: Word, slot: usize) {
        if cfg!(any(loom, shuttle)) {
            return;
        }
        if slot < word.len() {
            self.memory.prefetch_entry(node.entry(slot));
        } else if word.next() != NIL {
            let next = self.memory.node(word.next());
            self.memory.prefetch_entry(next.entry(slot - word.len()));
        }
    }

    /// The entry behind `place`, wherever it is.
    pub(super) fn next_place<'m>(&'m self, place: &Place<'m>) -> Option<Place<'m>> {
        let node = place.node;
        if place.slot + 1 == place.word.len() && node.word() == place.word {
            if place.word.next() == NIL {
                return None;
            }
            let node = self.memory.node(place.word.next());
            // Slot 0 of a leaf that has a left neighbour never changes.
            let (word, entry) = (node.word(), node.entry(0));
            self.memory.prefetch_leaf(word.next());
            self.prefetch_ahead(node, word, place.lead);
            return Some(Place { lead: place.lead, ..Place::new(node, 0, word, word, entry) });
        }
        // The leaf has changed. What followed is in it or to its right.
        let EntryRef { key, seqno, .. } = self.memory.entry(place.entry);
        self.find_at_or_after_in(node, &Target::behind(key, seqno))
    }

    /// Asks for the entries behind `place`, for a walk that begins there.
    pub(super) fn prefetch_behind(&self, place: &Place<'_>) {
        if cfg!(any(loom, shuttle)) {
            return;
        }
        if place.word.next() != NIL {
            self.memory.prefetch_leaf(place.word.next());
        }
        let word = place.node.word();
        for slot in place.slot + 1..=(place.slot + AHEAD_AT_FIRST).min(word.len().saturating_sub(1)) {
            self.prefetch_ahead(place.node, word, slot);
        }
    }

    /// The entry before `place`.
    pub(super) fn prev_place<'m>(&'m self, place: &Place<'m>) -> Option<Place<'m>> {
        if place.slot > 0 && place.word != Word::NEVER {
            let slot = place.slot - 1;
            let entry = place.node.entry(slot);
            if place.node.word() == place.word {
                return Some(Place { slot, entry, ..*place });
            }
        }
        let EntryRef { key, seqno, .. } = self.memory.entry(place.entry);
        self.find_before(&Target::before(key, seqno))
    }
}
