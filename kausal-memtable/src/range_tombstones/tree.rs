//! The search tree of range tombstones: ordered by (start, end, newest first), balanced by height (Adelson-Velsky and Landis
//! 1962), each node knowing the farthest end and the span of sequence numbers below it, as an interval tree does (Cormen et
//! al., chapter 17). Ours is never changed: adding makes new nodes along one path.
//!
//! 1. A record names the bytes of start and end.
//! 2. A node names a record and two nodes. Names are handles, so that following one is checked and needs no unsafe code.
//! 3. The heights of a node's two sides differ by at most 1, so a tree of `n` nodes is at most 1.44 log₂ n deep.

use std::cmp::Ordering;

use kausal_arena::{AllocError, Handle, Lease, Writer};
use kausal_index::{RangeTombstone, SeqNo};

use super::RangeRefused;

/// A whole tree, or what is below a node; `None` is empty.
pub(super) type Root = Option<Handle<Node>>;

#[derive(Debug)]
pub(super) struct Record {
    start: Handle<[u8]>,
    end: Handle<[u8]>,
    seqno: SeqNo,
}

#[derive(Debug)]
pub(super) struct Node {
    record: Handle<Record>,
    /// The record with the largest end, here and below.
    farthest: Handle<Record>,
    left: Root,
    right: Root,
    oldest: SeqNo,
    newest: SeqNo,
    height: u8,
}

/// Nodes made for one addition, at most, beside one per level: the new one, and two more at the one rotation.
const EXTRA_NODES: usize = 3;

/// Bytes beyond the keys that one range tombstone may take in a region of `capacity` bytes.
pub(super) fn bytes_max(capacity: usize) -> usize {
    let align = align_of::<Node>().max(align_of::<Record>());
    let nodes = height_max(capacity / (size_of::<Node>() + size_of::<Record>())) + EXTRA_NODES;
    // Keys have no alignment, what follows them has one, and all after that fits it.
    size_of::<Record>() + nodes * size_of::<Node>() + (align - 1)
}

/// The height of the deepest balanced tree with at most `count` nodes.
fn height_max(count: usize) -> usize {
    // The fewest nodes of a tree of this height, and of one that is higher by one.
    let (mut height, mut fewest, mut next) = (0, 0, 1);
    while next <= count {
        (fewest, next) = (next, fewest + next + 1);
        height += 1;
    }
    height
}

/// A tree with one more in it.
pub(super) struct Added {
    pub(super) root: Root,
    /// What of the bytes taken can be reached, less what can be reached no more.
    pub(super) live_bytes: usize,
    pub(super) dead_bytes: usize,
}

/// Follows handles of one generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'m> {
    pub(super) lease: &'m Lease,
}

/// Makes nodes, and counts them.
struct Maker<'m, 'p> {
    tree: Tree<'m>,
    pen: &'p Writer,
    nodes: usize,
}

impl<'m> Tree<'m> {
    fn node(self, handle: Handle<Node>) -> &'m Node {
        self.lease.resolve(handle).expect("handles in a tree are of its generation (invariant 1)")
    }

    fn record(self, handle: Handle<Record>) -> &'m Record {
        self.lease.resolve(handle).expect("handles in a tree are of its generation (invariant 1)")
    }

    fn range(self, handle: Handle<Record>) -> RangeTombstone<'m> {
        let record = self.record(handle);
        let key = |handle: Handle<[u8]>| -> &'m [u8] {
            self.lease.resolve(handle).expect("handles in a tree are of its generation (invariant 1)")
        };
        RangeTombstone { start: key(record.start), end: key(record.end), seqno: record.seqno }
    }

    fn height(self, root: Root) -> u8 {
        root.map_or(0, |node| self.node(node).height)
    }

    /// The tree of `root` with `range` in it.
    pub(super) fn add(
        self,
        pen: &Writer,
        root: Root,
        range: RangeTombstone<'_>,
    ) -> Result<Added, RangeRefused> {
        if self.has(root, range) {
            return Err(RangeRefused::Duplicate(range.seqno));
        }
        let keys_bytes = range.start.len() + range.end.len();
        let start = pen.try_alloc_handle_slice_copy(range.start)?;
        let end = pen.try_alloc_handle_slice_copy(range.end)?;
        let record = pen.try_alloc_handle(Record { start, end, seqno: range.seqno })?;
        let mut maker = Maker { tree: self, pen, nodes: 0 };
        let root = Some(maker.insert(root, record, range)?);
        // One node more than before can be reached: all others that were made replace one each, or are replaced themselves.
        let live_bytes = keys_bytes + size_of::<Record>() + size_of::<Node>();
        Ok(Added { root, live_bytes, dead_bytes: (maker.nodes - 1) * size_of::<Node>() })
    }

    fn has(self, mut root: Root, range: RangeTombstone<'_>) -> bool {
        while let Some(handle) = root {
            let node = self.node(handle);
            root = match compare(range, self.range(node.record)) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return true,
            };
        }
        false
    }

    /// The largest sequence number at or below `at` of those that cover `key`.
    pub(super) fn newest(self, root: Root, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        let mut best = None;
        self.improve(root, key, at, &mut best);
        best
    }

    fn improve(self, root: Root, key: &[u8], at: SeqNo, best: &mut Option<SeqNo>) {
        let Some(handle) = root else { return };
        let node = self.node(handle);
        if node.oldest > at || Some(node.newest) <= *best || self.range(node.farthest).end <= key {
            return;
        }
        let range = self.range(node.record);
        if range.start <= key {
            if key < range.end && range.seqno <= at {
                *best = (*best).max(Some(range.seqno));
            }
            self.improve(node.right, key, at, best);
        }
        self.improve(node.left, key, at, best);
    }

    /// Hands all that cover `key` to `found`.
    pub(super) fn each_covering(self, root: Root, key: &[u8], found: &mut impl FnMut(RangeTombstone<'m>)) {
        let Some(handle) = root else { return };
        let node = self.node(handle);
        if self.range(node.farthest).end <= key {
            return;
        }
        let range = self.range(node.record);
        self.each_covering(node.left, key, found);
        if range.start <= key {
            if key < range.end {
                found(range);
            }
            self.each_covering(node.right, key, found);
        }
    }

    /// The smallest start behind `key`.
    pub(super) fn start_after(self, mut root: Root, key: &[u8]) -> Option<&'m [u8]> {
        let mut smallest = None;
        while let Some(handle) = root {
            let node = self.node(handle);
            let start = self.range(node.record).start;
            if start > key {
                smallest = Some(start);
                root = node.left;
            } else {
                root = node.right;
            }
        }
        smallest
    }

    /// The smallest start and the largest end.
    pub(super) fn bounds(self, root: Root) -> Option<(&'m [u8], &'m [u8])> {
        let mut node = self.node(root?);
        let end = self.range(node.farthest).end;
        while let Some(left) = node.left {
            node = self.node(left);
        }
        Some((self.range(node.record).start, end))
    }
}

impl Maker<'_, '_> {
    fn insert(
        &mut self,
        root: Root,
        record: Handle<Record>,
        range: RangeTombstone<'_>,
    ) -> Result<Handle<Node>, AllocError> {
        let Some(handle) = root else { return self.node(record, None, None) };
        let node = self.tree.node(handle);
        match compare(range, self.tree.range(node.record)) {
            Ordering::Less => {
                let left = Some(self.insert(node.left, record, range)?);
                self.balanced(node.record, left, node.right)
            }
            Ordering::Equal | Ordering::Greater => {
                let right = Some(self.insert(node.right, record, range)?);
                self.balanced(node.record, node.left, right)
            }
        }
    }

    /// A node over two sides whose heights differ by at most 2.
    fn balanced(
        &mut self,
        record: Handle<Record>,
        left: Root,
        right: Root,
    ) -> Result<Handle<Node>, AllocError> {
        let tree = self.tree;
        let (left_height, right_height) = (tree.height(left), tree.height(right));
        match (left, right) {
            (Some(high), _) if left_height > right_height + 1 => {
                let high = tree.node(high);
                match high.right {
                    Some(middle) if tree.height(high.left) < tree.height(high.right) => {
                        let middle = tree.node(middle);
                        let left = self.node(high.record, high.left, middle.left)?;
                        let right = self.node(record, middle.right, right)?;
                        self.node(middle.record, Some(left), Some(right))
                    }
                    _ => {
                        let right = self.node(record, high.right, right)?;
                        self.node(high.record, high.left, Some(right))
                    }
                }
            }
            (_, Some(high)) if right_height > left_height + 1 => {
                let high = tree.node(high);
                match high.left {
                    Some(middle) if tree.height(high.right) < tree.height(high.left) => {
                        let middle = tree.node(middle);
                        let left = self.node(record, left, middle.left)?;
                        let right = self.node(high.record, middle.right, high.right)?;
                        self.node(middle.record, Some(left), Some(right))
                    }
                    _ => {
                        let left = self.node(record, left, high.left)?;
                        self.node(high.record, Some(left), high.right)
                    }
                }
            }
            _ => self.node(record, left, right),
        }
    }

    fn node(&mut self, record: Handle<Record>, left: Root, right: Root) -> Result<Handle<Node>, AllocError> {
        let tree = self.tree;
        let range = tree.range(record);
        let (mut farthest, mut end) = (record, range.end);
        let (mut oldest, mut newest, mut height) = (range.seqno, range.seqno, 0);
        for side in [left, right].into_iter().flatten() {
            let side = tree.node(side);
            let side_end = tree.range(side.farthest).end;
            if side_end > end {
                (farthest, end) = (side.farthest, side_end);
            }
            oldest = oldest.min(side.oldest);
            newest = newest.max(side.newest);
            height = height.max(side.height);
        }
        let node = Node { record, farthest, left, right, oldest, newest, height: height + 1 };
        let made = self.pen.try_alloc_handle(node)?;
        self.nodes += 1;
        Ok(made)
    }
}

fn compare(left: RangeTombstone<'_>, right: RangeTombstone<'_>) -> Ordering {
    let ranges = (left.start, left.end).cmp(&(right.start, right.end));
    ranges.then_with(|| right.seqno.cmp(&left.seqno))
}
