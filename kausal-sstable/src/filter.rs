//! The filter: a Bloom filter over a table's keys whose probes stay in one cache line.
//!
//! A key's hash picks a line of 64 bytes, and its bits within that line. A look-up costs one cache miss; in return the
//! filter denies a little less than an unblocked one of the same size. Bloom 1970; blocked after Putze, Sanders and
//! Singler 2007; the bits by double hashing (Kirsch and Mitzenmacher 2006).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 64 × n | lines |
//! | 64 × n | 1 | probes per key, 1 to 30; 0 with n = 0 means: may hold anything |

use xxhash_rust::xxh3::xxh3_64;

use crate::error::Damage;

const LINE_BYTES: usize = 64;
const LINE_BITS: u64 = 8 * LINE_BYTES as u64;

/// Hash of a user key, as filters want it. Computed once per look-up, whatever the number of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(pub(crate) u64);

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }
}

/// Collects hashes and builds the filter at the end.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
}

impl FilterBuilder {
    /// Adds a key; the same key again right after is no second one.
    pub(crate) fn add(&mut self, key: &[u8]) {
        let KeyHash(hash) = KeyHash::of(key);
        if self.hashes.last() != Some(&hash) {
            self.hashes.push(hash);
        }
    }

    /// Bytes held and to be held by [`finish`](Self::finish) for one more key.
    pub(crate) fn memory_bytes(&self, bits_per_key: u32) -> usize {
        self.hashes.capacity() * 8 + block_bytes(self.hashes.len() + 1, bits_per_key)
    }

    pub(crate) fn finish(self, bits_per_key: u32) -> Vec<u8> {
        if bits_per_key == 0 {
            return vec![0];
        }
        let mut block = vec![0; block_bytes(self.hashes.len(), bits_per_key)];
        // ln 2 of the bits set is where a Bloom filter errs least.
        let probes = (f64::from(bits_per_key) * std::f64::consts::LN_2).round().clamp(1.0, 30.0) as u8;
        let lines = block.len() / LINE_BYTES;
        for hash in self.hashes {
            let line = line_of(hash, lines);
            for bit in bits(hash, probes) {
                block[line * LINE_BYTES + bit / 8] |= 1 << (bit % 8);
            }
        }
        let last = block.len() - 1;
        block[last] = probes;
        block
    }
}

fn block_bytes(keys: usize, bits_per_key: u32) -> usize {
    if bits_per_key == 0 {
        return 1;
    }
    let bits = keys as u64 * u64::from(bits_per_key);
    bits.div_ceil(LINE_BITS).max(1) as usize * LINE_BYTES + 1
}

/// The line of a hash: its high half, scaled to the number of lines.
fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The bits of a hash within its line.
fn bits(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    // The low half, remixed: the high half chose the line.
    let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (start, step) = (mixed >> 32, (mixed & 0xFFFF_FFFF) | 1);
    (0..u64::from(probes))
        .map(move |probe| (start.wrapping_add(probe.wrapping_mul(step)) % LINE_BITS) as usize)
}

/// Whether a filter block is well formed.
pub(crate) fn check(block: &[u8]) -> Result<(), Damage> {
    let (probes, lines) = block.split_last().ok_or(Damage::Filter)?;
    let empty = lines.is_empty() && *probes == 0;
    let full = !lines.is_empty() && lines.len().is_multiple_of(LINE_BYTES) && (1..=30).contains(probes);
    if empty || full { Ok(()) } else { Err(Damage::Filter) }
}

/// Whether a checked filter block admits that its table holds the key.
pub(crate) fn may_hold(block: &[u8], hash: KeyHash) -> bool {
    let Some((probes, lines)) = block.split_last() else { return true };
    if lines.is_empty() {
        return true;
    }
    let start = line_of(hash.0, lines.len() / LINE_BYTES) * LINE_BYTES;
    let line = &lines[start..start + LINE_BYTES];
    bits(hash.0, *probes).all(|bit| line[bit / 8] & (1 << (bit % 8)) != 0)
}
