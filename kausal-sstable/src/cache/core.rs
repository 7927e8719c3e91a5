//! What the cache, its readers and its orphans share: headers, directory, shards, and how they are sized.
//!
//! How an insert goes:
//! 1. Under the shard's lock a frame is taken: a free one, one of a new slab, or one that others leave.
//! 2. Without any lock it is filled. Until it is published nobody finds it, and if filling fails or panics it goes back.
//! 3. Under the lock again it is published, unless another thread was faster with the same block; then that one is taken.
//!
//! A slab is obtained and given back without the shard's lock: the budget may ask the host, and the host may ask this cache.
//! Locks are taken in the order shard, budget tree.

#![expect(unsafe_code, reason = "a frame in the making is taken from its shard here, and only here")]

use std::ptr;
use std::sync::Arc;

use kausal_arena::sync::{AtomicU64, Mutex, Ordering};
use kausal_arena::{AllocError, Budget, Reservation, Shrink, prefetch_line};

use super::directory::{Directory, LINE_BYTES};
use super::error::Refusal;
use super::frames::{
    FRAME_PAGES_MAX, Filling, HEADER_BYTES, Header, PAGE_BYTES, PinnedBlock, SLAB_PAGES_MAX, SLAB_PAGES_MIN,
    Slab, slab_bytes,
};
use super::ghost;
use super::hint::FrameHint;
use super::key::{BlockClass, BlockKey};
use super::pages::Page;
use super::peek::Hazards;
use super::shard::{GHOSTS_PER_PAGE, Parts, Shard, Shared};
use super::stats::CacheStats;
use crate::prefetch;

/// Slabs that a cache is cut into at least, where they are not of the smallest size: what one pinned block keeps is small
/// beside the cache.
const SLABS_MIN: usize = 32;

/// Bytes that a shard has at least, where the cache chooses how many shards there are.
const BYTES_PER_SHARD: usize = 16 * FRAME_PAGES_MAX * PAGE_BYTES;

/// Most shards. They are there for those who insert; readers take no lock.
const SHARDS_MAX: usize = 64;

const GHOST_BYTES_PER_PAGE: usize = GHOSTS_PER_PAGE * ghost::BYTES_PER_ENTRY;

/// A block larger than the cache divided by this is refused.
const BLOCKS_MIN: usize = 64;

/// On lines of its own: what one shard's users write does not disturb another's.
#[repr(align(128))]
struct Cell {
    shard: Mutex<Shard>,
    misses: AtomicU64,
}

pub(super) struct Core {
    headers: Box<[Header]>,
    directory: Directory,
    cells: Box<[Cell]>,
    hazards: Hazards,
    /// Where the slabs of all shards begin, in pages; 0 for one that never was. Hints: one may be gone.
    slab_starts: Box<[AtomicU64]>,
    /// Frames of a slab, as a power of two.
    slab_shift: u32,
    block_bytes_max: usize,
    budget: Budget,
    /// What is not given back when the budget asks: nobody else could have it.
    floor: usize,
    /// The node of what no block takes.
    unused: Budget,
    /// Where the slabs' arenas count themselves. They are charged to `budget` by the reservations of their shards.
    counted: Budget,
    _own: Reservation,
}

/// How a cache of a given size is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    shards: usize,
    /// Pages of a slab, a power of two.
    slab_pages: usize,
    /// Slabs of a shard, at most.
    slabs: usize,
    /// Bytes of everything but slabs.
    own_bytes: usize,
    slab_bytes: usize,
}

impl Plan {
    fn new(bytes: usize, shards: Option<usize>) -> Self {
        let own_per_page = HEADER_BYTES + size_of::<Page>() + GHOST_BYTES_PER_PAGE + LINE_BYTES / 2;
        let pages = (bytes / SLABS_MIN / PAGE_BYTES).clamp(SLAB_PAGES_MIN, SLAB_PAGES_MAX);
        let slab_pages = 1 << pages.ilog2();
        let slabs = bytes / (slab_bytes(slab_pages) + slab_pages * own_per_page) + 1;
        let by_size = (slabs * slab_pages * PAGE_BYTES / BYTES_PER_SHARD).max(1);
        let shards = shards.unwrap_or(1 << by_size.ilog2()).clamp(1, SHARDS_MAX);
        let shards = 1 << shards.ilog2();
        let slabs = slabs.div_ceil(shards);
        let pages = slabs * slab_pages;
        let of_shard = pages * (HEADER_BYTES + size_of::<Page>() + GHOST_BYTES_PER_PAGE)
            + Directory::lines_per_shard(pages) * LINE_BYTES
            + slabs * (size_of::<Option<Slab>>() + size_of::<usize>() + size_of::<AtomicU64>())
            + size_of::<Cell>();
        let own_bytes = size_of::<Core>() + Hazards::BYTES + shards * of_shard;
        let slab_bytes = bytes.saturating_sub(own_bytes).min(shards * slabs * slab_bytes(slab_pages));
        Self { shards, slab_pages, slabs, own_bytes, slab_bytes }
    }

    /// Sizes of the slabs of shard `shard`: all whole, but for the cache's last.
    fn slabs_of(&self, shard: usize) -> Box<[usize]> {
        let size = |number: usize| {
            let whole = slab_bytes(self.slab_pages);
            let rest = self.slab_bytes.saturating_sub(number * whole);
            rest.min(whole) / PAGE_BYTES * PAGE_BYTES
        };
        // In turns, so that shards differ by one slab at most. A page or two are lost to alignment.
        let sizes = (0..self.slabs).map(|turn| size(turn * self.shards + shard));
        sizes.filter(|&bytes| bytes >= 2 * PAGE_BYTES).collect()
    }
}

impl Core {
    /// # Errors
    ///
    /// [`AllocError`] if the budget refuses what is needed before the first block.
    pub(super) fn new(budget: &Budget, shards: Option<usize>) -> Result<Arc<Self>, AllocError> {
        let ceiling = budget.ceiling();
        let floor = budget.reserved();
        let plan = Plan::new(ceiling, shards);
        let node = |name: &'static str| budget.child(name, 0, ceiling);
        let own = node("cache directory")?.reserve(plan.own_bytes)?;
        let unused = node("unused frames")?;
        let classes = BlockClass::ALL.map(|class| node(class.name()));
        let [data, index, filter] = classes;
        let classes = [data?, index?, filter?];
        let frames = plan.slabs * plan.slab_pages;
        let cell = |shard: usize| {
            let parts = Parts {
                first_header: (shard * frames) as u32,
                slab_bytes: plan.slabs_of(shard),
                slab_pages: plan.slab_pages,
                idle: Reservation::empty(&unused),
                charges: classes.each_ref().map(Reservation::empty),
            };
            Cell { shard: Mutex::new(Shard::new(parts)), misses: AtomicU64::new(0) }
        };
        let pages_max = FRAME_PAGES_MAX.min(plan.slab_pages / 2);
        let largest = (ceiling / BLOCKS_MIN).clamp(PAGE_BYTES, PAGE_BYTES * pages_max);
        Ok(Arc::new(Self {
            headers: (0..plan.shards * frames).map(|_| Header::new()).collect(),
            directory: Directory::new(plan.shards, Directory::lines_per_shard(frames)),
            cells: (0..plan.shards).map(cell).collect(),
            hazards: Hazards::new(),
            slab_starts: (0..plan.shards * plan.slabs).map(|_| AtomicU64::new(0)).collect(),
            slab_shift: plan.slab_pages.trailing_zeros(),
            block_bytes_max: largest,
            budget: budget.clone(),
            floor,
            unused,
            counted: Budget::unlimited("slabs"),
            _own: own,
        }))
    }

    fn shared(&self) -> Shared<'_> {
        Shared { headers: &self.headers, directory: &self.directory, hazards: &self.hazards }
    }

    pub(super) fn hazards(&self) -> &Hazards {
        &self.hazards
    }

    fn cell(&self, hash: u64) -> &Cell {
        &self.cells[self.directory.shard(hash)]
    }

    pub(super) fn block_bytes_max(&self) -> usize {
        self.block_bytes_max
    }

    #[inline]
    pub(super) fn get(self: &Arc<Self>, key: &BlockKey) -> Option<PinnedBlock> {
        self.get_by_directory(key, |_| ())
    }

    #[inline]
    fn get_by_directory(self: &Arc<Self>, key: &BlockKey, found_in: impl Fn(u32)) -> Option<PinnedBlock> {
        let hash = key.hash();
        let found = self.directory.find(hash, |frame| {
            let pinned = PinnedBlock::pin(self, &self.headers[frame as usize], key);
            pinned.inspect(|_| found_in(frame))
        });
        if found.is_none() {
            // Relaxed: a count, and nothing depends on it.
            self.cell(hash).misses.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// [`get`](Self::get) for somebody who keeps where the block was last.
    #[inline]
    pub(super) fn get_hinted(
        self: &Arc<Self>,
        key: &BlockKey,
        len: usize,
        place: &FrameHint,
    ) -> Option<PinnedBlock> {
        // The key first: a pin in vain would disturb whoever has the frame now.
        let pinned = self.hinted_frame(place, len, |_, header| {
            if header.key() == *key { PinnedBlock::pin(self, header, key) } else { None }
        });
        pinned.or_else(|| self.get_by_directory(key, |frame| place.note(frame)))
    }

    /// What `see` makes of the frame in which a block of `len` bytes was last, whatever it holds now, with its number. Its header
    /// and its end are asked for.
    #[inline]
    pub(super) fn hinted_frame<'a, T>(
        &'a self,
        place: &FrameHint,
        len: usize,
        see: impl FnOnce(u32, &'a Header) -> Option<T>,
    ) -> Option<T> {
        let frame = place.frame()?;
        // Another cache's, if there is no such frame.
        let header = self.headers.get(frame as usize)?;
        self.ask_for_end(frame, len);
        see(frame, header)
    }

    /// Asks for the header and the end of a block of `len` bytes where it was last, and with a `stride` for the heads of groups of
    /// so many bytes; `None` if nobody knows where it was.
    #[inline]
    pub(super) fn ask_hinted(&self, place: &FrameHint, len: usize, stride: usize) -> Option<()> {
        let frame = self.hinted_frame(place, len, |frame, _| Some(frame))?;
        if stride > 0 {
            prefetch::heads(self.start_of(frame), len, stride);
        }
        Some(())
    }

    #[inline]
    pub(super) fn ask_for_place(&self, key: &BlockKey) {
        self.directory.ask(key.hash());
    }

    #[inline]
    pub(super) fn ask_for_header(&self, key: &BlockKey, len: usize) {
        let ask = |frame: u32| {
            self.ask_for_end(frame, len);
            Some(())
        };
        // One that only has the tag in common costs a wasted hint.
        let _ = self.directory.find(key.hash(), ask);
    }

    #[inline]
    pub(super) fn ask_for_block(&self, key: &BlockKey) {
        let ask = |frame: u32| {
            self.headers[frame as usize].ask_for_end();
            Some(())
        };
        let _ = self.directory.find(key.hash(), ask);
    }

    /// Asks for the header of `frame` and for the end of a block of `len` bytes in it, whatever it holds: the header need not be
    /// there for that.
    #[inline]
    pub(super) fn ask_for_end(&self, frame: u32, len: usize) {
        prefetch::before(self.ask_for_header_of(frame).wrapping_add(len));
    }

    /// Asks for the header of `frame` and for its first line.
    #[inline]
    pub(super) fn ask_for_start(&self, frame: u32) {
        prefetch_line(self.ask_for_header_of(frame));
    }

    /// Asks for the header of `frame`. Answers where the frame begins, which is asked for and never read.
    #[inline]
    fn ask_for_header_of(&self, frame: u32) -> *const u8 {
        prefetch_line((&raw const self.headers[frame as usize]).cast());
        self.start_of(frame)
    }

    /// Where the frame begins, to be asked for and never read.
    #[inline]
    fn start_of(&self, frame: u32) -> *const u8 {
        // Relaxed: the address is asked for, never read.
        let slab = self.slab_starts[frame as usize >> self.slab_shift].load(Ordering::Relaxed);
        let page = slab + u64::from(frame) % (1 << self.slab_shift);
        ptr::with_exposed_provenance(page as usize * PAGE_BYTES)
    }

    /// What `see` makes of a frame that may hold the block `key`, with its number.
    #[inline]
    pub(super) fn find_frame<'a, T>(
        &'a self,
        key: &BlockKey,
        mut see: impl FnMut(u32, &'a Header) -> Option<T>,
    ) -> Option<T> {
        self.directory.find(key.hash(), |frame| see(frame, &self.headers[frame as usize]))
    }

    #[inline]
    fn find(self: &Arc<Self>, hash: u64, key: &BlockKey) -> Option<PinnedBlock> {
        self.directory.find(hash, |frame| PinnedBlock::pin(self, &self.headers[frame as usize], key))
    }
}

/// A frame that was taken and not published: goes back when it drops.
pub(super) struct Taken<'a> {
    core: &'a Arc<Core>,
    cell: &'a Cell,
    hash: u64,
    page: u32,
    filling: Option<Filling>,
}

impl Taken<'_> {
    /// The first `len` bytes of the frame.
    pub(super) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        self.filling.as_mut().expect("only `publish` takes it, which ends this").bytes_mut(len)
    }

    /// Lets the frame be found as `key`, or gives it back for one that is found already.
    pub(super) fn publish(mut self, key: &BlockKey, class: BlockClass, len: usize) -> PinnedBlock {
        let mut shard = self.cell.shard.lock();
        if let Some(faster) = self.core.find(self.hash, key) {
            drop(shard);
            return faster;
        }
        let filling = self.filling.take().expect("only this takes it");
        shard.enter(self.core.shared(), self.page, self.hash, class);
        let header = &self.core.headers[shard.header_index(self.page)];
        filling.publish(self.core, header, key, len)
    }
}

/// Pages of the frame of a block of `len` bytes.
fn pages_for(len: usize) -> usize {
    len.div_ceil(PAGE_BYTES).max(1)
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.filling.take().is_some() {
            self.cell.shard.lock().give_back(self.page);
        }
    }
}

impl Core {
    /// Whether a block of `len` bytes that was read is worth a frame; else it was a miss, and is remembered.
    pub(super) fn wants(&self, key: &BlockKey, class: BlockClass, len: usize) -> bool {
        if class != BlockClass::Data || len > self.block_bytes_max {
            // What is too large is refused when it is inserted, and counted as that.
            return true;
        }
        let hash = key.hash();
        self.cell(hash).shard.lock().wants(hash, pages_for(len))
    }

    /// A frame for a block of `len` bytes, to be filled.
    pub(super) fn take(
        self: &Arc<Self>,
        key: &BlockKey,
        class: BlockClass,
        len: usize,
    ) -> Result<Taken<'_>, Refusal> {
        let hash = key.hash();
        let cell = self.cell(hash);
        let mut shard = cell.shard.lock();
        shard.note_miss(class);
        if len > self.block_bytes_max {
            shard.note_refusal(class);
            return Err(Refusal::TooLarge { bytes: len, max: self.block_bytes_max });
        }
        let count = pages_for(len);
        let (page, were_written) = loop {
            if let Some(taken) = shard.take_free(count) {
                break taken;
            }
            if let Some((place, bytes)) = shard.wants_slab() {
                drop(shard);
                let obtained = self.obtain(bytes);
                shard = cell.shard.lock();
                match obtained {
                    Ok((slab, charge)) => {
                        let number = (shard.first_header() >> self.slab_shift) as usize + place;
                        self.slab_starts[number].store(slab.first_page(), Ordering::Relaxed);
                        shard.install(place, slab, charge);
                    }
                    Err(_) => shard.do_without(),
                }
                continue;
            }
            let Some(taken) = shard.take_by_force(self.shared(), count) else {
                shard.note_refusal(class);
                return Err(Refusal::NoRoom { bytes: len });
            };
            break taken;
        };
        let start = shard.start_of(page).expect("a page that was taken lies in a slab");
        drop(shard);
        // SAFETY: these are the pages of the frame that was just taken; only `Taken` gives them back, after this, and a
        // slab with a frame that is not free stays.
        let filling = unsafe { Filling::new(start, PAGE_BYTES * count, were_written) };
        Ok(Taken { core: self, cell, hash, page, filling: Some(filling) })
    }

    fn obtain(&self, bytes: usize) -> Result<(Slab, Reservation), AllocError> {
        let charge = self.unused.reserve(bytes)?;
        Ok((Slab::obtain(&self.counted, bytes)?, charge))
    }

    /// Gives one slab of the shard back, to the system and then to the budget. Returns its bytes.
    fn give_slab(&self, cell: &Cell) -> Option<usize> {
        let (slab, charge) = cell.shard.lock().give_slab(self.shared())?;
        drop(slab);
        Some(charge.bytes())
    }

    pub(super) fn remove_file(&self, file: crate::ids::FileNumber) -> usize {
        self.cells.iter().map(|cell| cell.shard.lock().remove_file(self.shared(), file)).sum()
    }

    pub(super) fn stats(&self) -> CacheStats {
        let mut stats = CacheStats::default();
        for cell in &self.cells {
            let (classes, pinned) = cell.shard.lock().stats(self.shared());
            stats.classes.iter_mut().zip(&classes).for_each(|(sum, class)| sum.add(class));
            stats.pinned_bytes += pinned;
            stats.misses += cell.misses.load(Ordering::Relaxed);
        }
        let peeked = self.hazards.hits();
        stats.classes.iter_mut().zip(peeked).for_each(|(class, hits)| class.hits += hits);
        stats
    }

    /// The cache's owner goes: what nobody pins is given back, what somebody pins keeps this core.
    pub(super) fn close(self: &Arc<Self>) {
        for cell in &self.cells {
            while self.give_slab(cell).is_some() {}
            cell.shard.lock().orphan_all(self.shared(), self);
        }
    }
}

impl Shrink for Core {
    /// Gives back whole slabs, the coldest of each shard in turn, down to the node's floor.
    fn shrink(&self, bytes: usize) -> usize {
        let mut freed = 0;
        loop {
            let before = freed;
            for cell in &self.cells {
                if freed >= bytes || self.budget.used() <= self.floor {
                    return freed;
                }
                freed += self.give_slab(cell).unwrap_or(0);
            }
            if freed == before {
                return freed;
            }
        }
    }
}
