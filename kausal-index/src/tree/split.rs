//! How slots come into a node whose lock is held, and how a full node becomes two.
//!
//! 1. With room, slots move to the right from the end. The last one is doubled and the new length published before its
//!    old place is overwritten, so that no entry is out of sight at any moment.
//! 2. A full node is split: the upper half is copied to a new node, together with the new slot if it falls there. One
//!    store of the word makes the new node the neighbour and the old one shorter.
//! 3. At the right edge a full node stays full, and the new one begins with the new slot alone: ascending input fills
//!    all nodes.
//! 4. What keys have in common is looked at anew when their node becomes narrower.
//!
//! The new node is allocated before anything is changed.

use kausal_arena::{AllocError, Writer};

use crate::tree::TreeIndex;
use crate::tree::memory::NIL;
use crate::tree::node::{Node, SLOTS, Slot, Word};
use crate::tree::search::{common_of, prefix_behind};

/// So many more bytes in common are worth writing the prefixes of a node anew, which reads all its keys.
const COMMON_BYTES_WORTH: usize = 4;

/// What comes into a node: an entry, and in an inner node the child whose low key it has.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) key: &'a [u8],
    pub(super) entry: u32,
    pub(super) child: u32,
}

impl Item<'_> {
    fn slot_in(&self, node: Node<'_>) -> Slot {
        let prefix = prefix_behind(self.key, node.common_bytes());
        Slot { prefix, entry: self.entry, child: self.child }
    }
}

impl TreeIndex {
    /// Puts an item at `slot` of a node whose lock is held, and gives the lock back, also on an error. The new node, if
    /// there was a split.
    pub(super) fn put<'m>(
        &'m self,
        node: Node<'m>,
        word: Word,
        slot: usize,
        pen: &Writer,
        item: Item<'_>,
    ) -> Result<Option<Node<'m>>, AllocError> {
        if word.len() < SLOTS {
            insert_slot(node, word, slot, item.slot_in(node));
            return Ok(None);
        }
        let new = match self.allocate_node(pen, node.level()) {
            Ok(new) => new,
            Err(error) => {
                node.set_word_and_unlock(word);
                return Err(error);
            }
        };
        if slot == SLOTS && word.next() == NIL {
            new.set(0, item.slot_in(new));
            new.set_word_and_unlock(Word::new(NIL, 1));
            let word = Word::new(new.offset, SLOTS);
            self.narrow(node, word);
            node.set_word_and_unlock(word);
        } else {
            self.split(node, new, word, slot, item);
        }
        Ok(Some(new))
    }

    fn split(&self, node: Node<'_>, new: Node<'_>, word: Word, slot: usize, item: Item<'_>) {
        let goes_left = slot <= SLOTS / 2;
        let kept = if goes_left { SLOTS / 2 } else { SLOTS / 2 + 1 };
        let low = if slot == kept && !goes_left { item.entry } else { node.entry(kept) };
        self.set_common_of_new(node, new, low, word.next());
        let mut len = 0;
        for from in kept..=SLOTS {
            if from == slot && !goes_left {
                new.set(len, item.slot_in(new));
                len += 1;
            }
            if from < SLOTS {
                new.set(len, self.slot_for(node, from, new));
                len += 1;
            }
        }
        new.set_word_and_unlock(Word::new(word.next(), len));
        let shorter = Word::new(new.offset, kept);
        self.narrow(node, shorter);
        if goes_left {
            insert_slot(node, shorter, slot, item.slot_in(node));
        } else {
            node.set_word_and_unlock(shorter);
        }
    }

    /// Decides what a new node leaves out of its prefixes: what its bounds have in common if that is much more than in
    /// the old node, otherwise the same as there, so that prefixes can be copied.
    fn set_common_of_new(&self, node: Node<'_>, new: Node<'_>, low: u32, next: u32) {
        let low = self.memory.key(low);
        let common = self.common_up_to(low, next);
        let same = node.common_bytes();
        let common = if common.len() >= same + COMMON_BYTES_WORTH { common } else { &low[..same] };
        new.set_common(common);
    }

    /// What all keys from `low` up to the low key of node `next` begin with; nothing at the right edge.
    fn common_up_to<'k>(&self, low: &'k [u8], next: u32) -> &'k [u8] {
        if next == NIL {
            return b"";
        }
        common_of(low, self.memory.key(self.memory.node(next).entry(0)))
    }

    /// A slot of `node` as `new` stores it.
    fn slot_for(&self, node: Node<'_>, slot: usize, new: Node<'_>) -> Slot {
        let mut value = node.slot(slot);
        if new.common_bytes() != node.common_bytes() {
            value.prefix = prefix_behind(self.memory.key(value.entry), new.common_bytes());
        }
        value
    }

    /// Stores the word of a node that has got a neighbour, and writes its prefixes anew if that is worth it.
    fn narrow(&self, node: Node<'_>, word: Word) {
        let common = self.common_when_narrow(node, word.next());
        if common.len() < node.common_bytes() + COMMON_BYTES_WORTH {
            // Release: who sees the neighbour sees it whole.
            return node.set_word(word);
        }
        node.set_word(word.rewriting());
        node.set_common(common);
        for slot in 0..word.len() {
            let value = node.slot(slot);
            node.set(
                slot,
                Slot { prefix: prefix_behind(self.memory.key(value.entry), common.len()), ..value },
            );
        }
        node.set_word(word);
    }

    /// What all keys of `node` begin with if `next` is its neighbour.
    fn common_when_narrow(&self, node: Node<'_>, next: u32) -> &[u8] {
        let low = node.entry(0);
        if low == NIL || node.offset == self.leftmost_leaf {
            // The leftmost node of a level has no lower bound.
            return b"";
        }
        self.common_up_to(self.memory.key(low), next)
    }
}

/// Puts a slot into a node that has room and whose lock is held, and gives the lock back.
pub(super) fn insert_slot(node: Node<'_>, word: Word, slot: usize, value: Slot) {
    let len = word.len();
    if slot < len {
        node.set(len, node.slot(len - 1));
        // Release: who sees the old last slot overwritten finds the new length.
        #[cfg(not(kausal_planted = "tree_swap"))]
        node.set_word(word.longer());
        node.shift(slot, len);
    }
    node.set(slot, value);
    node.set_word_and_unlock(word.longer());
}
