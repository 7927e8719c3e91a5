//! The filter: a Bloom filter over a table's keys whose probes stay in one cache line.
//!
//! A key's hash picks a line of 64 bytes, and its bits within that line. A look-up costs one cache miss; in return the
//! filter denies a little less than an unblocked one of the same size. Bloom 1970; blocked after Putze, Sanders and
//! Singler 2007; the bits are slices of a mixed word, because
//! double hashing (Kirsch and Mitzenmacher 2006) repeats itself in so short a line.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 64 × n | lines |
//! | 64 × n | 1 | probes per key, 1 to 30; 0 with n = 0 means: may hold anything |

use kausal_arena::prefetch_line;
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

/// Collects the hashes of a segment and builds its filter at the end.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
    /// The last key's hash, and the last prefix's.
    last: [Option<u64>; 2],
}

impl FilterBuilder {
    /// Adds a key; the same key again right after is no second one.
    pub(crate) fn add(&mut self, hash: KeyHash) {
        self.add_unless_last(hash.0, 0);
    }

    /// Adds a prefix of keys, likewise.
    pub(crate) fn add_prefix(&mut self, hash: KeyHash) {
        self.add_unless_last(hash.0, 1);
    }

    fn add_unless_last(&mut self, hash: u64, which: usize) {
        if self.last[which] != Some(hash) {
            self.last[which] = Some(hash);
            if cfg!(kausal_planted = "sst_filter") && hash.is_multiple_of(64) {
                return;
            }
            self.hashes.push(hash);
        }
    }

    /// Hashes collected.
    pub(crate) fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes held, and to be held with `more` hashes.
    pub(crate) fn memory_bytes_with(&self, more: usize) -> usize {
        let hashes = self.hashes.len() + more;
        let capacity = self.hashes.capacity();
        let held = if hashes > capacity { hashes.max(2 * capacity) } else { capacity };
        held * 8
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.last = [None; 2];
    }

    /// Bytes of the filter for what has been added and `more`.
    pub(crate) fn block_bytes_with(&self, more: usize, bits_per_key: u32) -> usize {
        block_bytes(self.hashes.len() + more, bits_per_key)
    }

    /// Writes the contents into `block`, with room behind them for a trailer; begins the next filter in the same memory.
    pub(crate) fn finish(&mut self, bits_per_key: u32, block: &mut Vec<u8>) {
        block.clear();
        if bits_per_key == 0 {
            self.clear();
            block.push(0);
            return;
        }
        let bytes = block_bytes(self.hashes.len(), bits_per_key);
        block.reserve_exact(bytes + crate::format::TRAILER_BYTES);
        block.resize(bytes, 0);
        let probes = probes(bits_per_key);
        let (lines, _) = block.as_chunks_mut::<LINE_BYTES>();
        let count = lines.len();
        for hash in self.hashes.drain(..) {
            set_bits(&mut lines[line_of(hash, count)], hash, probes);
        }
        block[bytes - 1] = probes;
        self.last = [None; 2];
    }
}

/// ln 2 probes per bit of a key is where a Bloom filter errs least; a little below where lines fill unevenly.
fn probes(bits_per_key: u32) -> u8 {
    (f64::from(bits_per_key) * std::f64::consts::LN_2).floor().clamp(1.0, 30.0) as u8
}

fn block_bytes(keys: usize, bits_per_key: u32) -> usize {
    if bits_per_key == 0 {
        return 1;
    }
    let bits = keys as u64 * u64::from(bits_per_key);
    bits.div_ceil(LINE_BITS).max(1) as usize * LINE_BYTES + 1
}

/// The line of a hash: its high half, scaled to the number of lines.
#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The word whose slices name bits. The high half of a hash chose the line already.
#[inline]
fn mix(word: u64) -> u64 {
    (word ^ word >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Calls `each` with the bits of a hash within its line: nine bits of a mixed word name each, seven of them to a word.
#[inline]
fn for_each_bit(hash: u64, probes: u8, mut each: impl FnMut(usize)) {
    let (mut mixed, mut left) = (hash, probes);
    while left > 0 {
        mixed = mix(mixed);
        let mut slices = mixed;
        for _ in 0..left.min(7) {
            each((slices & (LINE_BITS - 1)) as usize);
            slices >>= 9;
        }
        left -= left.min(7);
    }
}

/// Sets the bits of a hash in its line.
#[inline]
fn set_bits(line: &mut [u8; LINE_BYTES], hash: u64, probes: u8) {
    let (words, _) = line.as_chunks_mut::<8>();
    let mut set = |slices: u64| {
        let word = &mut words[(slices >> 6 & 7) as usize];
        *word = (u64::from_le_bytes(*word) | 1_u64.wrapping_shl(slices as u32)).to_le_bytes();
    };
    if probes == 6 {
        // Ten bits a key, as `may_hold` has them: all in one word, one after the other without a loop.
        let slices = mix(hash);
        [0, 9, 18, 27, 36, 45].into_iter().for_each(|shift| set(slices >> shift));
    } else {
        for_each_bit(hash, probes, |bit| set(bit as u64));
    }
}

/// Whether a filter block is well formed.
pub(crate) fn check(block: &[u8]) -> Result<(), Damage> {
    let (probes, lines) = block.split_last().ok_or(Damage::Filter)?;
    let empty = lines.is_empty() && *probes == 0;
    let full = !lines.is_empty() && lines.len().is_multiple_of(LINE_BYTES) && (1..=30).contains(probes);
    if empty || full { Ok(()) } else { Err(Damage::Filter) }
}

/// A filter that stays in memory, checked.
#[derive(Debug)]
pub(crate) struct ResidentFilter {
    lines: Box<[Line]>,
    probes: u8,
}

/// Begins where a cache line does: one that lies astride two would cost two misses.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u8; LINE_BYTES]);

impl ResidentFilter {
    /// The filter that `block` has.
    pub(crate) fn new(block: &[u8]) -> Result<Self, Damage> {
        check(block)?;
        let (&probes, lines) = block.split_last().ok_or(Damage::Filter)?;
        let (lines, _) = lines.as_chunks::<LINE_BYTES>();
        Ok(Self { lines: lines.iter().map(|line| Line(*line)).collect(), probes })
    }

    /// Bytes of memory that the filter of a block of `block_bytes` takes.
    pub(crate) fn memory_bytes(block_bytes: usize) -> usize {
        block_bytes / LINE_BYTES * LINE_BYTES
    }

    /// Asks for the line that [`may_hold`](Self::may_hold) will look at.
    #[inline]
    pub(crate) fn ask(&self, hash: KeyHash) {
        if let Some(line) = self.lines.get(line_of(hash.0, self.lines.len())) {
            prefetch_line(line.0.as_ptr());
        }
    }

    /// Whether it admits that its segment holds the key.
    #[inline]
    pub(crate) fn may_hold(&self, hash: KeyHash) -> bool {
        let line = self.lines.get(line_of(hash.0, self.lines.len()));
        line.is_none_or(|line| admits(&line.0, self.probes, hash))
    }
}

/// Whether a checked filter block admits that its table holds the key.
#[inline]
pub(crate) fn may_hold(block: &[u8], hash: KeyHash) -> bool {
    let Some((&probes, lines)) = block.split_last() else { return true };
    let (lines, _) = lines.as_chunks::<LINE_BYTES>();
    lines.get(line_of(hash.0, lines.len())).is_none_or(|line| admits(line, probes, hash))
}

/// Whether the bits of a hash are set in its line.
#[inline]
fn admits(line: &[u8; LINE_BYTES], probes: u8, hash: KeyHash) -> bool {
    let (words, _) = line.as_chunks::<8>();
    // In its lowest bit: the bit that the lowest nine bits of `slices` name.
    let bit = |slices: u64| u64::from_le_bytes(words[(slices >> 6 & 7) as usize]).wrapping_shr(slices as u32);
    if probes == 6 {
        // Ten bits a key. Three bits at once, whatever the first one says: where a key is denied is not to be predicted,
        // but of eight that are, seven are denied by the first three.
        let word = mix(hash.0);
        let three = |slices: u64| bit(slices) & bit(slices >> 9) & bit(slices >> 18) & 1;
        return three(word) != 0 && three(word >> 27) != 0;
    }
    let mut admitted = 1;
    for_each_bit(hash.0, probes, |place| admitted &= bit(place as u64));
    admitted != 0
}
