//! Names of blocks: where a block lies, what it is, and the number that finds it.

use crate::ids::FileNumber;

/// Multipliers of the hash: digits of π, as in `wyhash` and its kin.
const SECRETS: [u64; 3] = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D1];

/// Where a block lies. A file's number is never used twice, so a key names the same bytes for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// The file.
    pub file: FileNumber,
    /// Where in the file the block begins.
    pub offset: u64,
}

impl BlockKey {
    /// A number that differs in all its bits between neighbouring blocks. Two multiplications whose halves are folded
    /// (Wang Yi's wyhash); no defence against chosen keys, which the engine chooses itself.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        let first = fold(self.file.0 ^ SECRETS[0], self.offset ^ SECRETS[1]);
        fold(first ^ self.offset, SECRETS[2])
    }
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What a block is, for the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockClass {
    /// Entries.
    Data,
    /// Where entries are.
    Index,
    /// Which keys are not there.
    Filter,
}

impl BlockClass {
    /// All of them, in the order of the books.
    pub const ALL: [Self; 3] = [Self::Data, Self::Index, Self::Filter];

    /// Name of the class's node in the memory report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data blocks",
            Self::Index => "index blocks",
            Self::Filter => "filter blocks",
        }
    }

    pub(super) const fn place(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbouring_blocks_differ_at_both_ends_of_their_hashes() {
        let keys = (0..64_u64).flat_map(|file| (0..64).map(move |place| (FileNumber(file), place * 4096)));
        let hashes: Vec<u64> = keys.map(|(file, offset)| BlockKey { file, offset }.hash()).collect();
        let distinct = |part: fn(&u64) -> u64| hashes.iter().map(part).collect::<HashSet<_>>().len();
        // 4,096 balls into 2^20 bins: about eight meet another one.
        assert!(distinct(|hash| hash >> 44) > 4_000 && distinct(|hash| hash & 0xF_FFFF) > 4_000);
    }
}
