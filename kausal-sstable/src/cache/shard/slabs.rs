//! Slabs that come, and slabs that go whole.

use std::sync::Arc;

use kausal_arena::Reservation;

use super::{Shard, Shared};
use crate::cache::core::Core;
use crate::cache::frames::Slab;
use crate::cache::pages::Role;

/// Inserts that the budget is left in peace after it has refused a slab.
const PATIENCE: u32 = 64;

impl Shard {
    /// Which slab somebody should obtain now, and its bytes. Nobody else is told until that has ended, by
    /// [`install`](Self::install) or [`do_without`](Self::do_without).
    pub(in crate::cache) fn wants_slab(&mut self) -> Option<(usize, usize)> {
        if self.missing == 0 {
            return None;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return None;
        }
        let place = self.slabs.iter().position(Option::is_none)?;
        if std::mem::replace(&mut self.is_growing, true) {
            return None;
        }
        Some((place, self.slab_bytes[place]))
    }

    /// The budget or the system refused.
    pub(in crate::cache) fn do_without(&mut self) {
        (self.is_growing, self.patience) = (false, PATIENCE);
    }

    /// Takes a slab in, with its charge.
    pub(in crate::cache) fn install(&mut self, place: usize, slab: Slab, mut charge: Reservation) {
        self.is_growing = false;
        let bytes = charge.bytes();
        let moved = charge.transfer(&mut self.idle, bytes);
        debug_assert!(moved.is_ok(), "from a node to itself");
        self.page_count += slab.pages();
        self.pages.add_slab(self.pages.first_of(place), slab.pages());
        self.slabs[place] = Some(slab);
        self.has_room = true;
        self.missing -= 1;
    }

    /// Evicts all of the coldest slab in which nobody pins anything, and hands it out with its charge, to be dropped
    /// without the lock. O(pages).
    pub(in crate::cache) fn give_slab(&mut self, shared: Shared<'_>) -> Option<(Slab, Reservation)> {
        let mut tried = vec![false; self.slabs.len()];
        loop {
            let place = (0..self.slabs.len())
                .filter(|&place| self.slabs[place].is_some() && !tried[place])
                .min_by_key(|&place| self.warmth(shared, place))?;
            tried[place] = true;
            let (first, pages) = self.extent(place);
            if !self.evict_run(shared, first, pages) {
                continue;
            }
            self.pages.remove_slab(first);
            self.page_count -= pages as usize;
            // Whoever asked comes first.
            self.patience = PATIENCE;
            // What blocks have left behind becomes idle, for the slab's part of that to go. Twice: a class may want what
            // another one has yet to leave.
            let classes = 0..self.charges.len();
            classes.clone().chain(classes).for_each(|class| self.settle(class, 0));
            let mut charge = Reservation::empty(self.idle.budget());
            let bytes = self.slab_bytes[place].min(self.idle.bytes());
            let moved = self.idle.transfer(&mut charge, bytes);
            debug_assert!(moved.is_ok(), "from a node to itself");
            self.missing += 1;
            return self.slabs[place].take().map(|slab| (slab, charge));
        }
    }

    fn extent(&self, place: usize) -> (u32, u32) {
        let pages = self.slabs[place].as_ref().map_or(0, Slab::pages);
        (self.pages.first_of(place), pages as u32)
    }

    /// Frames of the slab that have credit, or were hit since the last look.
    fn warmth(&self, shared: Shared<'_>, place: usize) -> usize {
        let (first, pages) = self.extent(place);
        self.frames(first, pages)
            .filter(|&(_, role)| matches!(role, Role::Small | Role::Main))
            .filter(|&(page, _)| {
                let (frame, header) = (self.pages[page], self.header(shared, page));
                frame.frequency > 0 || header.hits() != frame.hits_seen || header.has_credit()
            })
            .count()
    }

    /// Leaves `core` to the frames that are pinned: see [`Header::orphan`](crate::cache::frames::Header::orphan).
    pub(in crate::cache) fn orphan_all(&self, shared: Shared<'_>, core: &Arc<Core>) {
        for page in 0..self.pages.len() {
            if matches!(self.pages[page].role, Role::Small | Role::Main) {
                self.header(shared, page).orphan(core);
            }
        }
    }
}
