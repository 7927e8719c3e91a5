//! What tables are filled with, and what is looked for in them.
//!
//! Keys are 16 random bytes, distinct in their first eight. Values are 100 bytes, half of them random and half of them
//! zeros, and begin with the entry's number, so that every answer can be checked.

use std::collections::HashSet;

use fastrand::Rng;

/// Bytes of a key and of a value.
pub const KEY_BYTES: usize = 16;
/// See [`KEY_BYTES`].
pub const VALUE_BYTES: usize = 100;

/// Bytes of a value that cannot be compressed, the number included.
const RANDOM_BYTES: usize = VALUE_BYTES / 2;

/// Most keys of a sample.
const PROBES_MAX: usize = 200_000;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// Sorted entries.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    keys: Vec<Key>,
    values: Vec<u8>,
}

impl Entries {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.len() * (KEY_BYTES + VALUE_BYTES)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &[u8])> {
        self.keys.iter().zip(self.values.chunks_exact(VALUE_BYTES))
    }

    fn push(&mut self, key: &Key, value: &[u8]) {
        self.keys.push(*key);
        self.values.extend_from_slice(value);
    }
}

/// What is known of a walk's or of many look-ups' answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Entries seen.
    pub count: usize,
    /// A number that all of them, and their order, decide.
    pub sum: u64,
}

impl Answers {
    /// Adds an answer.
    #[inline]
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        self.sum = self.sum.rotate_left(5) ^ word(key) ^ word(value) ^ value.len() as u64;
    }

    /// The answers for these entries, in this order.
    pub fn of<'a>(entries: impl Iterator<Item = (&'a Key, &'a [u8])>) -> Self {
        let mut answers = Self::default();
        entries.for_each(|(key, value)| answers.add(key, value));
        answers
    }
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Entries, keys to look for, and keys to look for in vain.
#[derive(Debug)]
pub struct Data {
    /// All entries.
    pub entries: Entries,
    /// Keys that are there, in random order, side by side.
    pub sought: Vec<Key>,
    /// What looking all of them up answers.
    pub sought_answers: Answers,
    /// Keys that are not there, but lie between those that are, in random order.
    pub absent: Vec<Key>,
}

impl Data {
    /// `count` entries, chosen by `seed`.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let probes = count.min(PROBES_MAX);
        let mut keys = distinct(count + probes, &mut rng);
        let mut absent = keys.split_off(count);
        keys.sort_unstable();
        // Between the first key and the last, so that the key range denies none of them.
        absent.retain(|key| keys[0] < *key && *key < keys[count - 1]);
        let mut entries = Entries::default();
        for (number, key) in keys.iter().enumerate() {
            entries.push(key, &value(number, &mut rng));
        }
        let mut places: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut places);
        places.truncate(probes);
        let sought: Vec<Key> = places.iter().map(|&place| keys[place]).collect();
        let value = |place: usize| &entries.values[place * VALUE_BYTES..][..VALUE_BYTES];
        let sought_answers = Answers::of(places.iter().map(|&place| (&keys[place], value(place))));
        Self { entries, sought, sought_answers, absent }
    }

    /// The entries dealt out at random to `parts` lists.
    pub fn dealt(&self, parts: usize, seed: u64) -> Vec<Entries> {
        let mut rng = Rng::with_seed(seed);
        let mut lists = vec![Entries::default(); parts];
        self.entries.iter().for_each(|(key, value)| lists[rng.usize(0..parts)].push(key, value));
        lists
    }
}

fn distinct(count: usize, rng: &mut Rng) -> Vec<Key> {
    let mut known = HashSet::with_capacity(count);
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        let (first, second) = (rng.u64(..), rng.u64(..));
        if known.insert(first) {
            keys.push((u128::from(first) << 64 | u128::from(second)).to_be_bytes());
        }
    }
    keys
}

fn value(number: usize, rng: &mut Rng) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    rng.fill(&mut value[..RANDOM_BYTES]);
    value[..8].copy_from_slice(&(number as u64).to_le_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_absent_keys_are_none_of_them() {
        let data = Data::new(3_000, 1);
        let keys: Vec<Key> = data.entries.iter().map(|(key, _)| *key).collect();
        assert!(keys.is_sorted() && keys.len() == 3_000);
        assert!(data.absent.len() > 2_900);
        assert!(data.absent.iter().all(|key| keys.binary_search(key).is_err()));
        assert!(data.sought.iter().all(|key| keys.binary_search(key).is_ok()));
        assert_eq!(data.sought_answers.count, 3_000);
    }

    #[test]
    fn dealing_loses_nothing_and_answers_tell_orders_apart() {
        let data = Data::new(1_000, 1);
        let lists = data.dealt(8, 2);
        assert_eq!(lists.iter().map(Entries::len).sum::<usize>(), 1_000);
        assert!(lists.iter().all(|list| list.iter().map(|(key, _)| key).is_sorted()));
        let forward = Answers::of(data.entries.iter());
        let mut backward: Vec<_> = data.entries.iter().collect();
        backward.reverse();
        assert_ne!(forward, Answers::of(backward.into_iter()));
    }
}
