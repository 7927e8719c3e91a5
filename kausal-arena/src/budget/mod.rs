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
//! A tree may stand below the host's own pool ([`HostPool`]), and many small charges go through an [`Allowance`], which
//! touches the lock once per quantum.
//!
//! | room | what lives there |
//! |---|---|
//! | `tree` | the arithmetic, under the lock |
//! | `allowance`, `host` | small charges without the lock; the world above the root |
//! | `leases` | who holds the memory of a node's arena |
//! | `events` | what happened last |
//!
//! Not here: which chunk to give back. Whoever keeps some is a [`Shrink`].

mod allowance;
mod events;
mod host;
mod leases;
mod tree;

use std::fmt;
use std::sync::{Arc, Weak};

pub use self::allowance::{Allotment, Allowance};
pub use self::events::{MemoryEvent, MemoryEventKind, MemoryEvents};
pub use self::host::{HOST_QUANTUM_BYTES, HostPool, Shrink};
pub(crate) use self::leases::{LeaseOwner, LeaseRecord, Ticket};

use self::host::Outside;
use self::leases::LeaseRegister;
use self::tree::{Node, Refused, Tree};
use crate::error::AllocError;
use crate::report::MemoryReport;
use crate::sync::{AtomicBool, Mutex, Ordering};

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
    whole: Arc<Whole>,
    index: usize,
    name: Arc<str>,
    leases: Arc<LeaseRegister>,
    parent: Option<Budget>,
    comes_first: AtomicBool,
}

/// What the nodes of one tree share.
struct Whole {
    tree: Mutex<Tree>,
    is_tracing: AtomicBool,
    outside: Outside,
}

impl Whole {
    /// Makes a change to the tree, asking the host for more if it takes that.
    fn change<T>(&self, change: impl Fn(&mut Tree) -> Result<T, Refused>) -> Result<T, AllocError> {
        loop {
            let missing = {
                let mut tree = self.tree.lock();
                match change(&mut tree) {
                    Ok(done) => return Ok(done),
                    Err(Refused::Exceeded { at, error }) => {
                        tree.note_refusal(at, &error);
                        return Err(error);
                    }
                    Err(Refused::Host(missing)) => missing,
                }
            };
            // Without the lock: the host may call back.
            let granted = self.outside.grant(missing).ok_or(AllocError::HostRefused { need: missing })?;
            let mut tree = self.tree.lock();
            tree.granted = tree.granted.map(|before| before + granted);
        }
    }

    /// Makes a change that only gives back, and passes on to the host what is not needed.
    fn give_back(&self, change: impl FnOnce(&mut Tree)) {
        let excess = {
            let mut tree = self.tree.lock();
            change(&mut tree);
            tree.take_excess(HOST_QUANTUM_BYTES)
        };
        self.outside.give_back(excess);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let granted = self.tree.lock().granted.unwrap_or(0);
        self.outside.give_back(granted);
    }
}

impl Budget {
    /// The root of a new tree, which never holds more than `ceiling` bytes.
    pub fn root(name: impl Into<Arc<str>>, ceiling: usize) -> Self {
        Self::with_outside(Outside::default(), name.into(), ceiling)
    }

    /// A root without a limit, for arenas that only want to be counted.
    pub fn unlimited(name: impl Into<Arc<str>>) -> Self {
        Self::root(name, usize::MAX)
    }

    /// A root that never holds more than `ceiling` bytes, nor more than `host` grants it.
    pub fn root_in(host: Arc<dyn HostPool>, name: impl Into<Arc<str>>, ceiling: usize) -> Self {
        Self::with_outside(Outside { host: Some(host), ..Outside::default() }, name.into(), ceiling)
    }

    fn with_outside(outside: Outside, name: Arc<str>, ceiling: usize) -> Self {
        let mut tree = Tree::default();
        tree.granted = outside.host.as_ref().map(|_| 0);
        let leases = Arc::<LeaseRegister>::default();
        let node = Node::new(Arc::clone(&name), Arc::clone(&leases), None, 0, ceiling);
        let index = tree.insert_root(node);
        let is_tracing = AtomicBool::new(cfg!(debug_assertions));
        let whole = Arc::new(Whole { tree: Mutex::new(tree), is_tracing, outside });
        let comes_first = AtomicBool::new(false);
        Self { node: Arc::new(NodeHandle { whole, index, name, leases, parent: None, comes_first }) }
    }

    /// A node below this one with `floor` bytes set aside for it at once and never more than `ceiling` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError::BudgetExceeded`] if this node or one above it cannot set `floor` bytes aside,
    /// [`AllocError::HostRefused`] if the host does not.
    ///
    /// # Panics
    ///
    /// If `floor` is above `ceiling`.
    pub fn child(&self, name: impl Into<Arc<str>>, floor: usize, ceiling: usize) -> Result<Self, AllocError> {
        assert!(floor <= ceiling, "a node's floor of {floor} bytes is above its ceiling of {ceiling}");
        let name = name.into();
        let leases = Arc::<LeaseRegister>::default();
        let whole = Arc::clone(&self.node.whole);
        let index = whole.change(|tree| {
            let parent = Some(self.node.index);
            tree.insert(Node::new(Arc::clone(&name), Arc::clone(&leases), parent, floor, ceiling))
        })?;
        let (parent, comes_first) = (Some(self.clone()), AtomicBool::new(false));
        Ok(Self { node: Arc::new(NodeHandle { whole, index, name, leases, parent, comes_first }) })
    }

    /// Charges `bytes` to this node until the reservation is dropped. O(depth of the node), under the tree's lock.
    ///
    /// # Errors
    ///
    /// [`AllocError::BudgetExceeded`] naming the node at its ceiling and the largest holders below it;
    /// [`AllocError::HostRefused`] if the host has no more. Nothing is charged then.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, AllocError> {
        let mut reservation = Reservation::empty(self);
        reservation.resize(bytes)?;
        Ok(reservation)
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
        let tree = self.node.whole.tree.lock();
        let mut nodes = Vec::new();
        tree.report(self.node.index, 0, &mut nodes);
        MemoryReport::new(nodes)
    }

    /// Switches the debug mode of the whole tree on or off: while it is on, every lease taken is entered in the report
    /// with the place in the source that took it, at the price of a lock and a clock per lease. On by default in debug
    /// builds. Leases with a name ([`ArenaCoordinator::lease_named`](crate::ArenaCoordinator::lease_named)) are always
    /// in the report.
    pub fn trace_leases(&self, on: bool) {
        // Relaxed: a lease taken meanwhile may be traced or not.
        self.node.whole.is_tracing.store(on, Ordering::Relaxed);
    }

    /// Asks whoever keeps idle memory of this tree to let about `bytes` go, and gives the host back all that is not in
    /// use. Returns how many bytes the keepers let go. What the host calls when it is short.
    pub fn please_shrink(&self, bytes: usize) -> usize {
        let freed = self.node.whole.outside.shrink(bytes);
        let excess = {
            let mut tree = self.node.whole.tree.lock();
            tree.note(self.node.index, MemoryEventKind::GaveBack { asked: bytes }, freed);
            tree.take_excess(0)
        };
        self.node.whole.outside.give_back(excess);
        freed
    }

    /// Lets this node and those below it come before whoever keeps idle memory: where a node above has no room for a charge,
    /// the tree's keepers are asked to shrink, and the charge is tried once more. The keepers' own nodes must not come first,
    /// and who charges a node that does must hold no lock that a [`Shrink`] takes.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Mutex, Weak};
    /// use kausal_arena::{Budget, Reservation, Shrink};
    ///
    /// struct Cache(Mutex<Vec<Reservation>>);
    /// impl Shrink for Cache {
    ///     fn shrink(&self, _bytes: usize) -> usize {
    ///         self.0.lock().unwrap().drain(..).map(|kept| kept.bytes()).sum()
    ///     }
    /// }
    ///
    /// let root = Budget::root("database", 100);
    /// let cache = Arc::new(Cache(Mutex::new(vec![root.child("cache", 0, 100).unwrap().reserve(90).unwrap()])));
    /// let weak: Weak<Cache> = Arc::downgrade(&cache);
    /// root.add_shrinker(weak);
    ///
    /// let requests = root.child("requests", 0, 60).unwrap();
    /// assert!(requests.reserve(50).is_err());
    /// requests.come_first(true);
    /// assert!(requests.reserve(70).is_err() && cache.0.lock().unwrap().len() == 1, "its own limit is no reason to ask");
    /// assert!(requests.reserve(50).is_ok() && cache.0.lock().unwrap().is_empty());
    /// ```
    pub fn come_first(&self, on: bool) {
        // Relaxed: a charge that is made meanwhile may ask or not.
        self.node.comes_first.store(on, Ordering::Relaxed);
    }

    fn comes_first(&self) -> bool {
        self.node.comes_first.load(Ordering::Relaxed) || self.parent().is_some_and(Self::comes_first)
    }

    /// Registers somebody who keeps idle memory of this tree, for as long as it lives.
    pub fn add_shrinker(&self, shrinker: Weak<dyn Shrink>) {
        self.node.whole.outside.shrinkers.lock().push(shrinker);
    }

    pub(crate) fn is_tracing(&self) -> bool {
        self.node.whole.is_tracing.load(Ordering::Relaxed)
    }

    pub(crate) fn enter_lease(&self, record: LeaseRecord) -> Ticket {
        self.node.leases.enter(record)
    }

    pub(crate) fn lease_record(&self, ticket: Ticket) -> Option<LeaseRecord> {
        self.node.leases.record(ticket)
    }

    pub(crate) fn leave_lease(&self, ticket: Ticket) {
        self.node.leases.leave(ticket);
    }

    pub(crate) fn leases(&self) -> Vec<crate::report::LeaseReport> {
        self.node.leases.report()
    }

    fn read<T>(&self, field: impl FnOnce(&Node) -> T) -> T {
        field(self.node.whole.tree.lock().node(self.node.index))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Budget").field("name", &self.name()).field("used", &self.used()).finish()
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.whole.give_back(|tree| tree.remove(self.index));
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
    /// A reservation of nothing, to grow later.
    pub fn empty(budget: &Budget) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

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
    /// [`AllocError`] as [`Budget::reserve`] if the growth is not admitted; the old charge stays.
    pub fn resize(&mut self, bytes: usize) -> Result<(), AllocError> {
        if bytes <= self.bytes {
            self.shrink_to(bytes);
            return Ok(());
        }
        let (node, more) = (&self.budget.node, bytes - self.bytes);
        let charge = || node.whole.change(|tree| tree.charge(node.index, more));
        match charge() {
            // A node above is full.
            Err(AllocError::BudgetExceeded { node: full, need, have, .. })
                if !Arc::ptr_eq(&full, &node.name)
                    && self.budget.comes_first()
                    && self.budget.please_shrink(need - have) > 0 =>
            {
                charge()?;
            }
            other => other?,
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives back what is charged beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let node = &self.budget.node;
            node.whole.give_back(|tree| tree.release(node.index, self.bytes - bytes));
            self.bytes = bytes;
        }
    }

    /// Moves `bytes` of this charge to `target`, which may be on another node. Within one tree nobody sees them counted
    /// twice, or not at all, in between.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the target's node does not admit them; nothing has changed then.
    ///
    /// # Panics
    ///
    /// If fewer than `bytes` are charged here.
    pub fn transfer(&mut self, target: &mut Self, bytes: usize) -> Result<(), AllocError> {
        assert!(bytes <= self.bytes, "{bytes} bytes to move, {} are charged", self.bytes);
        let (from, to) = (&self.budget.node, &target.budget.node);
        if Arc::ptr_eq(&from.whole, &to.whole) {
            from.whole.change(|tree| tree.transfer(from.index, to.index, bytes))?;
            target.bytes += bytes;
            self.bytes -= bytes;
        } else {
            target.resize(target.bytes + bytes)?;
            self.shrink_to(self.bytes - bytes);
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
