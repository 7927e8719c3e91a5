//! Where objects come from in the arena benchmark: one way to take memory and one way to initialise it for all.
//!
//! Every subject is asked for the same layout and the same bytes are written to what it returns, by the same inlined
//! code, so that a difference is the subject's.

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use kausal_arena::Writer;

/// Something that hands out memory which is not freed one by one.
///
/// # Safety
///
/// `take` returns memory that is valid and nobody else's, aligned and large enough for its layout, until the source is
/// dropped or reset.
pub unsafe trait Source {
    /// Memory for an object of `layout`.
    fn take(&self, layout: Layout) -> NonNull<u8>;
}

/// The layout of an object of `WORDS` 64-bit words.
pub const fn layout<const WORDS: usize>() -> Layout {
    Layout::new::<[u64; WORDS]>()
}

/// Takes `count` objects of `WORDS` words from `source` and initialises each.
#[inline(always)]
pub fn fill<const WORDS: usize>(source: &impl Source, count: usize) {
    fill_partly::<WORDS, WORDS>(source, count);
}

/// Takes `count` objects of `WORDS` words from `source` and writes the first `WRITTEN` of each.
#[inline(always)]
pub fn fill_partly<const WORDS: usize, const WRITTEN: usize>(source: &impl Source, count: usize) {
    const { assert!(0 < WRITTEN && WRITTEN <= WORDS) };
    for number in 0..count {
        let place = source.take(layout::<WORDS>());
        // SAFETY: a source returns memory for the layout, which has at least as many words.
        unsafe { initialise(place, WRITTEN * 8, number as u64) };
    }
}

/// Takes `count` objects of `WORDS` words from `source` and writes nothing: what the allocator itself does.
#[inline(always)]
pub fn obtain<const WORDS: usize>(source: &impl Source, count: usize) {
    for _ in 0..count {
        std::hint::black_box(source.take(layout::<WORDS>()));
    }
}

/// Takes one object of `bytes` bytes, a positive multiple of 8, and initialises it.
#[inline(always)]
pub fn push(source: &impl Source, bytes: usize) {
    let layout = Layout::from_size_align(bytes.max(8), 8).expect("a small size");
    let place = source.take(layout);
    // SAFETY: a source returns memory for the layout, which is aligned for words.
    unsafe { initialise(place, layout.size(), 0) };
}

/// Writes `bytes` bytes of an object, `number` first, and shows the place to the optimiser, so that no write is left out.
///
/// # Safety
///
/// `place` is aligned to 8 and valid for writes of `bytes` bytes, at least 8.
#[inline(always)]
pub(crate) unsafe fn initialise(place: NonNull<u8>, bytes: usize, number: u64) {
    // SAFETY: valid for so many bytes (this function's contract).
    unsafe { place.write_bytes(7, bytes) };
    // SAFETY: aligned, and there are at least 8 bytes.
    unsafe { place.cast::<u64>().write(number) };
    black_box(place);
}

// SAFETY: a writer hands no byte out twice, and its lease keeps the memory.
unsafe impl Source for Writer {
    #[inline(always)]
    fn take(&self, layout: Layout) -> NonNull<u8> {
        self.try_alloc_layout(layout).expect("memory for a benchmark")
    }
}

#[cfg(feature = "arena-peers")]
mod peers {
    use super::*;

    // SAFETY: bumpalo returns fresh memory for the layout, valid until its reset, which takes `&mut`.
    unsafe impl Source for bumpalo::Bump {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.try_alloc_layout(layout).expect("memory for a benchmark")
        }
    }

    // SAFETY: as bumpalo alone; the lock makes each call exclusive.
    unsafe impl Source for parking_lot::Mutex<bumpalo::Bump> {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.lock().try_alloc_layout(layout).expect("memory for a benchmark")
        }
    }

    // SAFETY: a member of a herd is a bump arena of its own.
    unsafe impl Source for bumpalo_herd::Member<'_> {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.as_bump().try_alloc_layout(layout).expect("memory for a benchmark")
        }
    }

    // SAFETY: blink-alloc returns fresh memory for the layout, valid until its reset, which takes `&mut`.
    unsafe impl Source for blink_alloc::BlinkAlloc {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.allocate(layout).expect("memory for a benchmark").cast()
        }
    }

    // SAFETY: as above; the local allocator borrows the shared one.
    unsafe impl Source for blink_alloc::LocalBlinkAlloc<'_> {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.allocate(layout).expect("memory for a benchmark").cast()
        }
    }

    // SAFETY: as above; it may be called from several threads at once.
    unsafe impl Source for blink_alloc::SyncBlinkAlloc {
        #[inline(always)]
        fn take(&self, layout: Layout) -> NonNull<u8> {
            self.allocate(layout).expect("memory for a benchmark").cast()
        }
    }
}
