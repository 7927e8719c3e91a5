//! The pages of a shard: which are free, in a buddy system, and what the others are part of.
//!
//! A slab's pages are halved until a frame fits, and two free halves become one again (Knowlton 1965). What a frame does not
//! need of the last half is cut off at once: frames in use have any number of pages, free ones a power of two. So frames of
//! all sizes share the slabs, none wastes more than a part of a page, and a size that is no longer wanted leaves nothing
//! behind. Free frames of a size, and queues of frames in use, are lists through the same two links.
//!
//! Everything here is under the shard's lock, and plain.

use super::frames::{FRAME_PAGES_MAX, SLAB_PAGES_MAX};

/// Sizes of free frames: 1, 2, 4 … pages. No frame is larger.
const ORDERS: usize = FRAME_PAGES_MAX.trailing_zeros() as usize + 1;

/// No page.
pub(super) const NIL: u32 = u32::MAX;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Part of something that begins before it, or of a slab that is not there.
    Inner,
    /// First page of a free frame.
    Free,
    /// First page of a frame that is being filled.
    Filling,
    /// First page of a frame in the small queue.
    Small,
    /// First page of a frame in the main queue.
    Main,
}

/// What a shard knows of a page, mostly if it is the first of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    next: u32,
    previous: u32,
    /// The header's hits when they were last looked at.
    pub(super) hits_seen: u32,
    /// Evictions of the shard when it entered its queue the last time.
    pub(super) since: u32,
    pub(super) role: Role,
    /// Pages of the frame.
    pub(super) count: u8,
    pub(super) class: u8,
    pub(super) frequency: u8,
    /// How often the block had come before, as far as the ghost knew.
    pub(super) times: u8,
    /// It was hit in main.
    pub(super) is_proven: bool,
    /// No longer in the directory.
    pub(super) is_doomed: bool,
    /// Whether the page has been written since its slab came.
    is_written: bool,
}

const UNKNOWN: Page = Page {
    next: NIL,
    previous: NIL,
    hits_seen: 0,
    since: 0,
    role: Role::Inner,
    count: 0,
    class: 0,
    frequency: 0,
    times: 0,
    is_proven: false,
    is_doomed: false,
    is_written: false,
};

/// A list of frames by their first pages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    ends: Option<(u32, u32)>,
    /// Pages of all its frames.
    pub(super) pages: usize,
}

impl List {
    /// The frame put in first of those in it.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.ends.map(|(_, oldest)| oldest)
    }

    fn newest(&self) -> Option<u32> {
        self.ends.map(|(newest, _)| newest)
    }
}

pub(super) struct Pages {
    pages: Box<[Page]>,
    /// Pages of a slab, a power of two.
    slab_pages: usize,
    /// Of each size.
    free: [List; ORDERS],
}

impl std::ops::Index<u32> for Pages {
    type Output = Page;

    fn index(&self, page: u32) -> &Page {
        &self.pages[page as usize]
    }
}

impl std::ops::IndexMut<u32> for Pages {
    fn index_mut(&mut self, page: u32) -> &mut Page {
        &mut self.pages[page as usize]
    }
}

impl Pages {
    /// Of `slabs` slabs of `slab_pages` pages, a power of two, none of which is there yet.
    pub(super) fn new(slabs: usize, slab_pages: usize) -> Self {
        debug_assert!(slab_pages.is_power_of_two() && slab_pages <= SLAB_PAGES_MAX);
        let pages = vec![UNKNOWN; slabs * slab_pages].into_boxed_slice();
        Self { pages, slab_pages, free: [List::default(); ORDERS] }
    }

    /// Sizes that a free frame can have: up to half a slab, which has lost a page.
    fn orders(&self) -> usize {
        ORDERS.min(self.slab_pages.trailing_zeros() as usize)
    }

    /// The slab that a page lies in, and which of its pages it is.
    pub(super) fn place(&self, page: u32) -> (usize, usize) {
        (page as usize / self.slab_pages, page as usize % self.slab_pages)
    }

    /// The first page of a slab.
    pub(super) fn first_of(&self, slab: usize) -> u32 {
        (slab * self.slab_pages) as u32
    }

    pub(super) fn len(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Pages in free frames.
    #[cfg(all(test, not(any(loom, shuttle))))]
    fn free_count(&self) -> usize {
        self.free.iter().map(|list| list.pages).sum()
    }

    /// Puts `page`'s frame into `list`, as its newest.
    pub(super) fn push(&mut self, list: &mut List, page: u32) {
        list.pages += usize::from(self[page].count);
        let newest = list.newest();
        (self[page].next, self[page].previous) = (newest.unwrap_or(NIL), NIL);
        if let Some(newest) = newest {
            self[newest].previous = page;
        }
        list.ends = Some((page, list.ends.map_or(page, |(_, oldest)| oldest)));
    }

    /// Takes `page`'s frame out of `list`, which it is in.
    pub(super) fn unlink(&mut self, list: &mut List, page: u32) {
        list.pages -= usize::from(self[page].count);
        let Page { next, previous, .. } = self[page];
        let (mut newest, mut oldest) = list.ends.expect("a list with a frame has ends");
        match next {
            NIL => oldest = previous,
            next => self[next].previous = previous,
        }
        match previous {
            NIL => newest = next,
            previous => self[previous].next = next,
        }
        list.ends = (newest != NIL).then_some((newest, oldest));
    }

    /// Adds the `pages` pages of a slab that begin with `first`.
    pub(super) fn add_slab(&mut self, first: u32, pages: usize) {
        let mut place = 0;
        for order in (0..self.orders()).rev() {
            while pages - place >= 1 << order {
                self.put(first + place as u32, order);
                place += 1 << order;
            }
        }
        debug_assert_eq!(place, pages);
    }

    /// Takes the pages of a slab out again, all of which are free.
    pub(super) fn remove_slab(&mut self, first: u32) {
        for page in first..first + self.slab_pages as u32 {
            if self[page].role == Role::Free {
                self.pull(page);
            }
            self[page] = UNKNOWN;
        }
    }

    fn put(&mut self, page: u32, order: usize) {
        (self[page].role, self[page].count) = (Role::Free, 1 << order);
        let mut list = self.free[order];
        self.push(&mut list, page);
        self.free[order] = list;
    }

    fn pull(&mut self, page: u32) {
        let order = self[page].count.trailing_zeros() as usize;
        let mut list = self.free[order];
        self.unlink(&mut list, page);
        self.free[order] = list;
        self[page].role = Role::Inner;
    }

    /// Takes a frame of `count` pages, and says whether all of them have been written before; or nothing.
    pub(super) fn take(&mut self, count: usize) -> Option<(u32, bool)> {
        let order = count.next_power_of_two().trailing_zeros() as usize;
        let from = (order..self.orders()).find(|&from| self.free[from].ends.is_some())?;
        // The one given back last: its bytes are still near.
        let page = self.free[from].newest()?;
        self.pull(page);
        for half in (order..from).rev() {
            self.put(page + (1 << half), half);
        }
        // What is too much, in halves of its own. Their buddies are in use, so there is nothing to join.
        let mut end = count;
        while end < 1 << order {
            let half = end.trailing_zeros() as usize;
            self.put(page + end as u32, half);
            end += 1 << half;
        }
        (self[page].role, self[page].count) = (Role::Filling, count as u8);
        let frame = &mut self.pages[page as usize..][..count];
        let were_written = frame.iter().all(|page| page.is_written);
        frame.iter_mut().for_each(|page| page.is_written = true);
        Some((page, were_written))
    }

    /// Whether a frame of `count` pages could be taken.
    pub(super) fn has_free(&self, count: usize) -> bool {
        let order = count.next_power_of_two().trailing_zeros() as usize;
        (order..self.orders()).any(|order| self.free[order].ends.is_some())
    }

    /// Takes `page`'s frame, which is in no list, for another block of its size.
    pub(super) fn reuse(&mut self, page: u32) {
        self[page].role = Role::Filling;
    }

    /// Takes `page`'s frame back, which is in no list.
    pub(super) fn give(&mut self, page: u32) {
        let (mut start, mut left) = (page, u32::from(self[page].count));
        self[page].role = Role::Inner;
        // The largest power of two first: the frame began at a multiple of the next.
        while left > 0 {
            let order = left.ilog2();
            self.join(start, order as usize);
            (start, left) = (start + (1 << order), left - (1 << order));
        }
    }

    /// Makes a free frame of pages that are in none, and of its free buddies.
    fn join(&mut self, mut page: u32, mut order: usize) {
        while order + 1 < self.orders() {
            // Slabs begin at multiples of their size, so a buddy lies in the same slab.
            let buddy = page ^ 1 << order;
            if self[buddy].role != Role::Free || self[buddy].count != 1 << order {
                break;
            }
            self.pull(buddy);
            (page, order) = (page.min(buddy), order + 1);
        }
        self.put(page, order);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_in_any_order_is_whole_again() {
        [(512, 511), (256, 255), (64, 64), (16, 16), (32, 7)].into_iter().for_each(take_and_give);
    }

    fn take_and_give((slab_pages, pages_there): (usize, usize)) {
        let mut pages = Pages::new(2, slab_pages);
        let first = pages.first_of(1);
        pages.add_slab(first, pages_there);
        let mut random = 1_u32;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for _ in 0..50 {
            let mut taken = Vec::new();
            while let Some((page, _)) = pages.take(draw(pages_there.min(22) / 2) + 1) {
                let range = page..page + u32::from(pages[page].count);
                assert!(taken.iter().all(|other: &std::ops::Range<u32>| {
                    other.end <= range.start || range.end <= other.start
                }));
                taken.push(range);
            }
            while !taken.is_empty() {
                pages.give(taken.swap_remove(draw(taken.len())).start);
            }
            assert_eq!(pages.free_count(), pages_there);
            let (half, _) = pages.take(1 << (pages_there.ilog2() - 1)).expect("all is joined");
            pages.give(half);
        }
        pages.remove_slab(first);
        assert_eq!((pages.free_count(), pages.take(1)), (0, None));
    }
}
