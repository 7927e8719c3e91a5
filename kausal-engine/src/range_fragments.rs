//! Range tombstones on their way to tables: cut at every start and end, reduced to what somebody can still see, and handed out
//! table by table.
//!
//! 1. [`FragmentsBuilder`] takes range tombstones of any order and overlap.
//! 2. `build` sweeps over their bounds. Of those that cover one fragment and no snapshot tells apart, only the newest stays.
//! 3. The merge that writes the tables asks [`RangeFragments::covering`] which entries are hidden, and takes the fragments of
//!    each table with [`RangeFragments::between`]: cut at the table's border, so that nothing is lost there and no table
//!    speaks of keys of another.
//!
//! Working set: the bounds once, a number for each fragment and stripe of snapshots; charged.

use std::collections::BTreeMap;

use kausal_arena::{AllocError, Budget, Reservation};
use kausal_index::{RangeTombstone, SeqNo};

use crate::retention::Stripes;

#[derive(Debug)]
struct Tombstone {
    start: Box<[u8]>,
    end: Box<[u8]>,
    seqno: SeqNo,
}

/// Collects range tombstones.
#[derive(Debug)]
pub(crate) struct FragmentsBuilder {
    tombstones: Vec<Tombstone>,
    charge: Reservation,
}

impl FragmentsBuilder {
    pub(crate) fn new(budget: &Budget) -> Result<Self, AllocError> {
        Ok(Self { tombstones: Vec::new(), charge: budget.reserve(0)? })
    }

    /// What is charged for a range tombstone.
    pub(crate) fn bytes(tombstone: RangeTombstone<'_>) -> usize {
        let keys = tombstone.start.len() + tombstone.end.len();
        // Twice the keys: as collected, and as bounds of fragments.
        2 * (keys + size_of::<Tombstone>()) + 4 * size_of::<Fragment>()
    }

    pub(crate) fn add(&mut self, tombstone: RangeTombstone<'_>) -> Result<(), AllocError> {
        self.charge.resize(self.charge.bytes() + Self::bytes(tombstone))?;
        let RangeTombstone { start, end, seqno } = tombstone;
        self.tombstones.push(Tombstone { start: start.into(), end: end.into(), seqno });
        Ok(())
    }

    /// The fragments. `is_bottom` tells whether no older place holds a key of a range: what everybody sees there hides
    /// nothing any more, and is not written.
    pub(crate) fn build(
        self,
        stripes: &Stripes,
        is_bottom: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<RangeFragments, AllocError> {
        let mut built = RangeFragments { fragments: Vec::new(), _charge: self.charge };
        let mut events: Vec<(Box<[u8]>, bool, SeqNo)> = Vec::with_capacity(2 * self.tombstones.len());
        for Tombstone { start, end, seqno } in self.tombstones {
            events.push((start, true, seqno));
            events.push((end, false, seqno));
        }
        events.sort_by(|left, right| left.0.cmp(&right.0));
        // How many tombstones with this number cover the place that the sweep has come to.
        let mut active: BTreeMap<SeqNo, usize> = BTreeMap::new();
        let mut events = events.into_iter().peekable();
        while let Some((bound, begins, seqno)) = events.next() {
            let count = active.entry(seqno).or_default();
            if begins {
                *count += 1;
            } else {
                *count -= 1;
                if *count == 0 {
                    active.remove(&seqno);
                }
            }
            let Some((next, ..)) = events.peek() else { break };
            if *next == bound || active.is_empty() {
                continue;
            }
            let seqnos = stripes.newest_of_each(active.keys().rev().copied());
            let oldest_is_done = || is_bottom(&bound, next);
            let is_done = seqnos.last().is_some_and(|&oldest| stripes.of(oldest) == 0) && oldest_is_done();
            let written = seqnos.len() - usize::from(is_done);
            built.fragments.push(Fragment { start: bound, end: next.clone(), seqnos, written });
        }
        Ok(built)
    }
}

#[derive(Debug)]
struct Fragment {
    start: Box<[u8]>,
    end: Box<[u8]>,
    /// Descending.
    seqnos: Box<[SeqNo]>,
    /// How many of them go to the tables; the rest only hides entries of the merge.
    written: usize,
}

/// Fragments in ascending order; no two share a key.
#[derive(Debug)]
pub(crate) struct RangeFragments {
    fragments: Vec<Fragment>,
    _charge: Reservation,
}

impl RangeFragments {
    /// The newest range tombstone at or below `at` that covers `key`, among those that the snapshots tell apart.
    #[inline]
    pub(crate) fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        // Of most merges: every entry asks, twice.
        if self.fragments.is_empty() { None } else { self.find_covering(key, at) }
    }

    fn find_covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        let place = self.fragments.partition_point(|fragment| *fragment.end <= *key);
        let fragment = self.fragments.get(place).filter(|fragment| *fragment.start <= *key)?;
        fragment.seqnos.iter().copied().find(|&seqno| seqno <= at)
    }

    /// What is to be written of the keys from `lower` to before `upper`, in the order that a table wants.
    pub(crate) fn between<'a>(
        &'a self,
        lower: &'a [u8],
        upper: Option<&'a [u8]>,
    ) -> impl Iterator<Item = RangeTombstone<'a>> {
        let first = self.fragments.partition_point(|fragment| *fragment.end <= *lower);
        let inside = move |fragment: &&Fragment| upper.is_none_or(|upper| *fragment.start < *upper);
        self.fragments[first..].iter().take_while(inside).flat_map(move |fragment| {
            let start = lower.max(&fragment.start);
            let end = upper.map_or(&*fragment.end, |upper| upper.min(&fragment.end));
            let seqnos = fragment.seqnos[..fragment.written].iter();
            seqnos.map(move |&seqno| RangeTombstone { start, end, seqno })
        })
    }
}
