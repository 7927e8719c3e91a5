//! Which keys a cursor walks over.

use std::ops::Bound;

use kausal_index::SeqNo;

use super::fill::From;

/// Which keys a cursor walks over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub lower: Bound<Vec<u8>>,
    /// The last key.
    pub upper: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        // The first key behind them: the prefix with its last byte that can be raised, raised.
        let raisable = prefix.iter().rposition(|&byte| byte < u8::MAX);
        let upper = raisable.map_or(Bound::Unbounded, |place| {
            let mut upper = prefix[..=place].to_vec();
            upper[place] += 1;
            Bound::Excluded(upper)
        });
        Self { lower: Bound::Included(prefix.to_vec()), upper }
    }

    /// Where a walk forward begins, unless that is the beginning of all.
    pub(super) fn forward_start<'s>(&'s self, from: From<'s>) -> Option<(&'s [u8], SeqNo)> {
        Some(match (from, &self.lower) {
            (From::At(key), _) if self.admits_from_below(key) => (key, SeqNo::MAX),
            // No entry has number zero, so this is behind every version of the key.
            (From::Beyond(key), _) => (key, SeqNo::ZERO),
            (_, Bound::Included(key)) => (key.as_slice(), SeqNo::MAX),
            (_, Bound::Excluded(key)) => (key.as_slice(), SeqNo::ZERO),
            (_, Bound::Unbounded) => return None,
        })
    }

    pub(super) fn admits_from_below(&self, key: &[u8]) -> bool {
        match &self.lower {
            Bound::Included(lower) => lower.as_slice() <= key,
            Bound::Excluded(lower) => lower.as_slice() < key,
            Bound::Unbounded => true,
        }
    }

    pub(super) fn admits_from_above(&self, key: &[u8]) -> bool {
        match &self.upper {
            Bound::Included(upper) => key <= upper.as_slice(),
            Bound::Excluded(upper) => key < upper.as_slice(),
            Bound::Unbounded => true,
        }
    }
}
