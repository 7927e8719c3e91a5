//! Growth: one more page, filled from the page it is split from.
//!
//! A split of a bucket, under its lock:
//! 1. Words whose hash has the new bit set are copied to the new page, which nobody can reach yet. They stay where they
//!    are as well, stale from now on.
//! 2. The state shows the greater depth. Look-ups that began before find the stale words, or notice that the depth has
//!    changed; later ones go on to the new page.
//! 3. Only then stale slots are used again: by inserts, and for what lay in records. A record's word is put into a slot,
//!    the state shows that something has moved, and then the record is emptied: so whoever meets an empty record and
//!    finds nothing notices.
//!
//! The list of records is not taken apart, because look-ups may stand in it: where both buckets still need some of its
//! records, both lists begin with it, and each bucket heeds the words that are its own.

use kausal_arena::sync::Ordering;
use kausal_arena::{AllocError, Writer};

use crate::hash::page::{self, Bucket, PAGES_MAX, PIECE_BYTES, Record, page_at};
use crate::hash::state::{Locked, State};
use crate::hash::table::{Table, hash_of, node_of};
use crate::hash::{BUCKETS, NIL};

/// Records that one split moves into slots; a bucket has no more slots.
const MOVES_MAX: usize = crate::hash::SLOTS;

/// Records to be emptied once the state shows that their words have moved.
struct Moved<'m> {
    records: [Option<(u32, &'m Record)>; MOVES_MAX],
    count: usize,
}

impl<'m> Moved<'m> {
    fn push(&mut self, record: (u32, &'m Record)) {
        self.records[self.count] = Some(record);
        self.count += 1;
    }
}

impl Table {
    /// Takes one step of growth: a node of the directory, or a page. The caller holds `growth`.
    pub(super) fn add_page(&self, pen: &Writer) -> Result<(), AllocError> {
        // Relaxed: only holders of `growth` change it.
        let number = self.page_count.load(Ordering::Relaxed);
        if number == PAGES_MAX {
            return Err(AllocError::Exhausted { need: PIECE_BYTES, have: 0 });
        }
        if !self.pages.prepare(&self.memory, &self.tally, pen, number)? {
            return Ok(());
        }
        let level = number.ilog2();
        let parent = number - (1 << level);
        let parent_page = self.pages.offset(&self.memory, parent);
        for line in (0..(BUCKETS * size_of::<Bucket>()) as u32).step_by(64) {
            self.memory.prefetch(parent_page + line);
        }
        let state = State::new(level + 1);
        let page = self.pages.allocate(&self.memory, &self.tally, pen, state.to_u64())?;
        self.pages.install(&self.memory, number, page);
        for child in 0..BUCKETS {
            let hash = parent | (child as u32).rotate_right(BUCKETS.ilog2());
            self.split(self.lock(parent, hash), &page_at(&self.memory, page).buckets[child], level);
        }
        // Release: pairs with the Acquire in `first_page`.
        self.page_count.store(number + 1, Ordering::Release);
        Ok(())
    }

    /// Moves what has bit `bit` in its hash to `child`.
    fn split(&self, mut locked: Locked<'_>, child: &Bucket, bit: u32) {
        let moves = |word: u64| hash_of(word) >> bit & 1 == 1;
        let mut free = child.slots.iter();
        for slot in &locked.bucket.slots {
            // Relaxed: the lock is held.
            let word = slot.load(Ordering::Relaxed);
            if locked.holds(word) && moves(word) {
                let place = free.next().expect("a bucket has as many slots as another");
                // Relaxed: published by the Release of the parent's state.
                place.store(word, Ordering::Relaxed);
                #[cfg(kausal_planted = "hash_reuse_before_depth")]
                slot.store(0, Ordering::Release);
            }
        }
        if locked.state.spill() == NIL {
            // Dropping the lock shows the new depth.
            locked.state = locked.state.deeper();
            return;
        }
        self.split_records(locked, child, free, moves);
    }

    fn split_records<'m>(
        &'m self,
        mut locked: Locked<'m>,
        child: &'m Bucket,
        mut free: impl Iterator<Item = &'m kausal_arena::sync::AtomicU64>,
        moves: impl Fn(u64) -> bool,
    ) {
        let spill = locked.state.spill();
        let none = || Moved { records: [None; MOVES_MAX], count: 0 };
        let (mut to_child, mut to_slots) = (none(), none());
        let (mut child_keeps, mut parent_keeps) = (false, false);
        for record in page::records(&self.memory, spill) {
            let word = record.1.word.load(Ordering::Relaxed);
            if !locked.holds(word) || !moves(word) {
                continue;
            }
            match free.next() {
                Some(slot) => {
                    slot.store(word, Ordering::Relaxed);
                    to_child.push(record);
                }
                None => child_keeps = true,
            }
        }
        if child_keeps {
            let state = State::from_u64(child.state.load(Ordering::Relaxed)).with_spill(spill);
            child.state.store(state.to_u64(), Ordering::Relaxed);
        }
        locked.show(locked.state.deeper());
        let words = locked.bucket.slots.iter();
        let mut free = words.filter(|slot| !locked.holds(slot.load(Ordering::Relaxed)));
        for record in page::records(&self.memory, spill) {
            let word = record.1.word.load(Ordering::Relaxed);
            if !locked.holds(word) {
                continue;
            }
            match free.next() {
                Some(slot) => {
                    // Release: pairs with the Acquire in `scan`.
                    slot.store(word, Ordering::Release);
                    to_slots.push(record);
                }
                None => parent_keeps = true,
            }
        }
        drop(free);
        let state = locked.state.moved();
        locked.show(if parent_keeps { state } else { state.with_spill(NIL) });
        self.empty(&to_child);
        self.empty(&to_slots);
    }

    /// Empties records whose words have moved, as the state shows by now.
    fn empty(&self, moved: &Moved<'_>) {
        for &(offset, record) in moved.records.iter().flatten() {
            debug_assert_ne!(node_of(record.word.load(Ordering::Relaxed)), NIL, "a record is emptied once");
            // Release: pairs with the Acquire in `scan`; who sees it sees the state shown before.
            record.word.store(0, Ordering::Release);
            self.tally.bury(offset, size_of::<Record>());
        }
    }
}
