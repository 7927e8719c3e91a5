//! The state word of a bucket, and its lock.
//!
//! | bits | what |
//! |---|---|
//! | 0 | the lock, for inserts and splits |
//! | 1–7 | depth: how many low bits of a hash agree with the page's number |
//! | 8–31 | version: counts moves from records into slots |
//! | 32–63 | the first record, or nil |

use kausal_arena::sync::Ordering;

use crate::hash::NIL;
use crate::hash::page::Bucket;
use crate::hash::table::{hash_of, node_of};

const LOCKED: u64 = 1;
const DEPTH_AT: u32 = 1;
const DEPTH_MASK: u64 = 0x7F;
const VERSION_AT: u32 = 8;
const SPILL_AT: u32 = 32;

/// A bucket's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

impl State {
    /// Of an empty bucket of this depth.
    pub(super) fn new(depth: u32) -> Self {
        Self(u64::from(depth) << DEPTH_AT)
    }

    pub(super) fn from_u64(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn to_u64(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn depth(self) -> u32 {
        (self.0 >> DEPTH_AT & DEPTH_MASK) as u32
    }

    /// The first record, or nil.
    #[inline]
    pub(super) fn spill(self) -> u32 {
        (self.0 >> SPILL_AT) as u32
    }

    pub(super) fn with_spill(self, record: u32) -> Self {
        Self(self.0 & u64::from(u32::MAX) | u64::from(record) << SPILL_AT)
    }

    /// One deeper: half of the hashes belong to another page from here on.
    pub(super) fn deeper(self) -> Self {
        Self(self.0 + (1 << DEPTH_AT))
    }

    /// After a move within the bucket. A bucket is split at most 32 times, so this does not wrap.
    pub(super) fn moved(self) -> Self {
        Self(self.0 + (1 << VERSION_AT))
    }

    /// Whether a bucket in this state, in page `number`, is where `hash` belongs.
    #[inline]
    pub(super) fn owns(self, number: u32, hash: u32) -> bool {
        (number ^ hash) & (1_u32 << self.depth()).wrapping_sub(1) == 0
    }

    /// Whether nothing has moved out of or within the bucket between the two.
    #[inline]
    pub(super) fn has_same_content(self, other: Self) -> bool {
        (self.0 ^ other.0) & (u64::from(u32::MAX) & !LOCKED) == 0
    }
}

/// A bucket whose lock is held; given back when dropped, with `state` as it then is.
pub(super) struct Locked<'m> {
    pub(super) bucket: &'m Bucket,
    pub(super) number: u32,
    pub(super) state: State,
}

impl<'m> Locked<'m> {
    /// Takes the lock if it is free and the state still is `state`.
    #[inline]
    pub(super) fn try_new(bucket: &'m Bucket, number: u32, state: State) -> Option<Self> {
        if state.0 & LOCKED != 0 {
            return None;
        }
        // Acquire: pairs with the Release in `drop`; what earlier holders wrote is seen.
        let taken =
            bucket.state.compare_exchange(state.0, state.0 | LOCKED, Ordering::Acquire, Ordering::Relaxed);
        taken.ok().map(|_| Self { bucket, number, state })
    }

    /// Shows `state` while the lock stays held.
    pub(super) fn show(&mut self, state: State) {
        self.state = state;
        // Release: pairs with the Acquire in look-ups.
        self.bucket.state.store(state.0 | LOCKED, Ordering::Release);
    }

    /// Whether a slot with `word` is in use: not free, and not left behind by a split.
    #[inline]
    pub(super) fn holds(&self, word: u64) -> bool {
        // Without a branch, as most of the time nobody knows.
        (node_of(word) != NIL) & self.state.owns(self.number, hash_of(word))
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `try_new` and in look-ups.
        self.bucket.state.store(self.state.0, Ordering::Release);
    }
}
