//! Inserts: the place, the lock, the slot, and the separators that follow a split.
//!
//! 1. A writer finds its place as a reader does.
//! 2. It takes the leaf's lock with the very word it searched under. If that succeeds, nothing has changed since.
//! 3. It writes the entry where nobody sees it, and puts it into the leaf, which may be split.
//! 4. The new leaf's separator goes into the level above, in the same way. It may come late, or not at all when memory
//!    is short: a node is reached from its left neighbour until then, and the next writer that comes that way puts the
//!    separator in.
//!
//! One insert allocates at most one entry, one leaf and one inner node, so that a permit can be reckoned. What more
//! would be split is left to the next writer that comes that way. Only the first two are needed: the insert fails
//! without them, and nothing has changed then.

use std::cmp::Ordering;

use kausal_arena::sync::{spin_loop, thread};
use kausal_arena::{AllocError, Writer};

use crate::block_index::InsertError;
use crate::entry::EntryRef;
use crate::tree::TreeIndex;
use crate::tree::memory::NIL;
use crate::tree::node::{Node, Slot, Word, node_bytes};
use crate::tree::search::{Target, prefix_behind};
use crate::tree::split::Item;

/// Looks at a held lock before the waiting thread lets others run: its holder may have been interrupted.
const SPINS_MAX: u32 = 64;

/// What was found where a position belongs.
enum Room {
    /// The position belongs to this slot, if the word stays.
    Free(usize),
    /// An entry or a separator is there already.
    Taken,
    /// The position belongs to the right neighbour.
    Right(u32),
}

impl TreeIndex {
    /// Inserts an entry, beginning at a leaf whose low key is before it. Returns the leaf.
    pub(super) fn insert_from<'m>(
        &'m self,
        leaf: Node<'m>,
        mut unled: u32,
        pen: &Writer,
        entry: EntryRef<'_>,
    ) -> Result<Node<'m>, InsertError> {
        let target = Target::before(entry.key, entry.seqno);
        let (leaf, word, slot) =
            self.lock_room(leaf, &target, &mut unled).ok_or(InsertError::Duplicate(entry.seqno))?;
        let written = self.memory.allocate_entry(pen, entry);
        let written = written.inspect_err(|_| leaf.set_word_and_unlock(word))?;
        let item = Item { key: entry.key, entry: written.entry, child: NIL };
        self.tally.add_slack(written.entry, written.padding);
        match self.put(leaf, word, slot, pen, item) {
            Ok(new) => {
                self.tally.add_entry(written.entry, written.bytes);
                if new.is_some() || unled != NIL {
                    self.add_separators(pen, new, unled);
                }
                Ok(leaf)
            }
            Err(error) => {
                self.tally.add_dead(written.entry, written.bytes);
                Err(error.into())
            }
        }
    }

    /// Finds where `target` belongs, from a node whose low key is before it rightwards, and takes the lock of that node.
    /// `None` if the position is taken.
    fn lock_room<'m>(
        &'m self,
        mut node: Node<'m>,
        target: &Target<'_>,
        unled: &mut u32,
    ) -> Option<(Node<'m>, Word, usize)> {
        let mut spins = 0;
        loop {
            let word = node.word();
            if word.is_locked() {
                spins += 1;
                if spins < SPINS_MAX {
                    spin_loop()
                } else {
                    thread::yield_now()
                }
                continue;
            }
            match self.find_room(node, word, target) {
                Room::Free(slot) if node.try_lock(word) => return Some((node, word, slot)),
                Room::Free(_) => {}
                // What is there stays there, whether or not the node has changed meanwhile.
                Room::Taken => return None,
                Room::Right(next) => {
                    *unled = next;
                    node = self.memory.node(next);
                }
            }
        }
    }

    #[inline]
    fn find_room(&self, node: Node<'_>, word: Word, target: &Target<'_>) -> Room {
        let (slot, may_be_taken) = self.memory.find_and_tell(node, word, target);
        if slot < word.len() {
            // The entry is a cache miss, so it is looked at only if its prefix leaves that open. What the prefix says
            // holds if the lock can be taken with this word.
            let is_taken = may_be_taken && self.memory.compare(node.entry(slot), target).is_eq();
            return if is_taken { Room::Taken } else { Room::Free(slot) };
        }
        if word.next() == NIL {
            return Room::Free(slot);
        }
        match self.memory.compare(self.memory.node(word.next()).entry(0), target) {
            Ordering::Less => Room::Right(word.next()),
            Ordering::Equal => Room::Taken,
            Ordering::Greater => Room::Free(slot),
        }
    }

    /// Puts in the separators of a new leaf and of a node that was found without one.
    fn add_separators(&self, pen: &Writer, new: Option<Node<'_>>, unled: u32) {
        let mut may_allocate = true;
        let unled = (unled != NIL).then(|| self.memory.node(unled));
        for node in [new, unled].into_iter().flatten() {
            let mut node = node;
            // An error leaves the node to be reached from its left neighbour, which is as good, only slower.
            while let Ok(Some(above)) = self.add_separator(pen, node, &mut may_allocate) {
                node = above;
            }
        }
    }

    /// Puts the separator of `child` into the level above. The new node there, if there was a split.
    fn add_separator<'m>(
        &'m self,
        pen: &Writer,
        child: Node<'m>,
        may_allocate: &mut bool,
    ) -> Result<Option<Node<'m>>, AllocError> {
        let level = child.level() + 1;
        let entry = child.entry(0);
        let low = self.memory.entry(entry);
        let root = self.memory.node(self.root());
        if root.level() < level {
            return self.grow(pen, root, child, may_allocate).map(|()| None);
        }
        let target = Target::before(low.key, low.seqno);
        let node = self.descend(level, &target).node;
        let Some((node, word, slot)) = self.lock_room(node, &target, &mut { NIL }) else { return Ok(None) };
        if word.is_full() && !std::mem::take(may_allocate) {
            node.set_word_and_unlock(word);
            return Ok(None);
        }
        self.put(node, word, slot, pen, Item { key: low.key, entry, child: child.offset })
    }

    /// Puts a root above `root` and `child`, unless somebody else has put one.
    fn grow(
        &self,
        pen: &Writer,
        root: Node<'_>,
        child: Node<'_>,
        may_allocate: &mut bool,
    ) -> Result<(), AllocError> {
        if !std::mem::take(may_allocate) {
            return Ok(());
        }
        let new = self.allocate_node(pen, root.level() + 1)?;
        let entry = child.entry(0);
        new.set(0, Slot { prefix: 0, entry: NIL, child: root.offset });
        new.set(1, Slot { prefix: prefix_behind(self.memory.key(entry), 0), entry, child: child.offset });
        new.set_word_and_unlock(Word::new(NIL, 2));
        if !self.set_root(root, new) {
            self.tally.bury(new.offset, node_bytes(new.level()));
        }
        Ok(())
    }
}
