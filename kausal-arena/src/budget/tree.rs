//! The arithmetic of a budget tree: what a charge does to every node from its own to the root.
//!
//! All of it happens under one lock, which its owner holds. Nothing here calls out, so nothing can fail half way:
//! [`Tree::charge`] looks first and changes afterwards.

use std::sync::Arc;

use super::events::{MemoryEvent, MemoryEventKind, MemoryEvents, Ring};
use super::leases::LeaseRegister;
use crate::error::{AllocError, Holders};
use crate::report::NodeReport;

#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Places of removed nodes, to be used again.
    free: Vec<usize>,
    /// Granted by the host's pool; `None` without a host.
    pub(super) granted: Option<usize>,
    /// What happened last, if that is recorded.
    pub(super) events: Option<Ring>,
}

pub(super) struct Node {
    name: Arc<str>,
    leases: Arc<LeaseRegister>,
    parent: Option<usize>,
    alive: bool,
    floor: usize,
    pub(super) ceiling: usize,
    own: usize,
    children_used: usize,
    children_held: usize,
    pub(super) used_max: usize,
}

/// Why a charge was not made.
pub(super) enum Refused {
    /// Node `at` is at its ceiling.
    Exceeded { at: usize, error: AllocError },
    /// The host has granted this many bytes too few.
    Host(usize),
}

impl Node {
    pub(super) fn new(
        name: Arc<str>,
        leases: Arc<LeaseRegister>,
        parent: Option<usize>,
        floor: usize,
        ceiling: usize,
    ) -> Self {
        let (own, children_used, children_held, used_max) = (0, 0, 0, 0);
        Self {
            name,
            leases,
            parent,
            alive: true,
            floor,
            ceiling,
            own,
            children_used,
            children_held,
            used_max,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.own + self.children_used
    }

    pub(super) fn held(&self) -> usize {
        self.floor.max(self.own + self.children_held)
    }
}

impl Tree {
    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Puts the root in, as node 0.
    pub(super) fn insert_root(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Puts a node below another, and counts its floor as held there.
    pub(super) fn insert(&mut self, node: Node) -> Result<usize, Refused> {
        let (parent, floor) = (node.parent, node.floor);
        if let Some(parent) = parent {
            self.admit(parent, floor)?;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        if let Some(parent) = parent {
            self.change_held(parent, |held| held + floor);
        }
        Ok(index)
    }

    pub(super) fn remove(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        debug_assert_eq!(node.used(), 0, "reservations keep their node alive");
        node.alive = false;
        let (parent, floor) = (node.parent, node.held());
        if let Some(parent) = parent {
            self.change_held(parent, |held| held - floor);
        }
        self.free.push(index);
    }

    /// Whether node `at` may hold `more` bytes beyond what it and its children do, all the way up.
    fn admit(&self, at: usize, more: usize) -> Result<(), Refused> {
        let mut more = more;
        let mut place = Some(at);
        while let Some(index) = place
            && more > 0
        {
            let node = &self.nodes[index];
            let inner = node.own + node.children_held;
            let free = node.ceiling.saturating_sub(inner);
            if more > free {
                return Err(Refused::Exceeded { at: index, error: self.exceeded(index, more, free) });
            }
            more = node.floor.max(inner + more) - node.held();
            place = node.parent;
            if let (None, Some(granted)) = (place, self.granted) {
                let held = node.held() + more;
                return if held > granted { Err(Refused::Host(held - granted)) } else { Ok(()) };
            }
        }
        Ok(())
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

    /// Charges `bytes` to `at`, or changes nothing.
    pub(super) fn charge(&mut self, at: usize, bytes: usize) -> Result<(), Refused> {
        self.admit(at, bytes)?;
        self.add_own(at, bytes);
        self.note_change(at, MemoryEventKind::Grew, bytes);
        Ok(())
    }

    fn add_own(&mut self, at: usize, bytes: usize) {
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
    }

    pub(super) fn release(&mut self, at: usize, bytes: usize) {
        self.take_own(at, bytes);
        self.note_change(at, MemoryEventKind::Shrank, bytes);
    }

    fn take_own(&mut self, at: usize, bytes: usize) {
        let before = self.nodes[at].held();
        self.nodes[at].own -= bytes;
        self.carry(at, before);
        let mut place = self.nodes[at].parent;
        while let Some(index) = place {
            self.nodes[index].children_used -= bytes;
            place = self.nodes[index].parent;
        }
    }

    /// Moves `bytes` from one node to another without counting them twice or not at all in between.
    pub(super) fn transfer(&mut self, from: usize, to: usize, bytes: usize) -> Result<(), Refused> {
        self.take_own(from, bytes);
        let charged = self.charge(to, bytes);
        if charged.is_err() {
            // What was released a moment ago is still free, so this cannot be refused.
            self.add_own(from, bytes);
        } else {
            self.note_change(from, MemoryEventKind::Shrank, bytes);
        }
        charged
    }

    /// Notes that node `at` uses `bytes` more or less, if it entered another quantum by that.
    fn note_change(&mut self, at: usize, kind: MemoryEventKind, bytes: usize) {
        let used = self.nodes[at].used();
        let before = if kind == MemoryEventKind::Grew { used - bytes } else { used + bytes };
        let quantum = MemoryEvents::QUANTUM_BYTES;
        if before / quantum != used / quantum {
            self.note(at, kind, bytes);
        }
    }

    pub(super) fn note_refusal(&mut self, at: usize, error: &AllocError) {
        if let AllocError::BudgetExceeded { need, have, .. } = error {
            self.note(at, MemoryEventKind::Refused { have: *have }, *need);
        }
    }

    /// Notes an event at node `at`, if events are recorded.
    pub(super) fn note(&mut self, at: usize, kind: MemoryEventKind, bytes: usize) {
        let Some(events) = &mut self.events else { return };
        let node = &self.nodes[at];
        let (name, used, limit) = (Arc::clone(&node.name), node.used(), node.ceiling);
        events.note(MemoryEvent { number: 0, node: name, kind, bytes, used, limit });
    }

    /// What the host may have back: granted beyond what the root holds and `keep`.
    pub(super) fn take_excess(&mut self, keep: usize) -> usize {
        let Some(granted) = self.granted else { return 0 };
        let held = self.nodes[0].held();
        let excess = granted.saturating_sub(held + keep);
        self.granted = Some(granted - excess);
        excess
    }

    fn exceeded(&self, index: usize, need: usize, have: usize) -> AllocError {
        let mut holders = Holders::default();
        for (place, node) in self.nodes.iter().enumerate() {
            if node.alive && node.own > 0 && self.is_below(place, index) {
                holders.add(&node.name, node.own);
            }
        }
        AllocError::BudgetExceeded { node: Arc::clone(&self.nodes[index].name), need, have, holders }
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

    /// Adds `index` and the nodes below it to `nodes`, parents before their children.
    pub(super) fn report(&self, index: usize, depth: usize, nodes: &mut Vec<NodeReport>) {
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
            leases: node.leases.report(),
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
                leases: Vec::new(),
            });
        }
        for child in children {
            self.report(child, depth + 1, nodes);
        }
    }
}
