//! The budget tree: who may hold how much memory, and who holds it now.
//!
//! 1. A tree has one root with the hard limit and any number of named nodes below it, each with a *floor*
//!    (set aside for it for as long as it lives) and a *ceiling* (more than that it never holds).
//! 2. A charge is made at one node, by [`Budget::reserve`], and is given back when the [`Reservation`] drops.
//! 3. What a node *holds* towards its parent is the larger of its floor and what it and its children use. A charge
//!    is admitted if no node from here to the root would hold more than its ceiling. So space above the floors
//!    is lent to whoever comes first, and a node never waits for what was set aside for it.
//!
//! Invariants, true whenever the lock is free:
//! 1. No node uses more than its ceiling; the root's is the budget.
//! 2. What a node uses is its own charges plus what its children use; so the root equals the sum of the leaves.
//! 3. A child's floor is counted as held at its parent even while unused.
//!
//! One lock guards a tree. It is taken when a region, a chunk or a buffer changes hands, never per entry.
//!
//! Not here: making somebody give memory back. That is the holder's business.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{AllocError, Holders};
use crate::report::{MemoryReport, NodeReport};

/// A node of a memory tree. Cloning gives another handle on the same node, which lives as long as any of its
/// handles, children or reservations.
///
/// # Examples
///
/// ```
/// use kausal_arena::Budget;
///
/// let root = Budget::root("database", 1 << 20);
/// let cache = root.child("cache", 0, 256 << 10).unwrap();
/// let frames = cache.reserve(100 << 10).unwrap();
/// assert_eq!((cache.used(), root.used()), (100 << 10, 100 << 10));
/// assert!(cache.reserve(200 << 10).is_err());
/// drop(frames);
/// assert_eq!(root.used(), 0);
/// ```
#[derive(Clone)]
pub struct Budget {
    node: Arc<NodeHandle>,
}

/// Takes its node out of the tree when the last handle, child and reservation are gone.
struct NodeHandle {
    tree: Arc<Mutex<Tree>>,
    index: usize,
    name: Arc<str>,
    parent: Option<Budget>,
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    /// Places of removed nodes, to be used again.
    free: Vec<usize>,
}

struct Node {
    name: Arc<str>,
    parent: Option<usize>,
    alive: bool,
    floor: usize,
    ceiling: usize,
    own: usize,
    children_used: usize,
    children_held: usize,
    used_max: usize,
}

impl Node {
    fn used(&self) -> usize {
        self.own + self.children_used
    }

    fn held(&self) -> usize {
        self.floor.max(self.own + self.children_held)
    }
}

impl Budget {
    /// The root of a new tree, which never holds more than `ceiling` bytes.
    pub fn root(name: impl Into<Arc<str>>, ceiling: usize) -> Self {
        let name = name.into();
        let mut tree = Tree::default();
        let index = tree.insert(Arc::clone(&name), None, 0, ceiling);
        Self { node: Arc::new(NodeHandle { tree: Arc::new(Mutex::new(tree)), index, name, parent: None }) }
    }

    /// A root without a limit, for arenas that only want to be counted.
    pub fn unlimited(name: impl Into<Arc<str>>) -> Self {
        Self::root(name, usize::MAX)
    }

    /// A node below this one with `floor` bytes set aside for it at once and never more than `ceiling` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError::BudgetExceeded`] if this node or one above it cannot set `floor` bytes aside.
    ///
    /// # Panics
    ///
    /// If `floor` is above `ceiling`.
    pub fn child(&self, name: impl Into<Arc<str>>, floor: usize, ceiling: usize) -> Result<Self, AllocError> {
        assert!(floor <= ceiling, "a node's floor of {floor} bytes is above its ceiling of {ceiling}");
        let name = name.into();
        let mut tree = self.node.tree.lock();
        tree.admit_held(self.node.index, floor)?;
        let index = tree.insert(Arc::clone(&name), Some(self.node.index), floor, ceiling);
        tree.add_held(self.node.index, floor);
        drop(tree);
        let tree = Arc::clone(&self.node.tree);
        Ok(Self { node: Arc::new(NodeHandle { tree, index, name, parent: Some(self.clone()) }) })
    }

    /// Charges `bytes` to this node until the reservation is dropped.
    ///
    /// # Errors
    ///
    /// [`AllocError::BudgetExceeded`] naming the node at its ceiling and the largest holders below it.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, AllocError> {
        self.node.tree.lock().charge(self.node.index, bytes)?;
        Ok(Reservation { budget: self.clone(), bytes })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Bytes charged to this node and the nodes below it.
    pub fn used(&self) -> usize {
        self.read(Node::used)
    }

    /// Bytes this node holds towards its parent: at least its floor, at least what is used.
    pub fn reserved(&self) -> usize {
        self.read(Node::held)
    }

    /// The most bytes that were ever in use here at once.
    pub fn used_max(&self) -> usize {
        self.read(|node| node.used_max)
    }

    /// The node's hard limit in bytes.
    pub fn ceiling(&self) -> usize {
        self.read(|node| node.ceiling)
    }

    /// The node above, if this is not the root.
    pub fn parent(&self) -> Option<&Self> {
        self.node.parent.as_ref()
    }

    /// This node and all below it at one instant.
    pub fn report(&self) -> MemoryReport {
        let tree = self.node.tree.lock();
        let mut nodes = Vec::new();
        tree.report(self.node.index, 0, &mut nodes);
        MemoryReport::new(nodes)
    }

    fn read<T>(&self, field: impl FnOnce(&Node) -> T) -> T {
        field(&self.node.tree.lock().nodes[self.node.index])
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Budget").field("name", &self.name()).field("used", &self.used()).finish()
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.tree.lock().remove(self.index);
    }
}

/// Bytes charged to a node of the budget; given back when dropped.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its bytes back at once"]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The node charged.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Charges more or gives some back, so that `bytes` are charged afterwards.
    ///
    /// # Errors
    ///
    /// [`AllocError::BudgetExceeded`] if the growth is not admitted; the old charge stays.
    pub fn resize(&mut self, bytes: usize) -> Result<(), AllocError> {
        let mut tree = self.budget.node.tree.lock();
        if bytes > self.bytes {
            tree.charge(self.budget.node.index, bytes - self.bytes)?;
        } else {
            tree.release(self.budget.node.index, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.node.tree.lock().release(self.budget.node.index, self.bytes);
    }
}

impl Tree {
    fn insert(&mut self, name: Arc<str>, parent: Option<usize>, floor: usize, ceiling: usize) -> usize {
        let node = Node {
            name,
            parent,
            alive: true,
            floor,
            ceiling,
            own: 0,
            children_used: 0,
            children_held: 0,
            used_max: 0,
        };
        match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        debug_assert_eq!(node.used(), 0, "reservations keep their node alive");
        node.alive = false;
        let (parent, floor) = (node.parent, node.held());
        if let Some(parent) = parent {
            self.remove_held(parent, floor);
        }
        self.free.push(index);
    }

    /// Whether node `at` may hold `more` bytes for a child, all the way up.
    fn admit_held(&self, at: usize, more: usize) -> Result<(), AllocError> {
        let mut more = more;
        let mut place = Some(at);
        while let Some(index) = place
            && more > 0
        {
            let node = &self.nodes[index];
            let inner = node.own + node.children_held;
            let free = node.ceiling.saturating_sub(inner);
            if more > free {
                return Err(self.exceeded(index, more, free));
            }
            more = node.floor.max(inner + more) - node.held();
            place = node.parent;
        }
        Ok(())
    }

    fn add_held(&mut self, at: usize, more: usize) {
        self.change_held(at, |held| held + more);
    }

    fn remove_held(&mut self, at: usize, less: usize) {
        self.change_held(at, |held| held - less);
    }

    /// Changes what the children of `at` hold, and carries the change of `at`'s own hold upwards.
    fn change_held(&mut self, at: usize, change: impl FnOnce(usize) -> usize) {
        let node = &mut self.nodes[at];
        let before = node.held();
        node.children_held = change(node.children_held);
        self.carry(at, before);
    }

    /// Carries the change of what `at` holds, `before` until now, to the root.
    fn carry(&mut self, at: usize, before: usize) {
        let (mut index, mut before) = (at, before);
        loop {
            let after = self.nodes[index].held();
            let Some(parent) = self.nodes[index].parent else { return };
            if after == before {
                return;
            }
            let node = &mut self.nodes[parent];
            let parent_before = node.held();
            node.children_held = node.children_held + after - before;
            (index, before) = (parent, parent_before);
        }
    }

    fn charge(&mut self, at: usize, bytes: usize) -> Result<(), AllocError> {
        self.admit_held(at, bytes)?;
        let before = self.nodes[at].held();
        self.nodes[at].own += bytes;
        self.carry(at, before);
        let mut place = Some(at);
        while let Some(index) = place {
            let node = &mut self.nodes[index];
            if index != at {
                node.children_used += bytes;
            }
            node.used_max = node.used_max.max(node.used());
            place = node.parent;
        }
        Ok(())
    }

    fn release(&mut self, at: usize, bytes: usize) {
        let before = self.nodes[at].held();
        self.nodes[at].own -= bytes;
        self.carry(at, before);
        let mut place = self.nodes[at].parent;
        while let Some(index) = place {
            self.nodes[index].children_used -= bytes;
            place = self.nodes[index].parent;
        }
    }

    fn exceeded(&self, index: usize, need: usize, have: usize) -> AllocError {
        let mut holders: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(place, node)| node.alive && node.own > 0 && self.is_below(*place, index))
            .map(|(_, node)| (Arc::clone(&node.name), node.own))
            .collect();
        holders.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        holders.truncate(3);
        let node = Arc::clone(&self.nodes[index].name);
        AllocError::BudgetExceeded { node, need, have, holders: Holders(holders) }
    }

    fn is_below(&self, mut place: usize, index: usize) -> bool {
        loop {
            if place == index {
                return true;
            }
            match self.nodes[place].parent {
                Some(parent) => place = parent,
                None => return false,
            }
        }
    }

    fn report(&self, index: usize, depth: usize, nodes: &mut Vec<NodeReport>) {
        let node = &self.nodes[index];
        let children: Vec<usize> = (0..self.nodes.len())
            .filter(|&place| self.nodes[place].alive && self.nodes[place].parent == Some(index))
            .collect();
        nodes.push(NodeReport {
            name: Arc::clone(&node.name),
            depth,
            used: node.used(),
            reserved: node.held(),
            floor: node.floor,
            limit: node.ceiling,
            used_max: node.used_max,
            is_leaf: children.is_empty(),
        });
        // What an inner node holds itself is shown as a leaf, so that the leaves add up to the root.
        if !children.is_empty() && node.own > 0 {
            nodes.push(NodeReport {
                name: "(own)".into(),
                depth: depth + 1,
                used: node.own,
                reserved: node.own,
                floor: 0,
                limit: node.ceiling,
                used_max: node.own,
                is_leaf: true,
            });
        }
        for child in children {
            self.report(child, depth + 1, nodes);
        }
    }
}
