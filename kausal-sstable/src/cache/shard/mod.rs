//! A shard: the frames of a part of all keys, and which of them go. Everything here is under one lock.
//!
//! S3-FIFO (Yang et al., SOSP 2023), over frames of any size:
//!
//! 1. A new block enters the *small* queue, a hundredth of the pages; but *main* while there is room for all.
//! 2. The oldest of the small queue goes, and is remembered by the *ghost*, unless it was hit: then it enters main. So a
//!    scan passes through the small queue and disturbs nothing.
//! 3. The oldest of main goes if it was not hit since it was last looked at; otherwise it enters main again, with one
//!    less to its credit. If it was hit in main at all, the ghost remembers it too.
//! 4. A block that comes back while the ghost remembers it enters main if it was away for less than a quarter of the time
//!    that the oldest of main has been there, or if it comes for the fourth time; otherwise it enters the small queue,
//!    and the ghost will know how often it came.
//! 5. Look-ups and walks ask first whether a block of data is wanted: yes while there is room, and if it would enter main.
//!    Else the ghost remembers it as if it had gone through the small queue, where nearly all of them go without a hit. So
//!    what is read once and never again costs no copy, no eviction, and no memory that was not near.
//!
//! What is changed here: in the paper whatever the ghost knows enters main, and the ghost is as long as main, which is too
//! long when all blocks have a chance to come back, and too short after a scan. Here it is three times as long as the
//! cache, and who enters is decided by comparison: reuse after a short time against none in a long one, as in LIRS (Jiang
//! and Zhang, SIGMETRICS 2002), or by count, as in TinyLFU. Time is counted in evictions. Hits are not counted in the entry
//! by the reader but read from the frame's state word, whose difference since the last look is the credit. A pinned frame
//! counts as one that was hit. How many frames are looked at for one insert is bounded, and so is the time under the lock.
//!
//! Not here: what readers do. They take no lock, see `frames`. What is evicted, and slabs that come and go: `evict`, `slabs`.

mod evict;
mod slabs;

use std::ptr::NonNull;

use kausal_arena::Reservation;

use super::directory::Directory;
use super::frames::{Eviction, Header, PAGE_BYTES, Slab};
use super::ghost::{self, Ghost, Recalled};
use super::key::BlockClass;
use super::pages::{List, Pages, Role};
use super::peek::Hazards;
use super::stats::ClassStats;

/// Evictions that the ghost remembers, for each page.
pub(super) const GHOSTS_PER_PAGE: usize = 3;

/// A block that was away for a time enters main if main's oldest has been there for so many times as long.
const STAY_PER_ABSENCE: u32 = 4;

/// A block that came so often before enters main.
const TIMES_TRUSTED: u8 = ghost::TIMES_MAX;

/// By how many bytes the node of a class may differ from what its blocks take.
const SETTLED_WITHIN: usize = 64 << 10;

/// What is the same for all frames: who may look and where they are found.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) headers: &'a [Header],
    pub(super) directory: &'a Directory,
    pub(super) hazards: &'a Hazards,
}

pub(super) struct Shard {
    /// Header of the shard's first page.
    first_header: u32,
    pages: Pages,
    slabs: Box<[Option<Slab>]>,
    /// Of these, those that are not there.
    missing: usize,
    /// Bytes of each slab, there or not.
    slab_bytes: Box<[usize]>,
    small: List,
    main: List,
    ghost: Ghost,
    /// Frames evicted so far, and blocks turned away: the policy's clock. Wraps around.
    evictions: u32,
    /// Pages of the slabs that are there.
    page_count: usize,
    /// A slab has come, and nobody had to leave since.
    has_room: bool,
    /// A slab is being obtained by somebody.
    is_growing: bool,
    /// Inserts to go before the budget is asked again, after it refused.
    patience: u32,
    /// Where the search for a run of neighbours goes on.
    hand: u32,
    bytes: [usize; 3],
    /// Charged for slabs and not to a class.
    idle: Reservation,
    charges: [Reservation; 3],
    stats: [ClassStats; 3],
}

/// What a shard is made with.
pub(super) struct Parts {
    pub(super) first_header: u32,
    pub(super) slab_bytes: Box<[usize]>,
    /// Pages of a slab, a power of two.
    pub(super) slab_pages: usize,
    pub(super) idle: Reservation,
    pub(super) charges: [Reservation; 3],
}

impl Shard {
    /// A shard without a slab.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { first_header, slab_bytes, slab_pages, idle, charges } = parts;
        let pages = slab_bytes.iter().sum::<usize>() / PAGE_BYTES;
        Self {
            first_header,
            pages: Pages::new(slab_bytes.len(), slab_pages),
            missing: slab_bytes.len(),
            slabs: slab_bytes.iter().map(|_| None).collect(),
            slab_bytes,
            small: List::default(),
            main: List::default(),
            ghost: Ghost::new(GHOSTS_PER_PAGE * pages),
            evictions: 0,
            page_count: 0,
            has_room: true,
            is_growing: false,
            patience: 0,
            hand: 0,
            bytes: [0; 3],
            idle,
            charges,
            stats: [ClassStats::default(); 3],
        }
    }

    pub(super) fn first_header(&self) -> u32 {
        self.first_header
    }

    fn header<'a>(&self, shared: Shared<'a>, page: u32) -> &'a Header {
        &shared.headers[self.header_index(page)]
    }

    /// Makes the frame of `page` nobody's, unless somebody looks at it.
    fn try_evict(&self, shared: Shared<'_>, page: u32) -> Eviction {
        self.header(shared, page).try_evict(self.first_header + page, shared.hazards)
    }

    /// Where the header of `page` lies among all headers.
    pub(super) fn header_index(&self, page: u32) -> usize {
        (self.first_header + page) as usize
    }

    /// Where the bytes of `page` begin, if its slab is there.
    pub(super) fn start_of(&self, page: u32) -> Option<NonNull<u8>> {
        let (slab, place) = self.pages.place(page);
        self.slabs[slab].as_ref().map(|slab| slab.page(place))
    }

    /// A frame of `count` pages that nobody has to leave for, and whether all of them have been written before.
    pub(super) fn take_free(&mut self, count: usize) -> Option<(u32, bool)> {
        self.pages.take(count)
    }

    /// Gives back a frame that was taken and not published.
    pub(super) fn give_back(&mut self, page: u32) {
        self.pages.give(page);
    }

    /// Enters a frame that was taken, and whose header is about to be live, into a queue and the directory.
    pub(super) fn enter(&mut self, shared: Shared<'_>, page: u32, hash: u64, class: BlockClass) {
        shared.directory.insert(hash, self.first_header + page);
        let hits = self.header(shared, page).hits();
        let recalled = self.ghost.recall(hash, self.evictions);
        let is_wanted = self.has_room || recalled.is_some_and(|recalled| self.belongs_in_main(recalled));
        let frame = &mut self.pages[page];
        (frame.class, frame.hits_seen, frame.since) = (class.place() as u8, hits, self.evictions);
        (frame.frequency, frame.is_proven, frame.is_doomed) = (0, false, false);
        frame.times = recalled.map_or(0, |recalled| recalled.times);
        frame.role = if is_wanted { Role::Main } else { Role::Small };
        let bytes = PAGE_BYTES * usize::from(frame.count);
        let list = if is_wanted { &mut self.main } else { &mut self.small };
        self.pages.push(list, page);
        let stats = &mut self.stats[class.place()];
        (stats.blocks, stats.bytes) = (stats.blocks + 1, stats.bytes + bytes);
        self.bytes[class.place()] += bytes;
        self.settle(class.place(), SETTLED_WITHIN);
    }

    /// Whether a block of data of `count` pages is worth a frame: see the top of this file, 5. One that is not is remembered.
    pub(super) fn wants(&mut self, hash: u64, count: usize) -> bool {
        let may_grow = self.missing > 0 && self.patience == 0;
        if self.has_room || may_grow || self.pages.has_free(count) {
            return true;
        }
        // Whoever is turned away does not ask for a slab, but one day somebody has to.
        self.patience = self.patience.saturating_sub(1);
        let recalled = self.ghost.look_up(hash, self.evictions);
        if recalled.is_some_and(|recalled| self.belongs_in_main(recalled)) {
            return true;
        }
        self.note_miss(BlockClass::Data);
        let times = recalled.map_or(0, |recalled| recalled.times);
        self.ghost.remember(hash, self.evictions, times.saturating_add(1));
        self.evictions = self.evictions.wrapping_add(1);
        false
    }

    /// Whether a block that came back is to stay: see the top of this file, 4.
    fn belongs_in_main(&self, recalled: Recalled) -> bool {
        let Some(oldest) = self.main.oldest() else { return true };
        let stay = self.evictions.wrapping_sub(self.pages[oldest].since);
        recalled.times >= TIMES_TRUSTED || recalled.ago.saturating_mul(STAY_PER_ABSENCE) < stay
    }

    /// What was counted up to now, and bytes of the frames that are pinned. O(pages).
    pub(super) fn stats(&mut self, shared: Shared<'_>) -> ([ClassStats; 3], usize) {
        let mut pinned = 0;
        for page in 0..self.pages.len() {
            if matches!(self.pages[page].role, Role::Small | Role::Main) {
                self.look(shared, page);
                if self.header(shared, page).is_pinned() {
                    pinned += PAGE_BYTES * usize::from(self.pages[page].count);
                }
            }
        }
        (self.stats, pinned)
    }

    /// Somebody missed a block of the class and came to fill it.
    pub(super) fn note_miss(&mut self, class: BlockClass) {
        self.stats[class.place()].misses += 1;
    }

    /// Nobody found room for it.
    pub(super) fn note_refusal(&mut self, class: BlockClass) {
        self.stats[class.place()].refusals += 1;
    }

    /// Moves charge between the class and what is idle, if its node is off by more than `within` bytes.
    fn settle(&mut self, class: usize, within: usize) {
        let (want, have) = (self.bytes[class], self.charges[class].bytes());
        // A refusal would leave the bytes on the other node of the cache: their sum is right either way.
        let _moved = if want > have + within {
            let bytes = (want - have).min(self.idle.bytes());
            self.idle.transfer(&mut self.charges[class], bytes)
        } else if want + within < have {
            self.charges[class].transfer(&mut self.idle, have - want)
        } else {
            Ok(())
        };
    }
}
