//! What the benchmark asks of an index or a peer.
//!
//! Look-ups answer the number that the found value carries, so that a wrong answer is seen whatever the types are.

use super::data::Data;
use kausal_arena::RegionCoordinator;

/// An index or a peer, empty or filled.
pub trait Subject: Sync + Sized {
    /// Whether several threads may insert and read at once.
    const CONCURRENT: bool;
    /// Whether it can be walked in order.
    const ORDERED: bool;
    /// Whether there is something to do before it can be walked.
    const FREEZES: bool = false;
    /// What a thread needs to insert.
    type Pen;

    /// An empty one. What lives in an arena takes its region from `regions`.
    fn create(regions: &RegionCoordinator) -> Self;

    /// A pen for one thread.
    fn pen(&self) -> Self::Pen;

    /// Inserts entry `number`, alone in the world.
    fn insert(&mut self, pen: &mut Self::Pen, number: usize, key: &[u8], value: &[u8]);

    /// Inserts entry `number` beside others. Called only if [`CONCURRENT`](Self::CONCURRENT).
    fn insert_shared(&self, pen: &mut Self::Pen, number: usize, key: &[u8], value: &[u8]);

    /// The number in the newest value of `key`.
    fn get(&self, key: &[u8]) -> Option<usize>;

    /// [`get`](Self::get) of several keys; the sum of the numbers found.
    fn get_many(&self, keys: &[&[u8]]) -> usize {
        keys.iter().filter_map(|key| self.get(key)).sum()
    }

    /// Makes ready for ordered reading.
    fn freeze(&mut self, _pen: &mut Self::Pen) {}

    /// How many of the `count` entries from `key` on there are, their values looked at.
    fn scan_from(&self, key: &[u8], count: usize) -> usize;

    /// Entries in order, all of them, their values looked at.
    fn scan(&self) -> usize;

    /// Bytes taken from the subject's own memory; `None` if they lie on the global allocator.
    fn bytes(&self) -> Option<usize> {
        None
    }
}

/// Inserts the share of thread `thread` of `threads` of the entries in `range`.
pub fn insert_share<S: Subject>(
    subject: &S,
    data: &Data,
    range: std::ops::Range<usize>,
    thread: usize,
    threads: usize,
) {
    let mut pen = subject.pen();
    for number in range.skip(thread).step_by(threads) {
        subject.insert_shared(&mut pen, number, data.keys.get(number), &super::data::value(number));
    }
}
