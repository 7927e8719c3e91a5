//! The directory: from the hash of a key to the number of a frame, without a lock for who looks.
//!
//! 1. An open-addressed table of cache lines. A line has seven slots, each with 32 bits of hash (the *tag*) and a frame's
//!    number, and a count of the keys that found it full and went on to the next.
//! 2. A look-up compares the seven tags of one line, and goes on only while that count is not zero: nearly never, at four
//!    keys a line or fewer.
//! 3. A slot is written when a block comes and cleared when it goes; nothing is ever moved. So there are no tombstones, and
//!    a reader misses a key that is there only in the moment in which it comes.
//!
//! After F14 (Bronson and Shi 2019), with tags wide enough that a wrong frame is pinned once in a billion look-ups.
//!
//! Invariant: slots and counts of a shard's lines are written under its lock only. What a slot says is a hint: the
//! frame's header decides.

use kausal_arena::prefetch_line;
use kausal_arena::sync::{AtomicU64, Ordering};

/// Slots of a line.
const SLOTS: usize = 7;

/// Keys a line is meant for.
const KEYS_PER_LINE: usize = 4;

pub(super) const LINE_BYTES: usize = 64;

#[repr(align(64))]
struct Line {
    /// Keys that belong here or before and lie in a later line.
    passed: AtomicU64,
    /// `tag << 32 | frame + 1`; 0 is empty.
    slots: [AtomicU64; SLOTS],
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Line>() == LINE_BYTES);

impl Line {
    fn new() -> Self {
        Self { passed: AtomicU64::new(0), slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Bit `n` of the result says whether slot `n` has the tag. Without a branch: where a key lies in its line is not to be
    /// predicted.
    #[inline]
    fn with_tag(&self, tag: u32) -> u32 {
        // Relaxed: the state word of the frame orders, see `Header::pin`.
        let same = |place: usize| u32::from((self.slots[place].load(Ordering::Relaxed) >> 32) as u32 == tag);
        (0..SLOTS).fold(0, |found, place| found | same(place) << place)
    }

    fn frame(&self, place: usize) -> Option<u32> {
        (self.slots[place].load(Ordering::Relaxed) as u32).checked_sub(1)
    }
}

pub(super) struct Directory {
    lines: Box<[Line]>,
    /// Lines of one shard, less one.
    mask: usize,
    shift: u32,
}

impl Directory {
    /// Lines for each of `shards` shards (a power of two) of up to `frames` frames.
    pub(super) fn lines_per_shard(frames: usize) -> usize {
        frames.div_ceil(KEYS_PER_LINE).next_power_of_two()
    }

    pub(super) fn new(shards: usize, lines_per_shard: usize) -> Self {
        let lines: Box<[Line]> = (0..shards * lines_per_shard).map(|_| Line::new()).collect();
        // Of 63 bits: a single line has no bits of the hash, and a shift by 64 is none.
        let shift = 63 - lines.len().trailing_zeros();
        Self { lines, mask: lines_per_shard - 1, shift }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((hash >> 1) >> self.shift) as usize
    }

    /// The shard a hash belongs to: that of its line.
    #[inline]
    pub(super) fn shard(&self, hash: u64) -> usize {
        self.home(hash) / (self.mask + 1)
    }

    /// The line after `line`, in the same shard.
    #[inline]
    fn after(&self, line: usize) -> usize {
        (line & !self.mask) | ((line + 1) & self.mask)
    }

    /// Asks for the line that a look-up begins with.
    #[inline]
    pub(super) fn ask(&self, hash: u64) {
        prefetch_line((&raw const self.lines[self.home(hash)]).cast());
    }

    /// What `check` makes of a frame whose tag agrees, the first time it makes anything.
    #[inline]
    pub(super) fn find<T>(&self, hash: u64, mut check: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut index = self.home(hash);
        for _ in 0..=self.mask {
            let line = &self.lines[index];
            let mut found = line.with_tag(hash as u32);
            while found != 0 {
                let place = found.trailing_zeros() as usize;
                if let Some(result) = line.frame(place).and_then(&mut check) {
                    return Some(result);
                }
                found &= found - 1;
            }
            if line.passed.load(Ordering::Relaxed) == 0 {
                return None;
            }
            index = self.after(index);
        }
        None
    }

    /// Enters `frame`. Under the shard's lock, and at most once for a key.
    ///
    /// # Panics
    ///
    /// If the shard's lines are full; they have more slots than the shard has frames.
    pub(super) fn insert(&self, hash: u64, frame: u32) {
        let mut index = self.home(hash);
        for _ in 0..=self.mask {
            let line = &self.lines[index];
            if let Some(place) = (0..SLOTS).find(|&place| line.frame(place).is_none()) {
                let word = u64::from(hash as u32) << 32 | u64::from(frame + 1);
                line.slots[place].store(word, Ordering::Relaxed);
                return;
            }
            line.passed.store(line.passed.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            index = self.after(index);
        }
        unreachable!("a shard has more slots than frames");
    }

    /// Removes `frame`, which was entered with `hash`. Under the shard's lock.
    pub(super) fn remove(&self, hash: u64, frame: u32) {
        let word = u64::from(hash as u32) << 32 | u64::from(frame + 1);
        let mut index = self.home(hash);
        for _ in 0..=self.mask {
            let line = &self.lines[index];
            if let Some(slot) = line.slots.iter().find(|slot| slot.load(Ordering::Relaxed) == word) {
                slot.store(0, Ordering::Relaxed);
                return;
            }
            line.passed.store(line.passed.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
            index = self.after(index);
        }
        unreachable!("a frame is removed that was not entered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All in one line of four, so that they overflow, and out again in another order.
    #[test]
    fn keys_are_found_wherever_they_went_and_leave_no_trace() {
        let directory = Directory::new(1, 4);
        let hash = |number: u32| u64::from(number) | 1 << 62;
        let find = |number: u32| directory.find(hash(number), Some);
        for number in 0..24 {
            directory.insert(hash(number), number * 10);
        }
        for number in (0..24).filter(|number| number % 3 != 0) {
            assert_eq!(find(number), Some(number * 10));
            directory.remove(hash(number), number * 10);
            assert_eq!(find(number), None);
        }
        for number in (0..24).filter(|number| number % 3 == 0) {
            assert_eq!(find(number), Some(number * 10), "its neighbours are gone");
            directory.remove(hash(number), number * 10);
        }
        assert!(directory.lines.iter().all(|line| line.passed.load(Ordering::Relaxed) == 0));
        assert!(directory.lines.iter().all(|line| (0..SLOTS).all(|place| line.frame(place).is_none())));
    }

    #[test]
    fn a_shard_is_a_range_of_lines() {
        let directory = Directory::new(4, 8);
        let shards: Vec<usize> = (0..8_u64).map(|top| directory.shard(top << 61)).collect();
        assert_eq!(shards, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(directory.after(15), 8);
    }
}
