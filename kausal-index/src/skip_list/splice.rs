//! Searches: from the head, or from where the last one ended, to the neighbours of a position.

use kausal_arena::sync::Ordering;

use crate::skip_list::node::{Target, node_of};
use crate::skip_list::{HEIGHT_MAX, NIL, SkipListIndex};

/// The neighbours of a position on every level: a node before it, and the link to the first node at or after it, as it
/// was when seen.
pub(super) struct Splice {
    pub(super) before: [u32; HEIGHT_MAX],
    pub(super) after: [u64; HEIGHT_MAX],
}

impl Splice {
    /// The neighbours of every position in an empty list.
    pub(super) fn new(head: u32) -> Self {
        Self { before: [head; HEIGHT_MAX], after: [0; HEIGHT_MAX] }
    }
}

impl SkipListIndex {
    /// The neighbours of `target`.
    pub(super) fn find_splice(&self, target: Target<'_>) -> Splice {
        let mut splice = Splice::new(self.head);
        self.descend(&mut splice, self.levels(), self.head, target);
        splice
    }

    /// Moves a splice to `target`: up to the lowest level on which the last position's neighbours are its own as well,
    /// and down from there. Starts from the head if the target is not behind the last position.
    pub(super) fn move_splice(&self, splice: &mut Splice, target: Target<'_>) {
        let levels = self.levels();
        let last = splice.before[0];
        if last != self.head && !self.nodes.is_before(last, target) {
            return self.descend(splice, levels, self.head, target);
        }
        // Links seen may be out of date, which is found out when linking; but what stood at or behind a target does.
        let fits = |level: &usize| {
            self.nodes.is_end_or_not_before(self.nodes.next(splice.before[*level], *level), target)
        };
        let level = (0..levels).find(fits).unwrap_or(levels);
        let from = if level < levels { splice.before[level] } else { self.head };
        self.descend(splice, (level + 1).min(levels), from, target);
    }

    /// Fills the lowest `levels` levels of a splice, beginning at node `before`, which is before `target` and as tall.
    fn descend(&self, splice: &mut Splice, levels: usize, mut before: u32, target: Target<'_>) {
        for level in (0..levels).rev() {
            let after;
            (before, after) = self.walk(before, level, target);
            splice.before[level] = before;
            splice.after[level] = after;
        }
    }

    /// From `before` along `level` to the neighbours of `target`.
    #[inline]
    pub(super) fn walk(&self, mut before: u32, level: usize, target: Target<'_>) -> (u32, u64) {
        loop {
            let after = self.nodes.next(before, level);
            if self.nodes.is_end_or_not_before(after, target) {
                return (before, after);
            }
            before = node_of(after);
        }
    }

    /// The first node at or after `target`, or nil.
    pub(super) fn find_at_or_after(&self, target: Target<'_>) -> u32 {
        self.find_neighbours(target).1
    }

    /// The last node before `target`, or nil.
    pub(super) fn find_before(&self, target: Target<'_>) -> u32 {
        let before = self.find_neighbours(target).0;
        if before == self.head { NIL } else { before }
    }

    pub(super) fn find_neighbours(&self, target: Target<'_>) -> (u32, u32) {
        let mut before = self.head;
        let mut after = 0;
        for level in (0..self.levels()).rev() {
            (before, after) = self.walk(before, level, target);
        }
        (before, node_of(after))
    }

    /// The last node of all, or nil.
    pub(super) fn find_last(&self) -> u32 {
        let mut last = self.head;
        for level in (0..self.levels()).rev() {
            loop {
                let next = node_of(self.nodes.next(last, level));
                if next == NIL {
                    break;
                }
                last = next;
            }
        }
        if last == self.head { NIL } else { last }
    }

    fn levels(&self) -> usize {
        // Relaxed: a stale height costs a longer walk on a lower level, nothing else.
        self.height.load(Ordering::Relaxed) as usize
    }
}
