//! The word of an inner node: its level, how many children it has, and the lock that writers take.
//!
//! | bits | what |
//! |---|---|
//! | 0 | locked: a writer may change slots, and nobody else |
//! | 1 | obsolete: a larger copy has taken, or is about to take, the node's place; it never changes again |
//! | 8 … 15 | number of children that stand in the node's list |
//! | 16 … 31 | level: the place in the key of the byte that the node branches on |
//!
//! Readers load the word for level and count and never wait for the lock. Unlocking is one Release store, which publishes
//! the count, and with it the child appended last.

use kausal_arena::sync::{AtomicU32, Ordering, spin_loop};

const LOCKED: u32 = 1;
const OBSOLETE: u32 = 1 << 1;
const ONE_CHILD: u32 = 1 << 8;
const LEVEL_SHIFT: u32 = 16;

/// See the file's first lines.
#[repr(transparent)]
pub(super) struct Word(AtomicU32);

/// What was in a word.
#[derive(Clone, Copy)]
pub(super) struct State(u32);

impl State {
    #[inline]
    pub(super) fn level(self) -> usize {
        (self.0 >> LEVEL_SHIFT) as usize
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        (self.0 >> 8 & 0xFF) as usize
    }

    /// Whether a writer was at work. Only for who asks whether what is read next may be out of date at once.
    #[inline]
    pub(super) fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    #[inline]
    pub(super) fn is_obsolete(self) -> bool {
        self.0 & OBSOLETE != 0
    }
}

impl Word {
    /// A free word.
    pub(super) fn new(level: u16, count: u8) -> Self {
        Self(AtomicU32::new((u32::from(level) << LEVEL_SHIFT) | (u32::from(count) * ONE_CHILD)))
    }

    #[inline]
    pub(super) fn load(&self) -> State {
        // Acquire: pairs with the Release in `Guard::drop`; who reads a count sees the children it counts.
        State(self.0.load(Ordering::Acquire))
    }

    /// A planted defect: what [`lock`](Self::lock) returns, without taking the lock.
    #[cfg(kausal_planted = "art_grow_unlocked")]
    pub(super) fn pretend_to_lock(&self) -> Guard<'_> {
        Guard { word: self, unlocked: self.0.load(Ordering::Acquire) & !LOCKED }
    }

    /// Waits for the lock and takes it, or answers `None` if the node is obsolete: its replacement is in place then.
    ///
    /// Locks are taken from lower levels to higher ones, so waiting ends.
    pub(super) fn lock(&self) -> Option<Guard<'_>> {
        loop {
            // Acquire: who finds the node obsolete shall find its replacement, which was linked before the unlocking.
            let there = self.0.load(Ordering::Acquire);
            if there & LOCKED != 0 {
                spin_loop();
                continue;
            }
            if there & OBSOLETE != 0 {
                return None;
            }
            // Acquire: pairs with the Release in `Guard::drop`; what the last holder wrote is seen by this one.
            let taken =
                self.0.compare_exchange_weak(there, there | LOCKED, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(Guard { word: self, unlocked: there });
            }
        }
    }
}

/// The right to change slots of one node. Unlocks when dropped.
pub(super) struct Guard<'n> {
    word: &'n Word,
    /// The word as it will be.
    unlocked: u32,
}

impl Guard<'_> {
    pub(super) fn state(&self) -> State {
        State(self.unlocked)
    }

    /// Counts the child that was just appended; readers see it once this guard drops.
    pub(super) fn count_child(&mut self) {
        self.unlocked += ONE_CHILD;
    }

    /// From here on the node never changes again. To be called before its replacement is linked, so that whoever sees a
    /// change in the replacement sees this as well.
    pub(super) fn mark_obsolete(&mut self) {
        self.unlocked |= OBSOLETE;
        // Relaxed: ordered before the Release that links the replacement.
        self.word.0.store(self.unlocked | LOCKED, Ordering::Relaxed);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquires above.
        self.word.0.store(self.unlocked, Ordering::Release);
    }
}
