//! The versions of one key: a chain of leaves, newest first.
//!
//! A slot of the tree holds the newest version, every version links to the next older one. A version that is written over
//! an older one also has a jump, placed as in Myers' random-access stack (1983): with `n` versions below, some version is
//! found in O(log n) steps. Versions that arrive out of order, which only concurrent writers cause, are linked in between;
//! jumps pass over them, and since a jump leads to an older version wherever it leads, what is found stays right.
//!
//! Not here: the lock. Who pushes or links in between holds the lock of the node whose slot holds the chain.

use super::leaf::Jump;
use super::memory::{Link, Memory};

impl Memory {
    /// The newest version in `chain` whose number is at most `at`, or nil.
    #[inline]
    pub(super) fn at_or_below(&self, chain: Link, at: u64) -> Link {
        if chain.is_nil() || self.leaf(chain).seqno() <= at {
            return chain;
        }
        self.border(chain, at).1
    }

    /// The oldest version in `chain` whose number is at least `from`, or nil.
    pub(super) fn at_or_above(&self, chain: Link, from: u64) -> Link {
        if self.leaf(chain).seqno() < from {
            return Link::NIL;
        }
        let Some(below) = from.checked_sub(1) else { return self.oldest(chain) };
        self.last_above(chain, below)
    }

    /// The oldest version in `chain`.
    pub(super) fn oldest(&self, chain: Link) -> Link {
        let mut version = chain;
        loop {
            let leaf = self.leaf(version);
            let next = leaf.jump().map_or_else(|| leaf.older(), |jump| jump.to);
            if next.is_nil() {
                return version;
            }
            version = next;
        }
    }

    /// The oldest version with a number above `limit`; the first of `chain` must have one.
    pub(super) fn last_above(&self, chain: Link, limit: u64) -> Link {
        self.border(chain, limit).0
    }

    /// The oldest version with a number above `limit`, and the one below it, or nil, as they were side by side: a link
    /// that is read again may lead to a version that came in between and is above the limit as well.
    fn border(&self, chain: Link, limit: u64) -> (Link, Link) {
        let mut version = chain;
        loop {
            let leaf = self.leaf(version);
            let is_above = |link: Link| self.leaf(link).seqno() > limit;
            if let Some(jump) = leaf.jump()
                && is_above(jump.to)
            {
                version = jump.to;
                continue;
            }
            let older = leaf.older();
            if older.is_nil() || !is_above(older) {
                return (version, older);
            }
            version = older;
        }
    }

    /// The jump of a version that is about to be linked above `older`.
    pub(super) fn jump_above(&self, older: Link) -> Jump {
        let depth_and_jump = |link: Link| {
            let jump = self.leaf(link).jump();
            (jump.map_or(0, |jump| jump.depth), jump.map_or(link, |jump| jump.to))
        };
        let (depth, first) = depth_and_jump(older);
        let (first_depth, second) = depth_and_jump(first);
        let (second_depth, _) = depth_and_jump(second);
        // Two jumps of equal length become one of twice the length.
        let alike = depth.wrapping_sub(first_depth) == first_depth.wrapping_sub(second_depth);
        Jump { to: if alike { second } else { older }, depth: depth.saturating_add(1) }
    }
}
