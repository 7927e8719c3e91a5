//! Search among the key bytes of an inner node, which stand in the order in which they came.
//!
//! The bytes are loaded as whole atomic words by the caller and compared here: sixteen at a time with SSE2, which every
//! x86-64 processor has, or byte by byte elsewhere. Both forms are tested against each other's definition.
//!
//! Not here: atomics. A vector loaded straight from memory would race with the writer that appends a byte.

/// The first of the `count` bytes of `words` that equals `byte`.
#[inline]
pub(super) fn find<const WORDS: usize>(words: &[u64; WORDS], count: usize, byte: u8) -> Option<usize> {
    if WORDS == 1 {
        return find_in_word(words[0], count, byte);
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { vector::find(words, count, byte) };
    #[cfg(not(target_arch = "x86_64"))]
    return plain::find(words, count, byte);
}

/// The smallest of the `count` bytes that is at least `from`, with its place.
#[inline]
pub(super) fn at_or_after<const WORDS: usize>(
    words: &[u64; WORDS],
    count: usize,
    from: u8,
) -> Option<(u8, usize)> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { vector::at_or_after(words, count, from) };
    #[cfg(not(target_arch = "x86_64"))]
    return plain::at_or_after(words, count, from);
}

/// The largest of the `count` bytes that is at most `upto`, with its place.
#[inline]
pub(super) fn at_or_before<const WORDS: usize>(
    words: &[u64; WORDS],
    count: usize,
    upto: u8,
) -> Option<(u8, usize)> {
    // What mirrors the order of bytes mirrors the question.
    let mirrored = words.map(|word| !word);
    at_or_after(&mirrored, count, !upto).map(|(byte, place)| (!byte, place))
}

/// Places, as bits, of those of the `count` bytes that lie in `lower ..= upper`. At most 64 bytes.
#[inline]
pub(super) fn between<const WORDS: usize>(words: &[u64; WORDS], count: usize, lower: u8, upper: u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { vector::between(words, count, lower, upper) };
    #[cfg(not(target_arch = "x86_64"))]
    return plain::between(words, count, lower, upper);
}

/// A set of bytes, taken out from the smallest on.
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Those of the first `count` bytes of `words` that are at least `from`.
    #[inline]
    pub(super) fn at_or_after(words: &[u64], count: usize, from: u8) -> Self {
        let mut set = [0; 4];
        for place in 0..count {
            let byte = (words[place / 8] >> (8 * (place % 8))) as u8;
            set[byte as usize / 64] |= 1 << (byte % 64);
        }
        for (word, bits) in set.iter_mut().enumerate() {
            let below = (from as usize).saturating_sub(64 * word);
            *bits &= u64::MAX.checked_shl(below as u32).unwrap_or(0);
        }
        Self(set)
    }

    /// Takes the smallest byte out.
    #[inline]
    pub(super) fn take_first(&mut self) -> Option<u8> {
        let word = self.0.iter().position(|bits| *bits != 0)?;
        let bit = self.0[word].trailing_zeros();
        self.0[word] &= self.0[word] - 1;
        Some((64 * word as u32 + bit) as u8)
    }
}

/// [`find`] in eight bytes: the lowest zero byte of the difference (Mycroft 1987) is exact; what the borrow puts above it
/// does not matter.
#[inline]
fn find_in_word(word: u64, count: usize, byte: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let difference = word ^ (ONES * u64::from(byte));
    let zeros = difference.wrapping_sub(ONES) & !difference & (ONES << 7);
    let place = zeros.trailing_zeros() as usize / 8;
    (place < count).then_some(place)
}

/// Places of `count` bytes as bits.
#[cfg(target_arch = "x86_64")]
#[inline]
fn valid(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si32, _mm_max_epu8, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8, _mm_srli_si128, _mm_xor_si128,
    };

    use super::valid;

    /// Sixteen of the bytes; what lies past the end is 0.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn load<const WORDS: usize>(words: &[u64; WORDS], sixteen: usize) -> __m128i {
        let high = words.get(2 * sixteen + 1).copied().unwrap_or(0);
        _mm_set_epi64x(high as i64, words[2 * sixteen] as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn bits(matches: __m128i, sixteen: usize) -> u64 {
        u64::from(_mm_movemask_epi8(matches) as u16) << (16 * sixteen)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn find<const WORDS: usize>(words: &[u64; WORDS], count: usize, byte: u8) -> Option<usize> {
        let wanted = _mm_set1_epi8(byte as i8);
        let mut found = 0;
        for sixteen in 0..WORDS.div_ceil(2) {
            found |= bits(_mm_cmpeq_epi8(load(words, sixteen), wanted), sixteen);
        }
        let found = found & valid(count);
        (found != 0).then(|| found.trailing_zeros() as usize)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn between<const WORDS: usize>(
        words: &[u64; WORDS],
        count: usize,
        lower: u8,
        upper: u8,
    ) -> u64 {
        let (lower, upper) = (_mm_set1_epi8(lower as i8), _mm_set1_epi8(upper as i8));
        let mut found = 0;
        for sixteen in 0..WORDS.div_ceil(2) {
            let bytes = load(words, sixteen);
            let clamped = _mm_min_epu8(_mm_max_epu8(bytes, lower), upper);
            found |= bits(_mm_cmpeq_epi8(clamped, bytes), sixteen);
        }
        found & valid(count)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn at_or_after<const WORDS: usize>(
        words: &[u64; WORDS],
        count: usize,
        from: u8,
    ) -> Option<(u8, usize)> {
        let lower = _mm_set1_epi8(from as i8);
        let mut candidates = 0;
        let mut smallest = _mm_set1_epi8(-1);
        for sixteen in 0..WORDS.div_ceil(2) {
            let bytes = load(words, sixteen);
            let not_before = _mm_cmpeq_epi8(_mm_max_epu8(bytes, lower), bytes);
            let valid = lanes_below(count, sixteen);
            let matches = _mm_and_si128(not_before, valid);
            candidates |= bits(matches, sixteen);
            // What does not match counts as 255; whether a true 255 is among them, `candidates` knows.
            let others = _mm_xor_si128(matches, _mm_set1_epi8(-1));
            smallest = _mm_min_epu8(smallest, _mm_or_si128(bytes, others));
        }
        if candidates == 0 {
            return None;
        }
        let byte = minimum(smallest);
        find(words, count, byte).map(|place| (byte, place))
    }

    /// All ones in the lanes of this sixteen whose place is below `count`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn lanes_below(count: usize, sixteen: usize) -> __m128i {
        let places = _mm_set_epi64x(0x0F0E_0D0C_0B0A_0908, 0x0706_0504_0302_0100);
        let last = _mm_set1_epi8(count.saturating_sub(16 * sixteen).saturating_sub(1).min(15) as i8);
        let any = if count > 16 * sixteen { -1 } else { 0 };
        _mm_and_si128(_mm_cmpeq_epi8(_mm_max_epu8(places, last), last), _mm_set1_epi8(any))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn minimum(bytes: __m128i) -> u8 {
        let eight = _mm_min_epu8(bytes, _mm_srli_si128::<8>(bytes));
        let four = _mm_min_epu8(eight, _mm_srli_si128::<4>(eight));
        let two = _mm_min_epu8(four, _mm_srli_si128::<2>(four));
        let one = _mm_min_epu8(two, _mm_srli_si128::<1>(two));
        _mm_cvtsi128_si32(one) as u8
    }
}

/// The definition, byte by byte: what other processors run, and what the vectors are tested against.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    fn bytes<const WORDS: usize>(words: &[u64; WORDS], count: usize) -> impl Iterator<Item = u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).take(count)
    }

    pub(super) fn find<const WORDS: usize>(words: &[u64; WORDS], count: usize, byte: u8) -> Option<usize> {
        bytes(words, count).position(|there| there == byte)
    }

    pub(super) fn between<const WORDS: usize>(
        words: &[u64; WORDS],
        count: usize,
        lower: u8,
        upper: u8,
    ) -> u64 {
        let places = bytes(words, count).zip(0..64);
        places
            .filter(|(byte, _)| lower <= *byte && *byte <= upper)
            .fold(0, |bits, (_, place)| bits | 1 << place)
    }

    pub(super) fn at_or_after<const WORDS: usize>(
        words: &[u64; WORDS],
        count: usize,
        from: u8,
    ) -> Option<(u8, usize)> {
        let places = bytes(words, count).zip(0..);
        places.filter(|(byte, _)| *byte >= from).min_by_key(|(byte, _)| *byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of `bytes`, with something that must not be found behind them.
    fn words<const WORDS: usize>(bytes: &[u8], behind: u8) -> [u64; WORDS] {
        let mut all = vec![behind; 8 * WORDS];
        all[..bytes.len()].copy_from_slice(bytes);
        std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| all[8 * word + byte])))
    }

    fn every_question_is_answered_as_defined<const WORDS: usize>(seed: u64) {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 56) as u8
        };
        for count in 0..=8 * WORDS {
            let mut bytes: Vec<u8> = Vec::new();
            while bytes.len() < count {
                let byte = match random() % 8 {
                    0 => 0,
                    1 => 255,
                    _ => random(),
                };
                if !bytes.contains(&byte) {
                    bytes.push(byte);
                }
            }
            for behind in [0, 255] {
                let words = words::<WORDS>(&bytes, behind);
                for byte in 0..=255 {
                    let place = bytes.iter().position(|there| *there == byte);
                    assert_eq!(find(&words, count, byte), place);
                    assert_eq!(plain::find(&words, count, byte), place);
                    let after = bytes.iter().copied().filter(|there| *there >= byte).min();
                    let found = at_or_after(&words, count, byte);
                    assert_eq!(found, plain::at_or_after(&words, count, byte));
                    assert_eq!(found.map(|(byte, _)| byte), after);
                    assert!(found.is_none_or(|(byte, place)| bytes[place] == byte));
                    let mut set = ByteSet::at_or_after(&words, count, byte);
                    assert_eq!(set.take_first(), after);
                    let rest = std::iter::from_fn(|| set.take_first());
                    let mut sorted: Vec<u8> = bytes.iter().copied().filter(|there| *there >= byte).collect();
                    sorted.sort_unstable();
                    assert!(rest.eq(sorted.into_iter().skip(1)));
                    let upper = byte.saturating_add(random() / 2);
                    let found = between(&words, count, byte, upper);
                    assert_eq!(found, plain::between(&words, count, byte, upper));
                    let inside = bytes.iter().filter(|there| (byte..=upper).contains(there)).count();
                    assert_eq!(found.count_ones() as usize, inside);
                    let before = bytes.iter().copied().filter(|there| *there <= byte).max();
                    let found = at_or_before(&words, count, byte);
                    assert_eq!(found.map(|(byte, _)| byte), before);
                    assert!(found.is_none_or(|(byte, place)| bytes[place] == byte));
                }
            }
        }
    }

    #[test]
    fn bytes_are_found_as_defined() {
        for seed in 1..4 {
            every_question_is_answered_as_defined::<1>(seed);
            every_question_is_answered_as_defined::<2>(seed);
            every_question_is_answered_as_defined::<4>(seed);
            every_question_is_answered_as_defined::<8>(seed);
        }
    }
}
