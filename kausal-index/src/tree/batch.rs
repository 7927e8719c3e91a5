//! Many look-ups or inserts at once.
//!
//! 1. Look-ups go down in groups, level by level, so that the cache misses of a group overlap (after Chen, Ailamaki,
//!    Gibbons and Mowry 2004: group prefetching).
//! 2. Inserts in ascending order begin at the leaf of the one before, while it is the right one.

use kausal_arena::Writer;

use crate::block_index::InsertError;
use crate::entry::{EntryRef, SeqNo};
use crate::tree::node::Node;
use crate::tree::search::Target;
use crate::tree::{TreeIndex, check_key};

/// Look-ups that go down together; about as many misses as a core keeps in flight.
const GROUP: usize = 8;

impl TreeIndex {
    pub(super) fn get_interleaved<'i>(
        &'i self,
        keys: &[&[u8]],
        at: SeqNo,
        mut found: impl FnMut(usize, Option<EntryRef<'i>>),
    ) {
        for (number, group) in keys.chunks(GROUP).enumerate() {
            let mut entries = [None; GROUP];
            self.find_group(group, at, &mut entries);
            for (place, (key, entry)) in group.iter().zip(entries).enumerate() {
                let entry = entry.map(|entry| self.memory.entry(entry)).filter(|entry| entry.key == *key);
                found(number * GROUP + place, entry);
            }
        }
    }

    /// For each key of a group the first entry at or behind (`key`, `at`).
    fn find_group(&self, keys: &[&[u8]], at: SeqNo, entries: &mut [Option<u32>; GROUP]) {
        let root = self.memory.node(self.root());
        let mut nodes = [root; GROUP];
        for _ in 0..root.level() {
            for (node, key) in nodes.iter_mut().zip(keys) {
                *node = self.child_towards(*node, &Target::before(key, at));
                self.memory.prefetch_node(node.offset);
            }
        }
        for ((entry, node), key) in entries.iter_mut().zip(nodes).zip(keys) {
            *entry = self.find_at_or_after_in(node, &Target::before(key, at)).map(|place| place.entry);
        }
    }

    /// Down one level, past neighbours.
    fn child_towards<'m>(&'m self, mut node: Node<'m>, target: &Target<'_>) -> Node<'m> {
        loop {
            let (next, is_neighbour) = self.step(node, target);
            node = self.memory.node(next);
            if !is_neighbour {
                return node;
            }
        }
    }

    pub(super) fn insert_run<'e>(
        &self,
        pen: &Writer,
        entries: impl Iterator<Item = EntryRef<'e>>,
    ) -> Result<(), InsertError> {
        let mut last: Option<(Node<'_>, EntryRef<'e>)> = None;
        for entry in entries {
            check_key(entry.key)?;
            let target = Target::before(entry.key, entry.seqno);
            let near = last.filter(|(leaf, last)| {
                last.cmp_position(entry.key, entry.seqno).is_lt() && !self.falls_right(leaf.word(), &target)
            });
            let (leaf, unled) = match near {
                Some((leaf, _)) => (leaf, crate::tree::memory::NIL),
                None => {
                    let descent = self.descend(0, &target);
                    (descent.node, descent.unled)
                }
            };
            last = Some((self.insert_from(leaf, unled, pen, entry)?, entry));
        }
        Ok(())
    }
}
