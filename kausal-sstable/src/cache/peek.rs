//! Peeking: looking at a frame without a pin, for as long as a call takes.
//!
//! 1. Each thread has a *hazard*: a cell that only it writes and every evictor reads, on cache lines of its own. Who peeks
//!    writes the frame's number there, then looks whether the frame is live and holds the block it wants.
//! 2. An evictor makes the frame not live, then looks at all hazards. If one names the frame, it makes it live again, and
//!    goes on as if the frame were pinned.
//! 3. So either the evictor sees the hazard, or the reader sees that the frame is not live: two fences see to that.
//!    Nothing that two readers share is written by an atomic operation; a hit is counted in the thread's own cell, and
//!    credited to the frame by a plain store, up to a few.
//!
//! Hazard pointers (Michael 2004), with one change: an evictor never waits for a reader nor keeps a list of what it could
//! not free; the frame stays in the cache, and another one goes.
//!
//! Invariant: while a hazard names a frame that was seen live after that, the frame is neither changed nor given back. It is
//! a part of invariant 1 of `frames`.
//!
//! Not here: blocks that stay for longer than a call. They are pinned.

#![expect(unsafe_code, reason = "bytes of a frame as references, kept by a hazard")]

use std::fmt;
use std::sync::Arc;

use kausal_arena::PerThread;
use kausal_arena::sync::{AtomicBool, AtomicU64, Ordering, fence};

use super::core::Core;
use super::frames::{Header, PinnedBlock, Seen};
use super::hint::FrameHint;
use super::key::{BlockClass, BlockKey};

/// Threads that can peek; more than these pin. A model's threads are few.
const HAZARDS: usize = if cfg!(any(loom, shuttle)) { 4 } else { 128 };

/// What a thread peeks at, and what it found so far. Written by that thread only.
struct Hazard {
    /// The frame's number and one; 0 is none.
    frame: AtomicU64,
    is_taken: AtomicBool,
    hits: [AtomicU64; 3],
}

/// The hazards of all threads.
pub(super) struct Hazards {
    cells: PerThread<Hazard>,
}

impl Hazards {
    pub(super) const BYTES: usize = PerThread::<Hazard>::bytes(HAZARDS);

    pub(super) fn new() -> Self {
        let hazard = || Hazard {
            frame: AtomicU64::new(0),
            is_taken: AtomicBool::new(false),
            hits: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        Self { cells: PerThread::new(HAZARDS, hazard) }
    }

    /// Whether a hazard names `frame`. The evictor has made the frame not live before.
    pub(super) fn name(&self, frame: u32) -> bool {
        // Pairs with the fence of `Peek::block`.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release of every store to a hazard; what was read before it was read before the frame's
        // next user writes.
        self.cells.all().any(|cell| cell.frame.load(Ordering::Acquire) == u64::from(frame) + 1)
    }

    /// Hits found by peeking, by class.
    pub(super) fn hits(&self) -> [u64; 3] {
        let mut sums = [0; 3];
        for cell in self.cells.all() {
            sums.iter_mut().zip(&cell.hits).for_each(|(sum, hits)| *sum += hits.load(Ordering::Relaxed));
        }
        sums
    }
}

/// A thread's look into the cache: at one block at a time, without pinning it. Lives inside of a call of
/// [`BlockCache::peek`](super::BlockCache::peek).
pub struct Peek<'a> {
    core: &'a Arc<Core>,
    /// None for a thread beyond the table, and for a look inside of another: those pin.
    hazard: Option<&'a Hazard>,
    /// And the frame's header.
    seen: Option<(Seen, &'a Header)>,
}

impl<'a> Peek<'a> {
    /// Runs `work` with the thread's look.
    #[inline]
    pub(super) fn with<R>(core: &'a Arc<Core>, work: impl FnOnce(&mut Peek<'_>) -> R) -> R {
        core.hazards().cells.with(|hazard| {
            let free = hazard.filter(|hazard| !hazard.is_taken.load(Ordering::Relaxed));
            let turn = free.map(Turn::begin);
            let hazard = turn.as_ref().map(|turn| turn.0);
            work(&mut Peek { core, hazard, seen: None })
        })
    }

    /// Looks at the block `key`, and no longer at the one before. Answers whether it is there to be looked at; if not it may
    /// be in the cache all the same, for those who pin. Its beginning is asked for while that is found out.
    #[inline]
    pub fn block(&mut self, key: &BlockKey, class: BlockClass) -> bool {
        self.look(class, |core, hazard| {
            core.find_frame(key, |frame, header| {
                core.ask_for_start(frame);
                Self::see(hazard, frame, header, key)
            })
        })
    }

    /// [`block`](Self::block) for somebody who begins at the end of the block, which has `len` bytes as far as he knows: that end
    /// is asked for while it is found out whether it is there.
    #[inline]
    pub fn block_from_end(&mut self, key: &BlockKey, class: BlockClass, len: usize) -> bool {
        self.look(class, |core, hazard| {
            core.find_frame(key, |frame, header| {
                core.ask_for_end(frame, len);
                Self::see(hazard, frame, header, key)
            })
        })
    }

    /// [`block_from_end`](Self::block_from_end) for somebody who keeps where the block was last.
    #[inline]
    pub fn block_hinted(&mut self, key: &BlockKey, class: BlockClass, len: usize, place: &FrameHint) -> bool {
        self.look(class, |core, hazard| {
            let hinted = core.hinted_frame(place, len, |frame, header| Self::see(hazard, frame, header, key));
            hinted.or_else(|| {
                core.find_frame(key, |frame, header| {
                    core.ask_for_end(frame, len);
                    Self::see(hazard, frame, header, key).inspect(|_| place.note(frame))
                })
            })
        })
    }

    #[inline]
    fn look(
        &mut self,
        class: BlockClass,
        find: impl FnOnce(&'a Core, &'a Hazard) -> Option<(Seen, &'a Header)>,
    ) -> bool {
        self.seen = None;
        let Some(hazard) = self.hazard else { return false };
        self.seen = find(self.core, hazard);
        if self.seen.is_some() {
            let hits = &hazard.hits[class.place()];
            hits.store(hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            self.forget();
        }
        self.seen.is_some()
    }

    #[inline]
    fn see(hazard: &Hazard, frame: u32, header: &'a Header, key: &BlockKey) -> Option<(Seen, &'a Header)> {
        // Release: pairs with the Acquire of an evictor, for what was looked at before.
        hazard.frame.store(u64::from(frame) + 1, Ordering::Release);
        // Pairs with the fence of `Hazards::name`.
        #[cfg(not(kausal_planted = "cache_peek_unfenced"))]
        fence(Ordering::SeqCst);
        header.see(key).map(|seen| (seen, header))
    }

    /// The contents of the block looked at; empty if there is none.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let Some((seen, _)) = &self.seen else { return &[] };
        // SAFETY: the hazard has named the frame since before it was seen live (`see`). Only this writes it, taking `&mut
        // self`, and the end of the call that lent `self`.
        unsafe { seen.contents() }
    }

    /// The block looked at, pinned for as long as the caller wants. `None` if there is none, and now and then for one that
    /// somebody tries to evict.
    #[inline]
    pub fn pin(&self) -> Option<PinnedBlock> {
        self.seen.as_ref().and_then(|(seen, header)| PinnedBlock::pin_seen(self.core, header, seen))
    }

    /// Looks at nothing any more.
    #[inline]
    pub fn forget(&mut self) {
        self.seen = None;
        if let Some(hazard) = self.hazard {
            // Release: see `Hazards::name`.
            hazard.frame.store(0, Ordering::Release);
        }
    }
}

/// A hazard that is in use. Ends with the call, whatever became of the [`Peek`].
struct Turn<'a>(&'a Hazard);

impl<'a> Turn<'a> {
    #[inline]
    fn begin(hazard: &'a Hazard) -> Self {
        hazard.is_taken.store(true, Ordering::Relaxed);
        Self(hazard)
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.frame.store(0, Ordering::Release);
        self.0.is_taken.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Peek<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Peek").field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}
