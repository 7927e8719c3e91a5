//! Keys, values, orders and popularity: the same for every store.
//!
//! - A key is eight bytes of its number, most significant first, and eight fixed ones. Numbers are even, so that a key
//!   that is not there lies between two that are.
//! - A value begins with its key's number and its version; the rest comes from a pool by that number, and half of it is zeros.
//!   So whoever reads a value knows whether it is the right one.
//! - An [`Order`] is a permutation: each key once, in an order that has nothing to do with theirs.
//! - [`Zipf`] draws ranks by Zipf's law, as in YCSB: "Quickly Generating Billion-Record Synthetic Databases" (Gray and others,
//!   SIGMOD 1994). The rank is led through an order, so that popular keys do not lie together.

use fastrand::Rng;

/// A key.
pub type Key = [u8; 16];

/// The eight bytes that all keys end in.
const TAIL: [u8; 8] = *b"kausal\0\0";

/// Bytes that values come from.
const POOL_BYTES: usize = 1 << 20;

/// Bytes of a value's head: number and version.
const HEAD_BYTES: usize = 9;

/// YCSB's exponent.
pub const ZIPF: f64 = 0.99;

/// The key of `number` that is there.
pub fn key(number: u64) -> Key {
    spelled(2 * number)
}

/// A key that is not there, behind the one of `number`.
pub fn missing(number: u64) -> Key {
    spelled(2 * number + 1)
}

fn spelled(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&TAIL);
    key
}

/// The number of a key that is there.
pub fn number_of(key: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
    (key.len() == 16 && key[8..] == TAIL && number.is_multiple_of(2)).then_some(number / 2)
}

/// Values of one length.
pub struct Values {
    pool: Vec<u8>,
    len: usize,
}

impl Values {
    /// Values of `len` bytes.
    ///
    /// # Panics
    ///
    /// If `len` is below 16: a value names its key.
    pub fn new(len: usize, seed: u64) -> Self {
        assert!(len >= 16, "a value has room for its head");
        let mut rng = Rng::with_seed(seed);
        let mut pool = vec![0; POOL_BYTES + len];
        // Half of each value: runs of random bytes and of zeros, as long as half a short value.
        for run in pool.chunks_mut(100) {
            let half = run.len() / 2;
            rng.fill(&mut run[..half]);
        }
        Self { pool, len }
    }

    /// Bytes of a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether values have no bytes, which they always do.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes `into` the value of `number` in this version.
    pub fn fill(&self, number: u64, version: u8, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(self.body(number));
        into[..8].copy_from_slice(&number.to_le_bytes());
        into[8] = version;
    }

    fn body(&self, number: u64) -> &[u8] {
        // Multiplication by an odd constant spreads neighbours (Knuth, volume 3, 6.4).
        let place = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44) as usize % POOL_BYTES;
        &self.pool[place..place + self.len]
    }

    /// Whether `value` is by its length and its head one of `number`: cheap enough to be done in what is timed.
    pub fn heads(&self, number: u64, value: &[u8]) -> bool {
        value.len() == self.len && value[..8] == number.to_le_bytes()
    }

    /// Whether `value` is the value of `number` in this version, to the last byte.
    pub fn is(&self, number: u64, version: u8, value: &[u8]) -> bool {
        self.heads(number, value)
            && value[8] == version
            && value[HEAD_BYTES..] == self.body(number)[HEAD_BYTES..]
    }
}

/// The numbers below a count, each once, shuffled.
pub struct Order(Vec<u32>);

impl Order {
    /// `count` numbers in an order drawn from `seed`.
    pub fn new(count: u64, seed: u64) -> Self {
        let mut numbers: Vec<u32> = (0..count as u32).collect();
        Rng::with_seed(seed).shuffle(&mut numbers);
        Self(numbers)
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|&number| u64::from(number))
    }

    /// The number at `place`, counted round and round.
    pub fn at(&self, place: u64) -> u64 {
        u64::from(self.0[(place % self.0.len() as u64) as usize])
    }

    /// Every `threads`th number from the `thread`th on: each number belongs to one thread.
    pub fn share(&self, thread: usize, threads: usize) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().skip(thread).step_by(threads).map(|&number| u64::from(number))
    }
}

/// Ranks below a count, rank 0 the most frequent.
pub struct Zipf {
    count: f64,
    alpha: f64,
    eta: f64,
    zeta: f64,
    second: f64,
}

impl Zipf {
    /// Ranks below `count`, of which the one numbered `r` comes in proportion to `(r + 1)^-exponent`. O(`count`).
    pub fn new(count: u64, exponent: f64) -> Self {
        let zeta = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-exponent)).sum::<f64>();
        let (all, two) = (zeta(count), zeta(2.min(count)));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - exponent)) / (1.0 - two / all);
        Self {
            count: count as f64,
            alpha: 1.0 / (1.0 - exponent),
            eta,
            zeta: all,
            second: 1.0 + 0.5_f64.powf(exponent),
        }
    }

    /// The next rank.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let uniform = rng.f64();
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1.min(self.count as u64 - 1);
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers_and_absent_ones_between() {
        for number in [0, 1, 255, 256, 65_535, 1 << 40] {
            assert!(key(number) < missing(number) && missing(number) < key(number + 1));
            assert_eq!((number_of(&key(number)), number_of(&missing(number))), (Some(number), None));
        }
        assert_eq!(number_of(b"short"), None);
    }

    #[test]
    fn a_value_is_known_by_its_number_version_and_bytes() {
        let values = Values::new(100, 1);
        let mut value = Vec::new();
        values.fill(7, 2, &mut value);
        assert!(values.is(7, 2, &value) && values.heads(7, &value));
        assert!(!values.is(7, 1, &value) && !values.is(8, 2, &value) && !values.heads(8, &value));
        value[99] ^= 1;
        assert!(!values.is(7, 2, &value));
    }

    #[test]
    fn about_half_of_a_value_is_zeros() {
        let values = Values::new(1000, 1);
        let mut value = Vec::new();
        values.fill(12_345, 0, &mut value);
        let zeros = value.iter().filter(|&&byte| byte == 0).count();
        assert!((400..600).contains(&zeros), "{zeros}");
    }

    #[test]
    fn an_order_has_each_number_once_and_its_shares_are_disjoint() {
        let order = Order::new(1000, 5);
        let mut numbers: Vec<u64> = order.iter().collect();
        assert_ne!(numbers, (0..1000).collect::<Vec<_>>());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        let mut shares: Vec<u64> = (0..3).flat_map(|thread| order.share(thread, 3)).collect();
        shares.sort_unstable();
        assert_eq!(shares, numbers);
        assert_eq!(order.at(1000), order.at(0));
    }

    #[test]
    fn ranks_come_by_zipfs_law() {
        const COUNT: u64 = 1000;
        const DRAWS: usize = 400_000;
        let zipf = Zipf::new(COUNT, ZIPF);
        let mut rng = Rng::with_seed(3);
        let mut seen = vec![0_usize; COUNT as usize];
        for _ in 0..DRAWS {
            seen[zipf.draw(&mut rng) as usize] += 1;
        }
        let zeta: f64 = (1..=COUNT).map(|rank| (rank as f64).powf(-ZIPF)).sum();
        // The first two ranks are exact, deeper ones a continuous approximation: compared by their sum.
        for rank in [1_usize, 2] {
            let want = (rank as f64).powf(-ZIPF) / zeta;
            let share = seen[rank - 1] as f64 / DRAWS as f64;
            assert!((share / want - 1.0).abs() < 0.05, "rank {rank}: {share} for {want}");
        }
        let want: f64 = (1..=100).map(|rank| f64::from(rank).powf(-ZIPF)).sum::<f64>() / zeta;
        let share = seen[..100].iter().sum::<usize>() as f64 / DRAWS as f64;
        assert!((share / want - 1.0).abs() < 0.05, "first hundred: {share} for {want}");
        assert!(seen[900..].iter().sum::<usize>() > 0, "the tail is drawn too");
    }

    #[test]
    fn a_single_rank_is_drawn_always() {
        let zipf = Zipf::new(1, ZIPF);
        let mut rng = Rng::with_seed(3);
        assert!((0..100).all(|_| zipf.draw(&mut rng) == 0));
    }
}
