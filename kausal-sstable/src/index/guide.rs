//! The heads of a root, taken apart once: which segment a key lies in is asked by every look-up, and before all else.
//!
//! 1. The range from the first head to the last is divided into steps of equal width, a power of two. Of each step it is
//!    noted how many heads lie before it. So a key's step says between which two places to look: mostly one head, or none.
//! 2. A step with several heads is searched. However uneven heads lie, that is no more than a search of all of them.
//! 3. Where a head is equal to the key's, and for a key that does not begin as all separators do, there is no answer here, but in
//!    [`IndexBlock::seek`], which compares more.
//!
//! A root whose heads are out of order has no guide.

use super::head_of;
use super::view::IndexBlock;

/// Steps for each head, at least: of that many, most have one head or none where heads lie about evenly.
const STEPS_PER_HEAD: usize = 4;

/// Says which of a root's blocks a key lies in.
#[derive(Debug)]
pub(crate) struct Guide {
    /// All of them, and `u64::MAX` behind them, so that there is one at every place that is answered.
    heads: Box<[u64]>,
    /// How many heads lie before each step, and behind the steps how many there are.
    before: Box<[u32]>,
    /// A head's distance from the first one, shifted by so much, is its step.
    shift: u32,
}

impl Guide {
    /// Of a root's heads, unless there are none, or they are out of order.
    pub(crate) fn new(root: &IndexBlock<'_>) -> Option<Self> {
        let heads: Box<[u64]> = root.heads().chain([u64::MAX]).collect();
        let (&first, &last) = (heads.first()?, heads[..root.count()].last()?);
        if !heads.is_sorted() {
            return None;
        }
        let steps = Self::steps(root.count());
        // The last head's step is one of them.
        let shift = (u64::BITS - (last - first).leading_zeros()).saturating_sub(steps.ilog2());
        let mut before = vec![0; steps + 2].into_boxed_slice();
        for &head in &heads[..root.count()] {
            before[((head - first) >> shift) as usize + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut before {
            sum += *count;
            *count = sum;
        }
        Some(Self { heads, before, shift })
    }

    fn steps(count: usize) -> usize {
        (STEPS_PER_HEAD * count).next_power_of_two()
    }

    /// Bytes of memory that the guide of `root` takes.
    pub(crate) fn memory_bytes(root: &IndexBlock<'_>) -> usize {
        let count = root.count();
        (count + 1) * size_of::<u64>() + (Self::steps(count) + 2) * size_of::<u32>()
    }

    /// What [`IndexBlock::seek`] answers for `key` and whatever sequence number, or `None` where only that can tell. `prefix` is what
    /// all separators of the root begin with.
    #[inline]
    pub(crate) fn seek(&self, prefix: &[u8], key: &[u8]) -> Option<usize> {
        let behind = if prefix.is_empty() { key } else { key.strip_prefix(prefix)? };
        let head = head_of(behind);
        // All that lies before the first head is in its step, all that lies behind the last in the one behind the steps.
        let step =
            (head.saturating_sub(self.heads[0]) >> self.shift).min(self.before.len() as u64 - 2) as usize;
        let (lower, upper) = (self.before[step] as usize, self.before[step + 1] as usize);
        let place = if upper > lower + 1 {
            lower + self.heads[lower..upper].partition_point(|&other| other < head)
        } else {
            // Without a branch: whether a head lies before the key in its step is not to be predicted. If there is none,
            // the head of a later step is not before it.
            lower + usize::from(self.heads[lower] < head)
        };
        (self.heads[place] != head).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kausal_index::SeqNo;
    use proptest::prelude::*;

    use super::*;
    use crate::index::{IndexBuilder, ROOT_VALUE_BYTES};

    /// The root of segments that end at `separators`, which ascend.
    fn root_of(separators: &[(Vec<u8>, SeqNo)]) -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        for (key, seqno) in separators {
            builder.add((key, *seqno), &[0; ROOT_VALUE_BYTES]);
        }
        let mut contents = Vec::new();
        builder.finish(&mut contents);
        contents
    }

    /// Compares what the guide of a root answers with what the root does, and says how often it had an answer.
    fn check(separators: &[(Vec<u8>, SeqNo)], probes: &[(Vec<u8>, SeqNo)]) -> usize {
        let contents = root_of(separators);
        let root = IndexBlock::of_table(&contents).unwrap();
        let guide = Guide::new(&root).unwrap();
        let bytes = size_of_val(&*guide.heads) + size_of_val(&*guide.before);
        assert_eq!(bytes, Guide::memory_bytes(&root));
        let answered = probes.iter().filter(|(key, at)| {
            let guided = guide.seek(root.prefix(), key);
            assert!(guided.is_none_or(|place| root.seek(key, *at) == Ok(place)), "{key:?} {at:?}");
            guided.is_some()
        });
        answered.count()
    }

    fn seqno(number: u64) -> SeqNo {
        SeqNo::new(number).unwrap()
    }

    /// Short and long keys, of few bytes and of all, so that heads are equal, or padded, or have a prefix in common.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = || prop_oneof![Just(0), Just(1), Just(0x61), Just(0xFF)];
        let front = prop_oneof![Just(Vec::new()), Just(b"user".to_vec()), Just(vec![0xFF; 8])];
        let rest = prop_oneof![
            prop::collection::vec(byte(), 0..12),
            prop::collection::vec(any::<u8>(), 0..4),
            prop::collection::vec(any::<u8>(), 8..20),
        ];
        (front, rest).prop_map(|(front, rest)| [front, rest].concat())
    }

    /// A key's versions come newest first.
    fn positions(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(Vec<u8>, SeqNo)>> {
        let position = (key(), 0..4_u64).prop_map(|(key, age)| (key, 3 - age));
        prop::collection::vec(position, count).prop_map(|positions| {
            let ordered: BTreeSet<_> = positions.into_iter().map(|(key, number)| (key, 3 - number)).collect();
            ordered.into_iter().map(|(key, age)| (key, seqno(3 - age))).collect()
        })
    }

    proptest! {
        #[test]
        fn a_guide_answers_what_its_root_does(separators in positions(1..200), probes in positions(1..100)) {
            let prefixed = |front: &[u8], positions: &[(Vec<u8>, SeqNo)]| -> Vec<_> {
                positions.iter().map(|(key, at)| ([front, key].concat(), *at)).collect()
            };
            check(&separators, &probes);
            check(&separators, &separators);
            let separators = prefixed(b"a prefix ", &separators);
            check(&separators, &probes);
            check(&separators, &prefixed(b"a prefix ", &probes));
        }

        /// Contents of whatever kind: a guide answers as they do, or there is none.
        #[test]
        fn heads_in_no_order_have_no_guide(heads in prop::collection::vec(any::<u64>(), 0..40), sought: u64) {
            let count = heads.len();
            let mut contents = [(count as u64).to_le_bytes()].concat();
            heads.iter().for_each(|head| contents.extend_from_slice(&head.to_le_bytes()));
            contents.resize(contents.len() + count * (ROOT_VALUE_BYTES + 4), 0);
            let root = IndexBlock::of_table(&contents).unwrap();
            let guide = Guide::new(&root);
            prop_assert_eq!(guide.is_some(), count > 0 && heads.is_sorted());
            let guided = guide.and_then(|guide| guide.seek(root.prefix(), &sought.to_be_bytes()));
            prop_assert!(guided.is_none_or(|place| root.seek(&sought.to_be_bytes(), SeqNo::MAX) == Ok(place)));
        }
    }

    /// Else every look-up would go the long way.
    #[test]
    fn a_guide_answers_nearly_always() {
        let spread = |number: u64| {
            let word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            (word.to_vec(), SeqNo::ZERO)
        };
        // A lone separator is all prefix; there is nothing to find out then.
        for count in [2, 61, 1_000] {
            let mut separators: Vec<_> = (0..count).map(spread).collect();
            separators.sort_unstable();
            let probes: Vec<_> = (count..count + 1_000).map(spread).collect();
            assert_eq!(check(&separators, &probes), 1_000);
            let ends = [(Vec::new(), SeqNo::MAX), (vec![0xFF; 8], SeqNo::ZERO), (vec![0xFF; 20], SeqNo::MAX)];
            check(&separators, &ends);
        }
    }
}
