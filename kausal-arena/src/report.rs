//! The memory report: the budget tree at one instant, for people and for programs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One node of a [`MemoryReport`]. All sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct NodeReport {
    /// The node's name.
    pub name: Arc<str>,
    /// Levels below the node the report was asked of.
    pub depth: usize,
    /// Charged here and below.
    pub used: usize,
    /// Held towards the parent: used, or set aside as the floor.
    pub reserved: usize,
    /// Set aside for this node at all times.
    pub floor: usize,
    /// Hard limit; `usize::MAX` is none.
    pub limit: usize,
    /// Most that was in use at once.
    pub used_max: usize,
    /// Whether there is no node below.
    pub is_leaf: bool,
    /// Leases on the node's arena that have a name or were traced, the oldest first.
    pub leases: Vec<LeaseReport>,
}

/// A lease on a generation of a node's arena.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LeaseReport {
    /// The name it was taken under, or the place in the source that took it.
    pub owner: String,
    /// The generation it pins.
    pub generation: u64,
    /// Bytes that it keeps from being given back: what was in use when it was taken, or what its owner stated.
    pub bytes: usize,
    /// How long ago it was taken.
    pub age: Duration,
}

impl fmt::Display for LeaseReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}, {:.1} s)", self.owner, bytes(self.bytes), self.age.as_secs_f64())
    }
}

/// The tree at one instant, parents before their children. `Display` prints it as a table, with the leases below their
/// node; feature `serde` makes it serialisable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MemoryReport {
    nodes: Vec<NodeReport>,
}

impl MemoryReport {
    pub(crate) fn new(nodes: Vec<NodeReport>) -> Self {
        Self { nodes }
    }

    /// The nodes, parents before their children.
    pub fn nodes(&self) -> &[NodeReport] {
        &self.nodes
    }

    /// The node the report was asked of.
    pub fn root(&self) -> &NodeReport {
        &self.nodes[0]
    }

    /// What changed since an `earlier` report of the same tree, in the order of this one; what is gone comes last. The first
    /// is the node to look at: parents come before their children, so follow it down to the last that changed by
    /// as much.
    ///
    /// # Examples
    ///
    /// ```
    /// use kausal_arena::Budget;
    ///
    /// let root = Budget::root("database", 1 << 20);
    /// let (cache, _flush) = (root.child("cache", 0, 1 << 20).unwrap(), root.child("flush", 0, 1 << 20).unwrap());
    /// let before = root.report();
    /// let held = cache.reserve(4096).unwrap();
    /// let changes = root.report().changes_since(&before);
    /// let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    /// assert_eq!(shown, ["database: 0 B, then 4.00 KiB", "database/cache: 0 B, then 4.00 KiB"]);
    /// drop(held);
    /// assert_eq!(root.report().changes_since(&before), []);
    /// ```
    pub fn changes_since(&self, earlier: &Self) -> Vec<NodeChange> {
        let mut before = earlier.used_by_path();
        let mut changes = Vec::new();
        for (path, used) in self.used_by_path() {
            let place = before.iter().position(|(other, _)| *other == path);
            let was = place.map(|place| before.remove(place).1);
            if was != Some(used) {
                changes.push(NodeChange { path, before: was, after: Some(used) });
            }
        }
        changes.extend(before.into_iter().map(|(path, was)| NodeChange {
            path,
            before: Some(was),
            after: None,
        }));
        changes
    }

    /// What each node uses, by the names from the top down to it.
    fn used_by_path(&self) -> Vec<(String, usize)> {
        let mut above: Vec<&str> = Vec::new();
        let path = |node: &NodeReport, above: &[&str]| -> String {
            above.iter().copied().chain([&*node.name]).collect::<Vec<_>>().join("/")
        };
        let mut paths = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            above.truncate(node.depth);
            paths.push((path(node, &above), node.used));
            above.push(&node.name);
        }
        paths
    }

    /// Sum of what the leaves use; equals what the root uses.
    pub fn leaves_used(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_leaf).map(|node| node.used).sum()
    }
}

/// A node that uses more or less than it did, or came, or is gone. See [`MemoryReport::changes_since`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct NodeChange {
    /// Names from the node the report was asked of down to this one, with slashes between.
    pub path: String,
    /// Bytes used then; `None` if there was no such node.
    pub before: Option<usize>,
    /// Bytes used now; `None` if it is gone.
    pub after: Option<usize>,
}

impl fmt::Display for NodeChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |used: Option<usize>| used.map_or("not there".to_owned(), bytes);
        write!(out, "{}: {}, then {}", self.path, shown(self.before), shown(self.after))
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.nodes.iter().map(|node| 2 * node.depth + node.name.len()).max().unwrap_or(0).max(6);
        writeln!(
            out,
            "{:width$} {:>12} {:>12} {:>12} {:>12}",
            "memory", "used", "reserved", "limit", "peak"
        )?;
        for node in &self.nodes {
            let name = format!("{}{}", "  ".repeat(node.depth), node.name);
            let limit = if node.limit == usize::MAX { "none".to_owned() } else { bytes(node.limit) };
            let (used, reserved, peak) = (bytes(node.used), bytes(node.reserved), bytes(node.used_max));
            writeln!(out, "{name:width$} {used:>12} {reserved:>12} {limit:>12} {peak:>12}")?;
            for lease in &node.leases {
                writeln!(out, "{}  leased by {lease}", "  ".repeat(node.depth))?;
            }
        }
        Ok(())
    }
}

/// A size with three significant figures: `0 B`, `4.00 KiB`, `64.0 MiB`.
pub(crate) fn bytes(count: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value >= 100.0 => format!("{value:.0} {}", UNITS[unit]),
        _ if value >= 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.2} {}", UNITS[unit]),
    }
}
