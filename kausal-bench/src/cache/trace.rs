//! Which blocks are asked for, and in what order.

use fastrand::Rng;

/// Bytes of every block.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks there are, for each block that a cache of the given bytes could hold.
const UNIVERSE: usize = 10;

/// The skew of YCSB.
const SKEW: f64 = 0.99;

/// Blocks of the cache whose hits are timed: half of what it has room for, so that nobody has to evict.
pub const RESIDENT_BLOCKS: u32 = 8_000;

/// Accesses, by numbers of blocks, in their order.
pub struct Trace {
    /// All of them.
    pub blocks: Vec<u32>,
    /// Accesses at the front that fill the caches and are not counted.
    pub warm_up: usize,
}

/// Draws from a Zipf distribution, by a table of its sums.
struct Zipf {
    sums: Vec<f64>,
    /// Which block has which rank: neighbours in rank are not neighbours in the file.
    places: Vec<u32>,
}

impl Zipf {
    fn new(count: usize, random: &mut Rng) -> Self {
        let mut sum = 0.0;
        let mut add = |rank: usize| {
            sum += (rank as f64).powf(-SKEW);
            sum
        };
        let sums = (1..=count).map(&mut add).collect();
        let mut places: Vec<u32> = (0..count as u32).collect();
        random.shuffle(&mut places);
        Self { sums, places }
    }

    fn draw(&self, random: &mut Rng) -> u32 {
        let wanted = random.f64() * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|sum| *sum < wanted);
        self.places[rank.min(self.places.len() - 1)]
    }
}

impl Trace {
    /// Zipf 0.99 over ten times what a cache of `bytes` could hold.
    pub fn zipf(bytes: usize, seed: u64) -> Self {
        let fits = bytes / BLOCK_BYTES;
        let mut random = Rng::with_seed(seed);
        let zipf = Zipf::new(fits * UNIVERSE, &mut random);
        let blocks = (0..fits * 60).map(|_| zipf.draw(&mut random)).collect();
        Self { blocks, warm_up: fits * 20 }
    }

    /// The same, and after every so many accesses a scan of as many blocks as the cache could hold, none of which was there
    /// before.
    pub fn scan(bytes: usize, seed: u64) -> Self {
        let fits = bytes / BLOCK_BYTES;
        let plain = Self::zipf(bytes, seed);
        let mut next = (fits * UNIVERSE) as u32;
        let mut blocks = Vec::new();
        for part in plain.blocks.chunks(fits * 2) {
            blocks.extend_from_slice(part);
            blocks.extend(next..next + fits as u32);
            next += fits as u32;
        }
        Self { blocks, warm_up: fits * 30 }
    }
}

/// Blocks of the loop, for each hundred that a cache of the given bytes could hold.
const LOOP_PERCENT: usize = 120;

impl Trace {
    /// The same, but what is popular changes: after every eighth of what fits, two in two hundred blocks change places.
    pub fn drift(bytes: usize, seed: u64) -> Self {
        let fits = bytes / BLOCK_BYTES;
        let mut random = Rng::with_seed(seed);
        let mut zipf = Zipf::new(fits * UNIVERSE, &mut random);
        let mut blocks = Vec::new();
        for number in 0..fits * 60 {
            if number % (fits / 8) == 0 {
                for _ in 0..zipf.places.len() / 200 {
                    let [one, other] = [(); 2].map(|()| random.usize(0..zipf.places.len()));
                    zipf.places.swap(one, other);
                }
            }
            blocks.push(zipf.draw(&mut random));
        }
        Self { blocks, warm_up: fits * 20 }
    }

    /// A fifth more blocks than fit, one after the other, again and again.
    pub fn round(bytes: usize, _: u64) -> Self {
        let fits = bytes / BLOCK_BYTES;
        let count = fits * LOOP_PERCENT / 100;
        Self { blocks: (0..fits * 60).map(|number| (number % count) as u32).collect(), warm_up: fits * 20 }
    }
}

/// Resident blocks in random order, each as likely as any other: the caches of the processor help nobody.
pub fn probes(seed: u64, count: usize) -> Vec<u32> {
    let mut random = Rng::with_seed(seed);
    (0..count).map(|_| random.u32(0..RESIDENT_BLOCKS)).collect()
}
