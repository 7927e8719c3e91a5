//! The way of an entry into the tree.
//!
//! 1. Without locks, walk from the root along the key. A node says only at which byte of the key its keys begin to
//!    differ (its level), so bytes that it skips are taken on trust.
//! 2. Where the walk ends, one leaf below proves or refutes what was trusted, by a comparison of whole keys. If the keys
//!    part earlier, at byte `m`, walk again, but only to the first node beyond `m`.
//! 3. What has to change is then one slot: of a node that gets a child, of a place that gets a node between it and what
//!    it held, or of a chain that gets a version. Lock that node, look whether everything is still as it was found, make
//!    what is needed, store one link. If anything has changed, walk again.
//! 4. A node without room is copied into the next larger kind; then the place above it is locked first.
//!
//! The entry itself is written once, before the first lock, and everything else under the lock and after the look: no walk
//! that is repeated takes memory a second time, so [`bytes_max`](super::ArtIndex) holds under contention too.

use kausal_arena::{AllocError, Writer};

use super::agreed_bytes;
use super::leaf::{Jump, NewLeaf};
use super::lock::{Guard, Word};
use super::memory::{Link, Memory, Slot};
use super::node::{Child, NewNode, Node};
use super::tally::{Changes, Tally};
use crate::block_index::InsertError;
use crate::entry::EntryRef;

/// A slot and the word that guards it.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    pub(super) word: &'m Word,
    pub(super) slot: &'m Slot,
}

impl<'m> Place<'m> {
    /// Locks the place, if it still holds `link`.
    fn lock_if_holds(self, link: Link) -> Option<Guard<'m>> {
        let guard = self.word.lock()?;
        (self.slot.load() == link).then_some(guard)
    }
}

/// Some leaf whose key agrees with the wanted one on exactly the first `agreed` bytes.
#[derive(Clone, Copy)]
struct Witness<'m> {
    key: &'m [u8],
    agreed: usize,
}

/// Where a walk ended: what has to be done there.
enum End<'m> {
    /// The tree is empty.
    Empty,
    /// `place` holds `chain`, the versions of this very key.
    Versions { place: Place<'m>, chain: Link },
    /// `place` holds `below`, all of whose keys part from the wanted one as the witness does.
    Split { place: Place<'m>, below: Link, witness: Witness<'m> },
    /// `node`, at `place`, has neither a child nor a key of its own where the wanted one belongs.
    Attach { place: Place<'m>, node: Link, level: usize },
    /// What was trusted is refuted: walk again with this witness.
    Refuted(Witness<'m>),
}

/// One insert under way.
pub(super) struct Insert<'m, 'e> {
    pub(super) memory: &'m Memory,
    pub(super) changes: &'m Changes,
    pub(super) pen: &'m Writer,
    pub(super) entry: EntryRef<'e>,
    pub(super) root: Place<'m>,
    /// What the insert has taken and made dead so far.
    pub(super) tally: Tally,
    /// The entry's leaf, once it is written.
    pub(super) leaf: Option<NewLeaf>,
}

impl<'m> Insert<'m, '_> {
    pub(super) fn run(&mut self) -> Result<(), InsertError> {
        let mut witness = None;
        loop {
            let done = match self.walk(witness) {
                End::Refuted(found) => {
                    witness = Some(found);
                    continue;
                }
                End::Empty => self.begin()?,
                End::Versions { place, chain } => self.add_version(place, chain)?,
                End::Split { place, below, witness } => self.split(place, below, witness)?,
                End::Attach { place, node, level } => self.attach(place, node, level)?,
            };
            if done {
                return Ok(());
            }
        }
    }

    /// Steps 1 and 2. While the walk follows the witness, its bytes are trusted no longer but known.
    fn walk(&self, witness: Option<Witness<'m>>) -> End<'m> {
        let key = self.entry.key;
        let mut place = self.root;
        let mut link = place.slot.load();
        // First byte of the key that no node above has branched on, and whether all before it are known to agree.
        let (mut depth, mut known) = (0, true);
        while link.is_node() {
            let header = self.memory.header(link);
            let state = header.word.load();
            let level = state.level();
            if let Some(witness) = witness
                && depth <= witness.agreed
            {
                if witness.agreed < level {
                    return End::Split { place, below: link, witness };
                }
            } else if level > depth {
                known = false;
            }
            let slot = match key.get(level) {
                Some(byte) => self.memory.node(link).child(state, *byte),
                None => Some(&header.here).filter(|here| key.len() == level && !here.load().is_nil()),
            };
            let Some(slot) = slot else {
                if !known || key.len() < level {
                    let witness = self.witness(self.memory.any_leaf(link));
                    if witness.agreed < level {
                        return End::Refuted(witness);
                    }
                }
                return End::Attach { place, node: link, level };
            };
            place = Place { word: &header.word, slot };
            link = slot.load();
            depth = level + 1;
        }
        if link.is_nil() {
            return End::Empty;
        }
        let witness = self.witness(link);
        if witness.agreed == key.len() && witness.agreed == witness.key.len() {
            End::Versions { place, chain: link }
        } else if witness.agreed >= depth {
            End::Split { place, below: link, witness }
        } else {
            End::Refuted(witness)
        }
    }

    fn witness(&self, leaf: Link) -> Witness<'m> {
        let key = self.memory.leaf(leaf).key();
        Witness { key, agreed: agreed_bytes(key, self.entry.key) }
    }

    /// Writes the entry's leaf, unless an earlier walk has.
    fn write_leaf(&mut self, has_older: bool) -> Result<(), AllocError> {
        if self.leaf.is_none() {
            let leaf = self.memory.new_leaf(self.pen, self.entry, has_older)?;
            self.tally.slack += leaf.slack;
            self.leaf = Some(leaf);
        }
        Ok(())
    }

    /// The entry's leaf, named and ready to be linked above `older`.
    fn finish_leaf(&mut self, older: Link) -> Link {
        let jump =
            if older.is_nil() { Jump { to: Link::NIL, depth: 0 } } else { self.memory.jump_above(older) };
        let leaf = self.leaf.take().expect("written before the lock was taken");
        self.tally.live += leaf.bytes;
        self.memory.finish_leaf(&leaf, older, jump)
    }

    fn count_node(&mut self, node: &NewNode) {
        self.tally.live += node.bytes;
        self.tally.slack += node.slack;
    }

    fn begin(&mut self) -> Result<bool, InsertError> {
        self.write_leaf(false)?;
        let Some(_guard) = self.root.lock_if_holds(Link::NIL) else { return Ok(false) };
        let leaf = self.finish_leaf(Link::NIL);
        self.changes.announce();
        self.root.slot.store(leaf);
        Ok(true)
    }

    /// Links the entry into the chain of its key.
    fn add_version(&mut self, place: Place<'m>, chain: Link) -> Result<bool, InsertError> {
        let seqno = self.entry.seqno.get();
        let newer = self.memory.at_or_above(chain, seqno);
        if !newer.is_nil() && self.memory.leaf(newer).seqno() == seqno {
            return Err(InsertError::Duplicate(self.entry.seqno));
        }
        self.write_leaf(true)?;
        let Some(_guard) = place.lock_if_holds(chain) else { return Ok(false) };
        // Nobody else links into the chain now; but somebody may have, since the look above.
        let newer = self.memory.at_or_above(chain, seqno);
        if newer.is_nil() {
            let leaf = self.finish_leaf(chain);
            self.changes.announce();
            place.slot.store(leaf);
            return Ok(true);
        }
        let newer = self.memory.leaf(newer);
        if newer.seqno() == seqno {
            return Err(InsertError::Duplicate(self.entry.seqno));
        }
        let leaf = self.finish_leaf(newer.older());
        self.changes.announce();
        newer.set_older(leaf);
        Ok(true)
    }

    /// Puts a node between `place` and what it holds: on one side that, on the other the entry.
    fn split(&mut self, place: Place<'m>, below: Link, witness: Witness<'m>) -> Result<bool, InsertError> {
        self.write_leaf(false)?;
        let Some(_guard) = place.lock_if_holds(below) else { return Ok(false) };
        let (level, key) = (witness.agreed, self.entry.key);
        // Linked only once the node is there: a leaf that is refused its node stays unlinked.
        let node_below = |leaf: Link| -> Result<NewNode, AllocError> {
            let level_bytes = u16::try_from(level).expect("keys of at most 65535 bytes part before that");
            match (witness.key.get(level), key.get(level)) {
                (Some(there), Some(wanted)) => {
                    let children = [(*there, below), (*wanted, leaf)];
                    self.memory.new_node(self.pen, level_bytes, Link::NIL, &children)
                }
                (Some(there), None) => self.memory.new_node(self.pen, level_bytes, leaf, &[(*there, below)]),
                (None, Some(wanted)) => {
                    self.memory.new_node(self.pen, level_bytes, below, &[(*wanted, leaf)])
                }
                (None, None) => unreachable!("keys that part are not equal"),
            }
        };
        let leaf = self.leaf.as_ref().expect("written before the lock was taken");
        let node = node_below(self.memory.finish_leaf(leaf, Link::NIL, Jump { to: Link::NIL, depth: 0 }))?;
        self.count_leaf();
        self.count_node(&node);
        self.changes.announce();
        place.slot.store(node.link);
        Ok(true)
    }

    fn count_leaf(&mut self) {
        let leaf = self.leaf.take().expect("just linked");
        self.tally.live += leaf.bytes;
    }

    /// Gives `node` the entry as a child, or as the key that ends there.
    fn attach(&mut self, place: Place<'m>, node: Link, level: usize) -> Result<bool, InsertError> {
        self.write_leaf(false)?;
        let header = self.memory.header(node);
        let Some(byte) = self.entry.key.get(level).copied() else {
            let here = Place { word: &header.word, slot: &header.here };
            let Some(_guard) = here.lock_if_holds(Link::NIL) else { return Ok(false) };
            let leaf = self.finish_leaf(Link::NIL);
            self.changes.announce();
            header.here.store(leaf);
            return Ok(true);
        };
        let Some(mut guard) = header.word.lock() else { return Ok(false) };
        let view = self.memory.node(node);
        if view.child(guard.state(), byte).is_some() {
            return Ok(false);
        }
        if view.has_room(guard.state()) {
            let leaf = self.finish_leaf(Link::NIL);
            self.changes.announce();
            view.add(&mut guard, (byte, leaf));
            return Ok(true);
        }
        drop(guard);
        self.grow(place, node, byte)
    }

    /// Replaces `node`, which has no room, by a larger copy that has the entry as well.
    fn grow(&mut self, place: Place<'m>, node: Link, byte: u8) -> Result<bool, InsertError> {
        let Some(_above) = place.lock_if_holds(node) else { return Ok(false) };
        let word = &self.memory.header(node).word;
        #[cfg(not(kausal_planted = "art_grow_unlocked"))]
        let Some(mut guard) = word.lock() else { return Ok(false) };
        #[cfg(kausal_planted = "art_grow_unlocked")]
        let mut guard = word.pretend_to_lock();
        if self.memory.node(node).child(guard.state(), byte).is_some() {
            return Ok(false);
        }
        let leaf = self.leaf.as_ref().expect("written before the lock was taken");
        let child: Child = (byte, self.memory.finish_leaf(leaf, Link::NIL, Jump { to: Link::NIL, depth: 0 }));
        let larger = self.memory.grow_node(self.pen, node, guard.state(), child)?;
        self.count_leaf();
        self.count_node(&larger);
        self.tally.replaced += Node::bytes(node);
        self.changes.announce();
        guard.mark_obsolete();
        place.slot.store(larger.link);
        Ok(true)
    }
}
