//! Which versions of a key somebody can still see.
//!
//! Live snapshots cut the history into stripes; of the versions of a key in one stripe only the newest can be seen, and not
//! even that if a range tombstone of the same stripe is newer. A tombstone that is the newest of the oldest stripe hides
//! nothing once no older place holds the key.

use kausal_index::{EntryRef, Kind, SeqNo};

use crate::planted::is_planted;
use crate::range_fragments::RangeFragments;
use crate::same_key::is_same_key;

/// The stripes that live snapshots cut the history into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stripes {
    /// Ascending.
    snapshots: Vec<SeqNo>,
}

impl Stripes {
    pub(crate) fn new(snapshots: Vec<SeqNo>) -> Self {
        Self { snapshots }
    }

    /// The stripe of a number, named by the place of the first snapshot that sees it. 0 is seen by everybody.
    pub(crate) fn of(&self, seqno: SeqNo) -> usize {
        self.snapshots.partition_point(|&snapshot| snapshot < seqno)
    }

    /// The last number of a stripe.
    fn last_of(&self, stripe: usize) -> SeqNo {
        self.snapshots.get(stripe).copied().unwrap_or(SeqNo::MAX)
    }

    /// Of descending numbers the first in each stripe.
    pub(crate) fn newest_of_each(&self, seqnos: impl Iterator<Item = SeqNo>) -> Box<[SeqNo]> {
        let mut last = None;
        seqnos.filter(|&seqno| last.replace(self.of(seqno)) != Some(self.of(seqno))).collect()
    }
}

/// Decides entry by entry, in cursor order.
#[derive(Debug)]
pub(crate) struct Retention {
    stripes: Stripes,
    key: Vec<u8>,
    /// The stripe of the version seen last of `key`.
    stripe: Option<usize>,
}

impl Retention {
    pub(crate) fn new(stripes: Stripes) -> Self {
        Self { stripes, key: Vec::new(), stripe: None }
    }

    /// Whether `entry` stays. `is_bottom` tells whether no older place may hold its key.
    pub(crate) fn keeps(
        &mut self,
        entry: EntryRef<'_>,
        fragments: &RangeFragments,
        is_bottom: impl FnOnce() -> bool,
    ) -> bool {
        if self.stripe.is_none() || !is_same_key(&self.key, entry.key) {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            self.stripe = None;
        }
        let stripe = self.stripes.of(entry.seqno);
        if self.stripe.replace(stripe) == Some(stripe) && !is_planted("keep_every_version") {
            return false;
        }
        let covering = fragments.covering(entry.key, self.stripes.last_of(stripe));
        if covering.is_some_and(|seqno| seqno > entry.seqno) {
            return false;
        }
        !(entry.kind == Kind::Delete && stripe == 0 && (is_bottom() || is_planted("drop_tombstone_early")))
    }
}
