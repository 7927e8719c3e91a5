//! Compacting a range: one table at a time goes down to what it has to be merged with, until no key of the range is in two places.
//!
//! 1. While a table of level 0 may hold keys of the range, it and the older ones are merged downwards, as when everything is
//!    compacted: a newer one must not pass an older one.
//! 2. Then the table furthest up that has something of the range below it is merged with the next level that it overlaps, all of
//!    it: nothing lies in between that it could pass. Every step moves a table down, and what is written after the beginning is
//!    left alone, so there is an end.
//! 3. Between two steps others may compact: writers do not wait for all of the range.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use kausal_index::{BlockIndex, SeqNo};

use crate::compaction::job::Urgency;
use crate::compaction::pick::{Pick, level0_from, take, with_lower};
use crate::compaction::{CompactionPolicy, Step};
use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::scan::KeyRange;
use crate::version::{LEVEL_COUNT, TableFile, Tree};

impl<I: BlockIndex + 'static> Core<I> {
    /// Compacts until no key of the range is in more than one level, as far as it was written up to `through`.
    pub(crate) fn compact_range(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        range: &KeyRange,
        through: SeqNo,
    ) -> Result<(), Error> {
        while !self.health.is_closed() {
            let _turn = self.compaction_turn.lock();
            self.health.check_poisoned()?;
            let version = Arc::clone(&self.view().version);
            let Some(tree) = version.tree(keyspace) else { return Err(Error::NoKeyspace { keyspace }) };
            let Some(picked) = pick_range(tree, &*self.compaction_policy, range, through) else {
                return Ok(());
            };
            self.compact(picked, Urgency::Due)?;
            self.progress.signal();
        }
        Ok(())
    }
}

/// The next step of compacting a range, if there is one.
fn pick_range(tree: &Tree, policy: &dyn CompactionPolicy, range: &KeyRange, through: SeqNo) -> Option<Pick> {
    if !policy.merges() {
        return None;
    }
    let lower: &[u8] = match &range.lower {
        Bound::Included(lower) | Bound::Excluded(lower) => lower,
        Bound::Unbounded => b"",
    };
    let upper = range.upper.as_ref().map(Vec::as_slice);
    let is_in = |file: &Arc<TableFile>| {
        let meta = file.meta();
        meta.seqno_min <= through && !meta.ends_before(lower) && meta.begins_within(upper)
    };
    let level0 = level0_from(tree, is_in);
    if level0 > 0 {
        let below = (1..LEVEL_COUNT).find(|&level| !tree.level(level).files().is_empty());
        return take(tree, Step::Runs { level0, through: 0, target: below.unwrap_or(LEVEL_COUNT - 1) });
    }
    (1..LEVEL_COUNT - 1).find_map(|level| {
        let mut files = tree.level(level).files().iter().filter(|&file| is_in(file));
        files.find_map(|file| {
            let meta = file.meta();
            let common = (lower.max(&meta.key_min), first_end(upper, meta.upper()));
            if !tree.reaches_below(level, common.0, common.1) {
                return None;
            }
            let overlaps =
                |&deeper: &usize| !tree.level(deeper).overlapping(&meta.key_min, meta.upper()).is_empty();
            let target = (level + 1..LEVEL_COUNT).find(overlaps)?;
            Some(with_lower(tree, target, vec![vec![Arc::clone(file)]]))
        })
    })
}

/// The bound that ends first.
fn first_end<'a>(left: Bound<&'a [u8]>, right: Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    let (left_key, right_key) = match (left, right) {
        (Bound::Unbounded, _) => return right,
        (_, Bound::Unbounded) => return left,
        (Bound::Included(left) | Bound::Excluded(left), Bound::Included(right) | Bound::Excluded(right)) => {
            (left, right)
        }
    };
    match left_key.cmp(right_key) {
        Ordering::Less => left,
        Ordering::Greater => right,
        Ordering::Equal if matches!(left, Bound::Excluded(_)) => left,
        Ordering::Equal => right,
    }
}
