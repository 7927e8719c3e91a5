//! Keys and values of the index benchmark: random, sequential, with common leading bytes, and real paths.
//!
//! All keys lie in one buffer, in the order of insertion; entry number `n` has sequence number `n + 1`, and the first
//! eight bytes of its value repeat the number, so that every subject carries it and every answer can be checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use fastrand::Rng;

/// Bytes of every value.
pub const VALUE_BYTES: usize = 100;

/// Look-ups made for one sample, at most.
const PROBES_MAX: usize = 200_000;

/// Which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySet {
    /// 16 random bytes.
    Random16,
    /// 8 bytes that count upwards, 8 fixed ones; inserted in order.
    Sequential16,
    /// 8 fixed bytes, 8 random ones.
    Common8,
    /// 16 fixed bytes, 8 random ones.
    Common16,
    /// Paths of the Rust documentation with a line number behind them, shuffled.
    Paths,
}

impl KeySet {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Random16, Self::Sequential16, Self::Common8, Self::Common16, Self::Paths];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random16 => "random_16",
            Self::Sequential16 => "sequential_16",
            Self::Common8 => "common_8",
            Self::Common16 => "common_16",
            Self::Paths => "paths",
        }
    }
}

/// Byte strings in one buffer.
#[derive(Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// String number `place`.
    #[inline]
    pub fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// What is inserted and looked for.
#[derive(Debug)]
pub struct Data {
    /// Distinct, in the order of insertion.
    pub keys: Strings,
    /// Places of keys to look for, in random order.
    pub probes: Vec<usize>,
    /// The keys at `probes`, side by side, so that fetching what to look for is no cache miss of the harness.
    pub sought: Strings,
    /// Keys that are not in `keys`, from the same distribution.
    pub misses: Strings,
    /// Bytes of all keys and values.
    pub payload_bytes: usize,
}

impl Data {
    /// `entries` entries of `set`, chosen by `seed`.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if there are no paths on this machine.
    pub fn new(set: KeySet, entries: usize, seed: u64) -> io::Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let miss_count = entries.min(PROBES_MAX);
        let all = match set {
            KeySet::Paths => paths(entries + miss_count, &mut rng)?,
            _ => made(set, entries + miss_count, &mut rng),
        };
        let mut misses = Strings::default();
        let mut keys = Strings::default();
        for place in 0..all.len() {
            if place < entries { keys.push(all.get(place)) } else { misses.push(all.get(place)) }
        }
        if set == KeySet::Sequential16 {
            misses = between(&keys, miss_count, &mut rng);
        }
        let mut probes: Vec<usize> = (0..entries).collect();
        rng.shuffle(&mut probes);
        probes.truncate(PROBES_MAX);
        let mut sought = Strings::default();
        probes.iter().for_each(|&place| sought.push(keys.get(place)));
        let payload_bytes = keys.bytes() + entries * VALUE_BYTES;
        Ok(Self { keys, probes, sought, misses, payload_bytes })
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.keys.len()
    }
}

/// The value of entry `number`.
#[inline]
pub fn value(number: usize) -> [u8; VALUE_BYTES] {
    let mut value = [7; VALUE_BYTES];
    value[..8].copy_from_slice(&(number as u64).to_le_bytes());
    value
}

/// The number in `value`.
#[inline]
pub fn number_in(value: &[u8]) -> usize {
    value.first_chunk().map_or(usize::MAX, |number| u64::from_le_bytes(*number) as usize)
}

fn made(set: KeySet, count: usize, rng: &mut Rng) -> Strings {
    let mut strings = Strings::default();
    let mut known = HashSet::with_capacity(count);
    while strings.len() < count {
        let random: u64 = rng.u64(..);
        let mut key = Vec::with_capacity(24);
        match set {
            KeySet::Random16 => {
                key.extend_from_slice(&(u128::from(random) << 64 | u128::from(rng.u64(..))).to_be_bytes())
            }
            KeySet::Sequential16 => {
                key.extend_from_slice(&(strings.len() as u64).to_be_bytes());
                key.extend_from_slice(b"suffix!!");
            }
            KeySet::Common8 => key.extend_from_slice(b"tenant42"),
            KeySet::Common16 | KeySet::Paths => key.extend_from_slice(b"tenant42/orders/"),
        }
        if matches!(set, KeySet::Common8 | KeySet::Common16) {
            key.extend_from_slice(&random.to_be_bytes());
        }
        if set == KeySet::Sequential16 || known.insert(random) {
            strings.push(&key);
        }
    }
    strings
}

/// Keys between those of `keys`: the last byte differs.
fn between(keys: &Strings, count: usize, rng: &mut Rng) -> Strings {
    let mut strings = Strings::default();
    for _ in 0..count {
        let mut key = keys.get(rng.usize(..keys.len())).to_vec();
        if let Some(last) = key.last_mut() {
            *last ^= 1;
        }
        strings.push(&key);
    }
    strings
}

fn paths(count: usize, rng: &mut Rng) -> io::Result<Strings> {
    let root = documentation()?;
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Ok(path) = entry.path().strip_prefix(&root) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no file in the Rust documentation"));
    }
    // Sorted, so that the seed alone decides the order.
    found.sort_unstable();
    let mut order: Vec<usize> = (0..count).collect();
    rng.shuffle(&mut order);
    let mut strings = Strings::default();
    for number in order {
        let line = number / found.len();
        strings.push(format!("{}:{line:04}", found[number % found.len()]).as_bytes());
    }
    Ok(strings)
}

fn documentation() -> io::Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Path::new(&sysroot).join("share/doc/rust/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_and_misses_are_none_of_them() {
        for set in [KeySet::Random16, KeySet::Sequential16, KeySet::Common8, KeySet::Common16] {
            let data = Data::new(set, 500, 1).expect("made up");
            let keys: HashSet<&[u8]> = (0..500).map(|place| data.keys.get(place)).collect();
            assert_eq!(keys.len(), 500, "{set:?}");
            assert!((0..data.misses.len()).all(|place| !keys.contains(data.misses.get(place))), "{set:?}");
            assert_eq!(data.misses.len(), 500);
        }
    }

    #[test]
    fn a_value_carries_its_number() {
        assert_eq!(number_in(&value(77)), 77);
    }
}
