//! Changes of the logs on their way into a memtable: gathered, sorted, and inserted on one permit.
//!
//! 1. Recovery copies changes here in the order of the log, as many as fit.
//! 2. One permit covers all of them. It is for the worst case, many times what they take in the end: where there is no room for
//!    that, one for half of them is asked for, and so on, in the order of the log. What little no permit is to be had for goes
//!    in one by one: a memtable that is full on the way is followed by another, and no older change may come into the later one.
//! 3. Those of a permit are sorted by keyspace, key and number, so that one insert finds the node of the last one in the
//!    processor's cache.
//!
//! The memory is that of compaction, of which there is none before the database is open.

use std::ops::Range;

use kausal_arena::{Budget, Reservation};
use kausal_index::SeqNo;
use kausal_memtable::BatchPart;

use crate::batch::{ChangeKind, ChangeRef};
use crate::ids::KeyspaceId;

/// From here on more does not make inserts cheaper: a leaf of a memtable gets several entries already.
const BYTES_MAX: usize = 16 << 20;

/// Bytes of a change, key and value, for the number of them that there is room for.
const CHANGE_BYTES: usize = 64;

/// Changes of one or more logs.
#[derive(Debug)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Of the memory for keys and values this much is used; a change that is alone may take all of it.
    room: usize,
    /// Whether they are in the order of a memtable, all of them.
    is_sorted: bool,
    _charge: Option<Reservation>,
}

/// A change, and where its key and value lie.
#[derive(Clone, Copy, Debug)]
struct Place {
    keyspace: KeyspaceId,
    kind: ChangeKind,
    /// The key's first bytes, as a number that is ordered as they are.
    prefix: u64,
    start: u32,
    key_bytes: u32,
    value_bytes: u32,
    seqno: SeqNo,
}

impl Gathered {
    /// Room for as much as four fifths of `floor`, that of `budget`, pay for. None at all if there is not even that: every
    /// change goes by itself then.
    pub(crate) fn new(budget: &Budget, floor: usize) -> Self {
        let bytes = (floor / 2).min(BYTES_MAX);
        let count = bytes / CHANGE_BYTES;
        match budget.reserve(bytes + count * size_of::<Place>()) {
            Ok(charge) => Self {
                bytes: Vec::with_capacity(bytes),
                places: Vec::with_capacity(count),
                room: bytes,
                is_sorted: false,
                _charge: Some(charge),
            },
            Err(_) => Self::none(),
        }
    }

    /// Room for nothing.
    pub(crate) fn none() -> Self {
        Self { bytes: Vec::new(), places: Vec::new(), room: 0, is_sorted: false, _charge: None }
    }

    /// Takes no more than `room` bytes of changes from now on, unless it is one.
    pub(crate) fn limit(&mut self, room: usize) {
        self.room = room.min(self.bytes.capacity());
    }

    /// Copies a change, if there is room for it.
    pub(crate) fn add(&mut self, change: ChangeRef<'_>, seqno: SeqNo) -> bool {
        let ChangeRef { keyspace, kind, key, value } = change;
        let start = self.bytes.len();
        let room = if start == 0 { self.bytes.capacity() } else { self.room };
        let has_room = room >= start + key.len() + value.len();
        if !has_room || self.places.len() == self.places.capacity() {
            return false;
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let mut first = [0; 8];
        let shared = key.len().min(8);
        first[..shared].copy_from_slice(&key[..shared]);
        self.places.push(Place {
            keyspace,
            kind,
            prefix: u64::from_be_bytes(first),
            start: start as u32,
            key_bytes: key.len() as u32,
            value_bytes: value.len() as u32,
            seqno,
        });
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// What those of a part need in a memtable, by keyspace.
    pub(crate) fn parts(&self, part: Range<usize>) -> Vec<BatchPart> {
        let mut parts: Vec<BatchPart> = Vec::new();
        let mut last = 0;
        for (change, _) in self.changes(part) {
            // Most are of the keyspace of the one before.
            if parts.get(last).is_none_or(|part| part.keyspace != change.keyspace) {
                last = parts.iter().position(|part| part.keyspace == change.keyspace).unwrap_or_else(|| {
                    parts.push(BatchPart::new(change.keyspace));
                    parts.len() - 1
                });
            }
            change.count_in(&mut parts[last]);
        }
        parts
    }

    /// Puts those of a part in the order of a memtable: keyspace, key, number.
    pub(crate) fn sort(&mut self, part: Range<usize>) {
        if self.is_sorted {
            return;
        }
        let bytes = &self.bytes;
        self.places[part].sort_unstable_by(|left, right| {
            let by_key = || left.key(bytes).cmp(right.key(bytes));
            (left.keyspace, left.prefix)
                .cmp(&(right.keyspace, right.prefix))
                .then_with(by_key)
                .then(left.seqno.cmp(&right.seqno))
        });
    }

    /// Puts all of them in that order.
    pub(crate) fn sort_all(&mut self) {
        self.sort(0..self.len());
        self.is_sorted = true;
    }

    /// Puts them in the order of the log again, if all of them were sorted: its numbers rise.
    pub(crate) fn unsort(&mut self) {
        if std::mem::take(&mut self.is_sorted) {
            self.places.sort_unstable_by_key(|place| place.seqno);
        }
    }

    /// Whether there is memory for any change.
    pub(crate) fn has_room(&self) -> bool {
        self.places.capacity() > 0
    }

    /// The changes of a part with their numbers: in the order of the log, or as they were sorted.
    pub(crate) fn changes(&self, part: Range<usize>) -> impl Iterator<Item = (ChangeRef<'_>, SeqNo)> {
        self.places[part].iter().map(|place| {
            let Place { keyspace, kind, seqno, .. } = *place;
            let value = &self.bytes[(place.start + place.key_bytes) as usize..][..place.value_bytes as usize];
            (ChangeRef { keyspace, kind, key: place.key(&self.bytes), value }, seqno)
        })
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.is_sorted = false;
    }
}

impl Place {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..][..self.key_bytes as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(bytes: usize) -> Gathered {
        Gathered::new(&Budget::unlimited("test"), 2 * bytes)
    }

    fn add(gathered: &mut Gathered, keyspace: u32, key: &[u8], seqno: u64) -> bool {
        let change =
            ChangeRef { keyspace: KeyspaceId(keyspace), kind: ChangeKind::Put, key, value: b"value" };
        gathered.add(change, SeqNo::new(seqno).expect("small"))
    }

    fn shown(gathered: &Gathered) -> Vec<(u32, Vec<u8>, u64)> {
        let all =
            gathered.changes(0..gathered.len()).inspect(|(change, _)| assert_eq!(change.value, b"value"));
        all.map(|(change, seqno)| (change.keyspace.0, change.key.to_vec(), seqno.get())).collect()
    }

    #[test]
    fn changes_are_counted_by_keyspace_and_sorted_as_a_memtable_has_them() {
        let mut gathered = gathered(4096);
        let logged: [(u32, &[u8], u64); 7] = [
            (1, b"a", 1),
            (0, b"same first bytes, b", 2),
            (0, b"same first bytes, a", 3),
            (0, b"", 4),
            (0, b"same", 5),
            (0, b"same\0", 6),
            (0, b"same first bytes, a", 7),
        ];
        assert!(logged.iter().all(|&(keyspace, key, seqno)| add(&mut gathered, keyspace, key, seqno)));
        let parts = |gathered: &Gathered, part| {
            gathered.parts(part).iter().map(|part| (part.keyspace.0, part.entries)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&gathered, 0..7), [(1, 1), (0, 6)]);
        assert_eq!(parts(&gathered, 3..5), [(0, 2)]);
        gathered.sort(3..6);
        let of_part: Vec<u64> = shown(&gathered).iter().map(|change| change.2).collect();
        assert_eq!(of_part, [1, 2, 3, 4, 5, 6, 7], "already in order");
        gathered.sort(0..7);
        let mut expected: Vec<_> =
            logged.iter().map(|&(keyspace, key, seqno)| (keyspace, key.to_vec(), seqno)).collect();
        expected.sort();
        assert_eq!(shown(&gathered), expected);
        assert_eq!(parts(&gathered, 0..7), [(0, 6), (1, 1)]);
    }

    #[test]
    fn a_limit_is_for_all_but_the_first_change() {
        let mut gathered = gathered(256);
        gathered.limit(64);
        assert!(add(&mut gathered, 0, &[1; 100], 1));
        assert!(!add(&mut gathered, 0, b"", 2), "the first one took more than the limit");
        gathered.limit(128);
        assert!(add(&mut gathered, 0, &[1; 10], 2) && !add(&mut gathered, 0, &[1; 10], 3));
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let mut gathered = gathered(128);
        assert!(add(&mut gathered, 0, &[1; 60], 1));
        assert!(!add(&mut gathered, 0, &[1; 60], 2), "no bytes");
        assert!(add(&mut gathered, 0, b"", 2) && !add(&mut gathered, 0, b"", 3), "no place");
        gathered.clear();
        assert!(gathered.len() == 0 && add(&mut gathered, 0, &[1; 60], 1));
        let mut none = Gathered::new(&Budget::root("test", 10), 4096);
        assert!(!add(&mut none, 0, b"", 1));
    }
}
