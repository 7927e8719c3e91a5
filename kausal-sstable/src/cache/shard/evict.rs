//! Who goes: the policy's order, runs of neighbours, and the blocks of a file.

use super::{Shard, Shared};
use crate::cache::frames::{Eviction, PAGE_BYTES};
use crate::cache::pages::{List, Role};
use crate::ids::FileNumber;

/// The small queue's share of the pages is one in so many.
const SMALL_SHARE: usize = 100;

/// Pages that the small queue has at least, where there is a main queue.
const SMALL_MIN: usize = 16;

/// Hits that carry a block from the small queue to main.
const PROMOTED_AT: u8 = 1;

/// Most credit a block can have.
const FREQUENCY_MAX: u8 = 3;

/// Frames that one eviction looks at before it takes the first without pins.
const LOOKS_MAX: usize = 512;

/// Pinned frames that one eviction passes by before it gives up. A model has one or two frames.
const PINNED_MAX: usize = if cfg!(any(loom, shuttle)) { 2 } else { 64 };

/// Frames that are evicted in the policy's order for each page of a large one, before a run of neighbours has to go.
const EVICTIONS_PER_PAGE: usize = 4;

impl Shard {
    /// A frame of `count` pages that others had to leave for, unless too many are pinned.
    pub(in crate::cache) fn take_by_force(
        &mut self,
        shared: Shared<'_>,
        count: usize,
    ) -> Option<(u32, bool)> {
        self.has_room = false;
        for _ in 0..EVICTIONS_PER_PAGE * count {
            let Some(page) = self.evict_one(shared) else { break };
            if usize::from(self.pages[page].count) == count {
                self.pages.reuse(page);
                return Some((page, true));
            }
            self.pages.give(page);
            if let Some(taken) = self.pages.take(count) {
                return Some(taken);
            }
        }
        let order = count.next_power_of_two().trailing_zeros();
        if order > 0 && self.evict_neighbours(shared, order) { self.pages.take(count) } else { None }
    }

    /// Evicts the frame whose turn it is, whose pages are the caller's then. `None` if there is none, or too many were pinned.
    fn evict_one(&mut self, shared: Shared<'_>) -> Option<u32> {
        let (mut looks, mut pinned) = (0, 0);
        let small_pages = (self.page_count / SMALL_SHARE).max(SMALL_MIN);
        while pinned < PINNED_MAX {
            // Where main is pinned the small queue may not be, however short.
            let is_small_s_turn = self.small.pages >= small_pages || pinned % 2 == 1;
            let is_small = self.main.pages == 0 || self.small.pages > 0 && is_small_s_turn;
            let queue = if is_small { self.small } else { self.main };
            let page = queue.oldest()?;
            looks += 1;
            let credit = self.look(shared, page);
            let has_earned = credit >= if is_small { PROMOTED_AT } else { 1 };
            if has_earned && looks < LOOKS_MAX && !self.pages[page].is_doomed {
                self.requeue(page, Role::Main);
                let frame = &mut self.pages[page];
                (frame.frequency, frame.is_proven) = if is_small { (0, false) } else { (credit - 1, true) };
                continue;
            }
            if self.try_evict(shared, page) == Eviction::Done {
                let is_remembered = is_small || self.pages[page].is_proven;
                self.leave(shared, page, is_remembered);
                return Some(page);
            }
            // To main, wherever it was: or else a small queue full of pins would keep all of main.
            pinned += 1;
            self.requeue(page, Role::Main);
        }
        None
    }

    /// Counts the hits of a frame since the last look. Returns its credit.
    pub(super) fn look(&mut self, shared: Shared<'_>, page: u32) -> u8 {
        let header = self.header(shared, page);
        // Those who peek count their hits themselves: here they have credit only.
        let (hits, credit) = (header.hits(), header.take_credit());
        let frame = &mut self.pages[page];
        // Signed: a pin in vain is counted when it is made, and again, negatively, when it is taken back.
        let since = hits.wrapping_sub(frame.hits_seen) as i32;
        frame.hits_seen = hits;
        let earned = since.saturating_add(credit as i32);
        frame.frequency =
            (i32::from(frame.frequency).saturating_add(earned)).clamp(0, FREQUENCY_MAX.into()) as u8;
        let stats = &mut self.stats[frame.class as usize];
        stats.hits = stats.hits.wrapping_add_signed(since.into());
        frame.frequency
    }

    fn queue(&mut self, role: Role) -> &mut List {
        if role == Role::Small { &mut self.small } else { &mut self.main }
    }

    fn unqueue(&mut self, page: u32) {
        let role = self.pages[page].role;
        let mut queue = *self.queue(role);
        self.pages.unlink(&mut queue, page);
        *self.queue(role) = queue;
    }

    fn requeue(&mut self, page: u32, role: Role) {
        self.unqueue(page);
        (self.pages[page].role, self.pages[page].since) = (role, self.evictions);
        let mut queue = *self.queue(role);
        self.pages.push(&mut queue, page);
        *self.queue(role) = queue;
    }

    /// Takes a frame that is no longer live out of everything. Its pages are the caller's.
    fn leave(&mut self, shared: Shared<'_>, page: u32, is_remembered: bool) {
        // Hits that came between the last look and the eviction.
        self.look(shared, page);
        let hash = self.header(shared, page).key().hash();
        let frame = self.pages[page];
        if !frame.is_doomed {
            shared.directory.remove(hash, self.first_header + page);
            if is_remembered {
                self.ghost.remember(hash, self.evictions, frame.times.saturating_add(1));
            }
        }
        self.unqueue(page);
        self.evictions = self.evictions.wrapping_add(1);
        let (class, bytes) = (frame.class as usize, PAGE_BYTES * usize::from(frame.count));
        let stats = &mut self.stats[class];
        (stats.blocks, stats.bytes) = (stats.blocks - 1, stats.bytes - bytes);
        stats.evictions += 1;
        self.bytes[class] -= bytes;
        self.settle(class, super::SETTLED_WITHIN);
    }

    /// Evicts whatever lies in some aligned run of `1 << order` pages. `false` if in each somebody pins a frame.
    fn evict_neighbours(&mut self, shared: Shared<'_>, order: u32) -> bool {
        let runs = self.pages.len() >> order;
        for _ in 0..runs {
            self.hand = (self.hand + 1) % runs;
            if self.evict_run(shared, self.hand << order, 1 << order) {
                return true;
            }
        }
        false
    }

    /// Evicts all frames in the run of `count` pages from `first`, if none is pinned or in the making.
    pub(super) fn evict_run(&mut self, shared: Shared<'_>, first: u32, count: u32) -> bool {
        if !self.frames(first, count).all(|(page, role)| match role {
            Role::Free => true,
            Role::Small | Role::Main => !self.header(shared, page).is_pinned(),
            Role::Filling | Role::Inner => false,
        }) {
            return false;
        }
        let mut page = first;
        while page < first + count {
            let frame = self.pages[page];
            if matches!(frame.role, Role::Small | Role::Main) {
                if self.try_evict(shared, page) == Eviction::Pinned {
                    return false;
                }
                self.leave(shared, page, false);
                self.pages.give(page);
            }
            // An inner page is one that has just been joined with what was freed before it.
            page += if frame.role == Role::Inner { 1 } else { u32::from(frame.count) };
        }
        true
    }

    /// First pages and roles of the frames in a run that begins with one. An inner page stands for itself.
    pub(super) fn frames(&self, first: u32, count: u32) -> impl Iterator<Item = (u32, Role)> {
        let mut page = first;
        std::iter::from_fn(move || {
            let frame = (page < first + count).then(|| self.pages[page])?;
            let at = page;
            page += if frame.role == Role::Inner { 1 } else { u32::from(frame.count) };
            Some((at, frame.role))
        })
    }

    /// Makes the blocks of `file` impossible to find, and frees the frames of those that nobody pins. O(pages).
    pub(in crate::cache) fn remove_file(&mut self, shared: Shared<'_>, file: FileNumber) -> usize {
        let mut removed = 0;
        for page in 0..self.pages.len() {
            let frame = self.pages[page];
            let header = self.header(shared, page);
            let is_live = matches!(frame.role, Role::Small | Role::Main) && !frame.is_doomed;
            if !is_live || header.key().file != file {
                continue;
            }
            shared.directory.remove(header.key().hash(), self.first_header + page);
            self.pages[page].is_doomed = true;
            removed += 1;
            if self.try_evict(shared, page) == Eviction::Done {
                self.leave(shared, page, false);
                self.pages.give(page);
            }
        }
        removed
    }
}
