//! The ordered walk over an adaptive radix tree.
//!
//! 1. A cursor keeps the way from the root to the leaf it stands on: per node the position taken and the link that was
//!    there. Moving climbs to the first node with a child on the wanted side and descends along its edge.
//! 2. Before it trusts a node on the way, it looks whether the node is obsolete and whether its slot still holds what was
//!    descended into. If not, somebody has inserted there since, and the way is found anew from the key stood on, once:
//!    what is found then was there when the movement began, or came meanwhile.
//! 3. The way has room for [`WAY_MAX`] nodes, so a cursor takes no memory from anybody. What is above them is found again
//!    from the root when it is needed: keys that are prefixes of each other can be 65,536 levels deep.
//!
//! 4. While nobody inserts, a walk forward needs no second look: it gathers the next leaves into a queue and lets their
//!    cache misses overlap. The index counts its changes; once the count has changed the queue is thrown away.
//!
//! So an entry inserted before a movement began is met by it, wherever it lies.

use std::convert::Infallible;

use super::lock::State;
use super::memory::{Link, Memory, Slot};
use super::{ArtIndex, agreed_bytes};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, SeqNo};

/// Nodes on the way that are remembered. A tree of random keys has 3 to 5 levels, one of paths some 10 to 20.
const WAY_MAX: usize = if cfg!(any(loom, shuttle)) { 2 } else { 24 };

/// The largest position: that of byte 255.
const POSITION_MAX: u16 = 1 + u8::MAX as u16;

/// Leaves gathered ahead: about as many as a core can fetch at once. It is filled up when half of it is used up.
const QUEUE_MAX: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };

/// Leaves that follow the one stood on, as long as nobody inserts.
struct Queue {
    leaves: [Link; QUEUE_MAX],
    next: usize,
    end: usize,
    /// The index's count of changes, read before the way was begun from which the leaves are gathered.
    changes: u64,
    /// The count found by the last movement for which it was another one.
    later_changes: u64,
    /// Whether a node on the way or gathered from was locked: a change counted before may have been missed.
    is_blurred: bool,
    /// Whether the way leads to the last leaf gathered, or past the end, in place of the leaf stood on.
    has_way: bool,
}

/// One node on the way.
#[derive(Clone, Copy)]
struct Step {
    /// The node, or nil for the root's slot.
    node: Link,
    /// 0 is the key that ends at the node, `1 + byte` a child.
    position: u16,
    /// What was there.
    child: Link,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// What the last step of an approach holds, seen from the key approached.
enum Found {
    /// The versions of this very key.
    Versions(Link),
    /// Only greater keys.
    Greater(Link),
    /// Only smaller keys.
    Smaller(Link),
    /// Nothing.
    Nothing,
}

pub(super) struct ArtCursor<'index> {
    index: &'index ArtIndex,
    /// The leaf stood on, or nil.
    leaf: Link,
    way: [Step; WAY_MAX],
    steps: usize,
    queue: Queue,
    /// The byte up to which the last step's node has been looked ahead into, if that was done.
    ahead: Option<u8>,
    /// Nodes up to this level lie on the way of the key approached last; deeper ones only seem to.
    level_max: usize,
}

impl<'index> ArtCursor<'index> {
    pub(super) fn new(index: &'index ArtIndex) -> Self {
        let nowhere = Step { node: Link::NIL, position: 0, child: Link::NIL };
        let leaves = [Link::NIL; QUEUE_MAX];
        let queue = Queue {
            leaves,
            next: 0,
            end: 0,
            changes: 0,
            later_changes: 0,
            is_blurred: false,
            has_way: false,
        };
        let way = [nowhere; WAY_MAX];
        Self { index, leaf: Link::NIL, way, steps: 0, queue, ahead: None, level_max: usize::MAX }
    }

    fn memory(&self) -> &'index Memory {
        &self.index.memory
    }

    fn push(&mut self, step: Step) {
        if self.steps == WAY_MAX {
            self.way.copy_within(WAY_MAX / 2.., 0);
            self.steps = WAY_MAX - WAY_MAX / 2;
        }
        self.way[self.steps] = step;
        self.steps += 1;
        self.ahead = None;
    }

    /// The end of the way. The first step is the root's slot; without any, that part of the way was forgotten.
    fn last_step(&self) -> Option<Step> {
        self.way.get(self.steps.checked_sub(1)?).copied()
    }

    /// Begins the way with the root's slot, and answers what is there.
    fn begin(&mut self) -> Link {
        self.steps = 0;
        self.look_at_root();
        let child = self.index.root.load();
        self.push(Step { node: Link::NIL, position: 0, child });
        child
    }

    /// To be called before a new way begins with the root's slot.
    fn look_at_root(&mut self) {
        self.queue.has_way = false;
        self.queue.changes = self.index.changes.count();
        self.queue.is_blurred = self.index.root_word.load().is_locked();
    }

    /// The state of a node, before its slots are read for the way.
    fn look_at(&mut self, node: Link) -> State {
        let state = self.memory().header(node).word.load();
        self.queue.is_blurred |= state.is_locked();
        state
    }

    fn stand_on(&mut self, leaf: Link) -> bool {
        self.leaf = leaf;
        if !leaf.is_nil() {
            // What was known of the key that was sought says nothing about the one stood on, whose way is all there.
            self.level_max = usize::MAX;
        }
        !leaf.is_nil()
    }

    /// Descends from the last step, which holds `child`, to the first or last entry below it.
    fn stand_on_edge(&mut self, mut child: Link, direction: Direction) -> bool {
        while child.is_node() {
            self.look_at(child);
            let (position, below) = self.edge(child, direction);
            self.push(Step { node: child, position, child: below });
            child = below;
        }
        if self.ahead.is_none() {
            self.look_beside(direction);
        }
        self.look_ahead(direction);
        match direction {
            Direction::Backward if child.is_leaf() => self.stand_on(self.memory().oldest(child)),
            _ => self.stand_on(child),
        }
    }

    /// Brings what the next movements in this direction will meet towards the processor: the leaves beside the one stood
    /// on, and when a node is entered, the node beside it.
    fn look_ahead(&mut self, direction: Direction) {
        // A hint orders nothing and decides nothing, but every load for it is one more choice for a model checker.
        if cfg!(any(loom, shuttle)) {
            return;
        }
        let Some(step) = self.last_step().filter(|step| step.node.is_node()) else { return };
        let state = self.memory().header(step.node).word.load();
        let node = self.memory().node(step.node);
        let (here, span) = (step.position.saturating_sub(1) as u8, node.span());
        match (self.ahead, direction) {
            (Some(upto), Direction::Forward) if upto > here.saturating_add(span / 2) || upto == u8::MAX => {}
            (Some(upto), Direction::Backward) if upto < here.saturating_sub(span / 2) || upto == 0 => {}
            (ahead, Direction::Forward) => {
                let upper = here.saturating_add(span);
                node.prefetch(self.memory(), state, ahead.unwrap_or(here).max(here), upper);
                self.ahead = Some(upper);
            }
            (ahead, Direction::Backward) => {
                let lower = here.saturating_sub(span);
                node.prefetch(self.memory(), state, lower, ahead.unwrap_or(here).min(here));
                self.ahead = Some(lower);
            }
        }
    }

    /// When a node was entered from the side of `direction`: brings the node beside it towards the processor.
    fn look_beside(&self, direction: Direction) {
        if cfg!(any(loom, shuttle)) {
            return;
        }
        if let Some(step) = self.steps.checked_sub(2).and_then(|above| self.way.get(above))
            && step.node.is_node()
            && let Some((_, child)) = self.beside(step.node, step.position, direction)
        {
            self.memory().prefetch_start(child);
        }
    }

    /// The first or the last position of `node` that holds something.
    fn edge(&self, node: Link, direction: Direction) -> (u16, Link) {
        let here = (0, self.memory().header(node).here.load());
        match direction {
            Direction::Forward if here.1.is_leaf() => here,
            Direction::Forward => self.beside(node, 0, direction).unwrap_or(here),
            Direction::Backward => self.beside(node, POSITION_MAX + 1, direction).unwrap_or(here),
        }
    }

    /// The nearest position of `node` before or after `position` that holds something.
    fn beside(&self, node: Link, position: u16, direction: Direction) -> Option<(u16, Link)> {
        let header = self.memory().header(node);
        let (view, state) = (self.memory().node(node), header.word.load());
        let child = match direction {
            // Position p is byte p - 1, so the byte of the next position is p.
            Direction::Forward => view.at_or_after(state, u8::try_from(position).ok()?),
            Direction::Backward => {
                let upto = position.checked_sub(1)?;
                let child = upto.checked_sub(1).and_then(|byte| view.at_or_before(state, byte as u8));
                if child.is_none() {
                    let here = header.here.load();
                    return here.is_leaf().then_some((0, here));
                }
                child
            }
        };
        child.map(|(byte, link)| (1 + u16::from(byte), link))
    }

    /// One step down towards `key` from `node`, or `None` if all keys below are longer.
    fn step_towards(&self, node: Link, state: State, key: &[u8]) -> Option<Step> {
        let level = state.level();
        let (position, child) = match key.get(level) {
            Some(byte) => {
                let slot = self.memory().node(node).child(state, *byte);
                (1 + u16::from(*byte), slot.map_or(Link::NIL, Slot::load))
            }
            None if key.len() == level => (0, self.memory().header(node).here.load()),
            None => return None,
        };
        Some(Step { node, position, child })
    }

    /// Makes the way to where `key` is or would be.
    fn approach(&mut self, key: &[u8], direction: Direction) -> Found {
        let mut link = self.begin();
        let (mut depth, mut known) = (0, true);
        while link.is_node() {
            let state = self.look_at(link);
            let level = state.level();
            known &= level == depth;
            let Some(step) = self.step_towards(link, state, key) else {
                return self.compare(self.memory().any_leaf(link), key, level);
            };
            self.push(step);
            if step.child.is_nil() {
                self.level_max = level;
                return if known {
                    Found::Nothing
                } else {
                    self.compare(self.memory().any_leaf(link), key, level)
                };
            }
            (link, depth) = (step.child, level + 1);
        }
        if link.is_nil() {
            return Found::Nothing;
        }
        // Before the leaf is touched, so that the misses overlap.
        self.memory().prefetch_start(link);
        self.look_ahead(direction);
        self.look_beside(direction);
        self.compare(link, key, usize::MAX)
    }

    /// Compares `key` with a leaf below the end of its way, which reached a node of `level`, and takes back the steps
    /// beyond the byte where the two part.
    fn compare(&mut self, leaf: Link, key: &[u8], level: usize) -> Found {
        let there = self.memory().leaf(leaf).key();
        let agreed = agreed_bytes(there, key);
        self.level_max = agreed.min(level);
        while let Some(step) = self.last_step()
            && step.node.is_node()
            && self.memory().header(step.node).word.load().level() > agreed
        {
            self.steps -= 1;
        }
        if self.steps == 0 {
            self.follow(key);
        }
        match self.last_step().map_or(Link::NIL, |step| step.child) {
            child if child.is_nil() => Found::Nothing,
            child if there == key => Found::Versions(child),
            child if there > key => Found::Greater(child),
            child => Found::Smaller(child),
        }
    }

    /// Makes the way of `key` again, as far as it is known.
    fn follow(&mut self, key: &[u8]) {
        let mut link = self.begin();
        while link.is_node()
            && let state = self.look_at(link)
            && state.level() <= self.level_max
            && let Some(step) = self.step_towards(link, state, key)
        {
            self.push(step);
            link = step.child;
        }
    }

    /// What the slot of `step` holds now, if the way through it is still the way: the node is not obsolete, and what was
    /// descended into is still there.
    fn look_again(&self, step: Step) -> Option<Link> {
        let now = if step.node.is_nil() {
            self.index.root.load()
        } else {
            let header = self.memory().header(step.node);
            let state = header.word.load();
            if state.is_obsolete() {
                return None;
            }
            match step.position.checked_sub(1) {
                None => header.here.load(),
                Some(byte) => self.memory().node(step.node).child(state, byte as u8).map(Slot::load)?,
            }
        };
        // A leaf in a leaf's place is a newer version of the same key.
        (now == step.child || now.is_leaf() && step.child.is_leaf()).then_some(now)
    }

    /// Stands on the nearest entry of another key, before or after the end of the way. The way is that of `key`; it is
    /// trusted without another look if this very movement made it.
    fn leave(&mut self, key: &[u8], direction: Direction, mut is_new: bool) -> bool {
        loop {
            let Some(step) = self.last_step() else { return self.leave_from_root(key, direction) };
            if !is_new && self.look_again(step).is_none() {
                self.approach(key, direction);
                is_new = true;
                continue;
            }
            if step.node.is_nil() {
                return self.stand_on(Link::NIL);
            }
            self.look_at(step.node);
            if let Some((position, child)) = self.beside(step.node, step.position, direction) {
                self.way[self.steps - 1] = Step { node: step.node, position, child };
                return self.stand_on_edge(child, direction);
            }
            self.steps -= 1;
            self.ahead = None;
        }
    }

    /// [`leave`](Self::leave) when the part of the way that it needs was forgotten: walks down along `key` and remembers
    /// the last node that has something on the wanted side.
    fn leave_from_root(&mut self, key: &[u8], direction: Direction) -> bool {
        let mut turn = None;
        self.look_at_root();
        let mut link = self.index.root.load();
        while link.is_node()
            && let state = self.look_at(link)
            && state.level() <= self.level_max
            && let Some(step) = self.step_towards(link, state, key)
        {
            if let Some((position, child)) = self.beside(link, step.position, direction) {
                turn = Some(Step { node: link, position, child });
            }
            link = step.child;
        }
        self.steps = 0;
        let Some(turn) = turn else { return self.stand_on(Link::NIL) };
        self.push(turn);
        self.stand_on_edge(turn.child, direction)
    }

    /// The versions of `key`, which is stood on, as they are now; and whether the way was made anew for that.
    fn versions_now(&mut self, key: &[u8]) -> (Link, bool) {
        if !self.queue.has_way
            && let Some(step) = self.last_step()
            && let Some(now) = self.look_again(step)
        {
            return (now, false);
        }
        match self.approach(key, Direction::Backward) {
            Found::Versions(chain) => (chain, true),
            _ => unreachable!("a key that was stood on is never removed"),
        }
    }

    /// Empties the queue, before a movement that does not follow it.
    fn forget_queue(&mut self) {
        (self.queue.next, self.queue.end) = (0, 0);
    }

    /// Fills the queue up. The way leads to the leaf gathered last, or stood on, and is not looked at again.
    fn fill_queue(&mut self) {
        self.queue.leaves.copy_within(self.queue.next..self.queue.end, 0);
        (self.queue.next, self.queue.end) = (0, self.queue.end - self.queue.next);
        self.queue.has_way = true;
        while self.queue.end < QUEUE_MAX
            && !self.queue.is_blurred
            && let Some(step) = self.last_step()
            && step.node.is_node()
        {
            if !self.gather_from(step) {
                self.steps -= 1;
            }
        }
    }

    /// Gathers leaves that follow `step`, the last of the way, in its node, until the queue is full or a node lies between
    /// them, whose first leaf is gathered. Answers whether that was so, or the node has nothing more.
    fn gather_from(&mut self, step: Step) -> bool {
        let node = self.memory().node(step.node);
        let state = self.look_at(step.node);
        if self.queue.is_blurred {
            return true;
        }
        // Position p is byte p - 1, so the byte of the next position is p.
        let Ok(mut from) = u8::try_from(step.position) else { return false };
        let mut bytes = node.bytes_from(state, from);
        loop {
            let child = match &mut bytes {
                Some(bytes) => {
                    bytes.take_first().and_then(|byte| Some((byte, node.child(state, byte)?.load())))
                }
                None => node.at_or_after(state, from),
            };
            let Some((byte, child)) = child else { return false };
            let position = 1 + u16::from(byte);
            self.way[self.steps - 1] = Step { node: step.node, position, child };
            let leaf = self.descend(child);
            if self.queue.is_blurred {
                return true;
            }
            self.memory().prefetch_entry(leaf);
            self.queue.leaves[self.queue.end] = leaf;
            self.queue.end += 1;
            if child.is_node() || self.queue.end == QUEUE_MAX {
                return true;
            }
            let Some(next) = byte.checked_add(1) else { return false };
            from = next;
        }
    }

    /// The first leaf below `child`, which the last step holds; makes the way to it.
    fn descend(&mut self, mut child: Link) -> Link {
        while child.is_node() {
            self.look_at(child);
            let (position, below) = self.edge(child, Direction::Forward);
            self.push(Step { node: child, position, child: below });
            child = below;
            self.look_beside(Direction::Forward);
        }
        child
    }

    /// The next leaf from the queue, unless somebody inserts. `key` is stood on.
    fn next_from_queue(&mut self, key: &[u8]) -> Option<Link> {
        let changes = self.index.changes.count();
        if changes != self.queue.changes || self.queue.is_blurred && self.queue.next == self.queue.end {
            self.forget_queue();
            // Once the count stands still from one movement to the next it is worth gathering again, along a new way.
            if std::mem::replace(&mut self.queue.later_changes, changes) != changes {
                return None;
            }
            self.approach(key, Direction::Forward);
        }
        let left = self.queue.end - self.queue.next;
        if left == 0 && self.queue.has_way {
            return None;
        }
        if left <= QUEUE_MAX / 4 && !self.queue.is_blurred {
            self.fill_queue();
        }
        let leaf = *self.queue.leaves[..self.queue.end].get(self.queue.next)?;
        self.queue.next += 1;
        Some(leaf)
    }
}

impl Cursor for ArtCursor<'_> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.forget_queue();
        let child = self.begin();
        self.level_max = usize::MAX;
        Ok(self.stand_on_edge(child, Direction::Forward))
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.forget_queue();
        let child = self.begin();
        self.level_max = usize::MAX;
        Ok(self.stand_on_edge(child, Direction::Backward))
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.forget_queue();
        let found = match self.approach(key, Direction::Forward) {
            Found::Versions(chain) => self.memory().at_or_below(chain, at.get()),
            Found::Greater(child) => return Ok(self.stand_on_edge(child, Direction::Forward)),
            Found::Smaller(_) | Found::Nothing => Link::NIL,
        };
        Ok(self.stand_on(found) || self.leave(key, Direction::Forward, true))
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.forget_queue();
        let found = match self.approach(key, Direction::Backward) {
            Found::Versions(chain) => self.memory().at_or_above(chain, at.get()),
            Found::Smaller(child) => return Ok(self.stand_on_edge(child, Direction::Backward)),
            Found::Greater(_) | Found::Nothing => Link::NIL,
        };
        Ok(self.stand_on(found) || self.leave(key, Direction::Backward, true))
    }

    fn next(&mut self) -> Result<bool, Infallible> {
        if self.leaf.is_nil() {
            return Ok(false);
        }
        let leaf = self.memory().leaf(self.leaf);
        let older = leaf.older();
        if !older.is_nil() {
            return Ok(self.stand_on(older));
        }
        if let Some(next) = self.next_from_queue(leaf.key()) {
            return Ok(self.stand_on(next));
        }
        let is_new = self.queue.has_way;
        if is_new {
            self.approach(leaf.key(), Direction::Forward);
        }
        Ok(self.leave(leaf.key(), Direction::Forward, is_new))
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        if self.leaf.is_nil() {
            return Ok(false);
        }
        let leaf = self.memory().leaf(self.leaf);
        self.forget_queue();
        let (chain, is_new) = self.versions_now(leaf.key());
        if chain != self.leaf {
            let newer = self.memory().last_above(chain, leaf.seqno());
            return Ok(self.stand_on(newer));
        }
        Ok(self.leave(leaf.key(), Direction::Backward, is_new))
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        (!self.leaf.is_nil()).then(|| self.memory().leaf(self.leaf).entry())
    }
}
