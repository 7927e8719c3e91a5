//! Where the tables of a level begin and end, beside each other: which of them may hold a key, without a look at any.
//!
//! Of each bound there is a *head*: the sixteen bytes behind what all bounds of the level have in common, as a number. Heads
//! are ordered as the keys are, but for keys that have one in common: those are compared whole. So a look-up reads a
//! line or two here, where the tables' own bounds take two misses each.

use std::cmp::Ordering;

use crate::manifest::TableMeta;

/// The bounds of a level's tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fences {
    /// What all bounds begin with.
    prefix: Box<[u8]>,
    /// Of the last keys, or the first behind them.
    upper: Box<[u128]>,
    lower: Box<[u128]>,
}

/// What heads say of a key and a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inside,
    Outside,
    /// It has a head in common with a bound.
    Unknown,
}

/// A key's place among the bounds of a level.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyHead {
    /// It begins as all bounds do.
    At(u128),
    /// It is smaller than all bounds, or larger.
    Beside(Ordering),
}

impl Fences {
    /// Those of `tables`.
    pub(crate) fn of<'a>(tables: impl Iterator<Item = &'a TableMeta> + Clone) -> Self {
        let bounds = tables.clone().flat_map(|table| [&table.key_min, &table.key_max]);
        let prefix = bounds.fold(None, |prefix: Option<&[u8]>, bound| {
            Some(prefix.map_or(bound.as_slice(), |prefix| common(prefix, bound)))
        });
        let prefix = prefix.unwrap_or_default();
        let head = |bound: &[u8]| head(&bound[prefix.len()..]);
        Self {
            upper: tables.clone().map(|table| head(&table.key_max)).collect(),
            lower: tables.map(|table| head(&table.key_min)).collect(),
            prefix: prefix.into(),
        }
    }

    #[inline]
    pub(crate) fn head(&self, key: &[u8]) -> KeyHead {
        if let Some(rest) = key.strip_prefix(&*self.prefix) {
            return KeyHead::At(head(rest));
        }
        // A key that ends within the prefix is smaller than what begins with all of it.
        KeyHead::Beside(key.cmp(&self.prefix))
    }

    /// Whether the table at `place` covers a key with this head.
    #[inline]
    pub(crate) fn side(&self, place: usize, key: KeyHead) -> Side {
        let KeyHead::At(head) = key else { return Side::Outside };
        let (lower, upper) = (self.lower[place], self.upper[place]);
        if head < lower || head > upper {
            Side::Outside
        } else if head > lower && head < upper {
            Side::Inside
        } else {
            Side::Unknown
        }
    }

    /// Of tables in order that do not overlap: the first that does not end before a key with this head, by heads.
    #[inline]
    pub(crate) fn first(&self, key: KeyHead) -> usize {
        match key {
            KeyHead::At(head) => self.upper.partition_point(|&upper| upper < head),
            KeyHead::Beside(Ordering::Greater) => self.upper.len(),
            KeyHead::Beside(_) => 0,
        }
    }
}

/// The first sixteen bytes, those that are missing as zeros.
#[inline]
fn head(bytes: &[u8]) -> u128 {
    if let Some(bytes) = bytes.first_chunk() {
        return u128::from_be_bytes(*bytes);
    }
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(padded)
}

fn common<'a>(left: &'a [u8], right: &[u8]) -> &'a [u8] {
    let len = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    &left[..len]
}

#[cfg(test)]
mod tests {
    use kausal_index::SeqNo;

    use super::*;
    use crate::ids::{FileNumber, KeyspaceId, TableId};

    fn table(key_min: &[u8], key_max: &[u8], key_max_is_excluded: bool) -> TableMeta {
        TableMeta {
            keyspace: KeyspaceId::DEFAULT,
            level: 1,
            file: FileNumber(1),
            table_id: TableId(1),
            file_bytes: 1,
            entry_count: 1,
            tombstone_count: 0,
            range_tombstone_count: 0,
            hidden_count: 0,
            key_min: key_min.to_vec(),
            key_max: key_max.to_vec(),
            key_max_is_excluded,
            seqno_min: SeqNo::new(1).expect("in range"),
            seqno_max: SeqNo::new(1).expect("in range"),
            blobs: Vec::new(),
        }
    }

    /// Keys of a few bytes each, from few letters, and long ones that differ behind their heads only.
    fn keys(prefix: &[u8]) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = vec![Vec::new(), vec![0], vec![255], prefix.to_vec()];
        for number in 0..81_u8 {
            let letters =
                [number / 27 % 3, number / 9 % 3, number / 3 % 3, number % 3].map(|letter| letter * 127);
            for len in 0..=4 {
                let short = [prefix, &letters[..len]].concat();
                let long = [prefix, &[7; 16], &letters[..len]].concat();
                keys.extend([short, long]);
            }
        }
        keys.sort();
        keys.dedup();
        keys
    }

    #[test]
    fn heads_never_contradict_the_bounds_they_are_of() {
        for prefix in [&b""[..], b"tables/of/a/long/path/"] {
            let keys = keys(prefix);
            let bounds: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).step_by(5).collect();
            let tables: Vec<TableMeta> = bounds
                .windows(2)
                .step_by(2)
                .enumerate()
                .map(|(number, pair)| table(pair[0], pair[1], number % 3 == 0))
                .collect();
            let fences = Fences::of(tables.iter());
            let mut known = 0;
            for key in &keys {
                let head = fences.head(key);
                let place = tables.partition_point(|table| table.ends_before(key));
                let covers = tables.get(place).is_some_and(|table| table.covers(key));
                let first = fences.first(head);
                let side = if first < tables.len() { fences.side(first, head) } else { Side::Outside };
                match side {
                    Side::Inside => assert!(first == place && covers, "{key:?}"),
                    Side::Outside => assert!(!covers, "{key:?}"),
                    Side::Unknown => {}
                }
                known += usize::from(side != Side::Unknown);
                for (place, table) in tables.iter().enumerate() {
                    let side = fences.side(place, head);
                    assert!(side == Side::Unknown || (side == Side::Inside) == table.covers(key), "{key:?}");
                }
            }
            assert!(known * 4 > keys.len(), "{known} of {} keys are told by their heads", keys.len());
        }
    }
}
