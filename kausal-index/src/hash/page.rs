//! Pages of the table and the directory that finds them: their layout, and the unsafe access to it.
//!
//! | part of a page | bytes | what |
//! |---|---|---|
//! | 4 buckets | 4 × 128 | a state word and 15 slots each |
//! | order | 24 × 4 | offsets of nodes, sorted when the index is frozen |
//!
//! A slot is a word: 32 bits of the key's hash above the offset of the key's newest node; 0 is free. What finds no free
//! slot in its bucket lies in a *record*, a slot outside the page, on the bucket's list. The directory is a trie of
//! three levels over page numbers. All of them are taken from pens in pieces of one size, because the bound on what a
//! batch takes rests on that.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. An offset in the directory is that of a directory node or page, one in a state word or record that of a record,
//!    written whole before (Release on publishing, Acquire on reading).
//! 2. All of them consist of atomics, and of fields that do not change once published.

use kausal_arena::sync::{AtomicU32, AtomicU64, Ordering};
use kausal_arena::{AllocError, Writer};

use crate::hash::{BUCKETS, FAN, NIL, PAGE_ENTRIES, ROOT, SLOTS};
use crate::memory::Memory;
use crate::tally::Tally;

/// A cache line, so that a bucket covers as few as it can.
const PAGE_ALIGN: usize = 64;

/// What a page or a directory node takes from a pen, alignment included.
pub(super) const PIECE_BYTES: usize = (size_of::<Page>() + PAGE_ALIGN - 1).next_multiple_of(8);

const _: () = assert!(size_of::<Directory>() <= size_of::<Page>());
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Bucket>() == 128 && size_of::<Page>() == 640 && PIECE_BYTES == 704);

/// Most bytes that a record takes, alignment included.
pub(super) const RECORD_BYTES_MAX: usize = size_of::<Record>() + align_of::<Record>() - 1;

#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) state: AtomicU64,
    pub(super) slots: [AtomicU64; SLOTS],
}

#[repr(C)]
pub(super) struct Page {
    pub(super) buckets: [Bucket; BUCKETS],
    pub(super) order: [AtomicU32; PAGE_ENTRIES],
}

pub(super) struct Record {
    /// As in a slot; 0 once its content has moved into one.
    pub(super) word: AtomicU64,
    /// The next record of the list, or nil.
    pub(super) next: u32,
}

type Directory = [AtomicU32; FAN];

/// The pages of one index, by number.
pub(super) struct Pages {
    root: [AtomicU32; ROOT],
}

/// Places of page `number` in the three levels.
fn places(number: u32) -> (usize, usize, usize) {
    let number = number as usize;
    (number / (FAN * FAN), number / FAN % FAN, number % FAN)
}

/// The number of pages a directory can hold: more than a region has room for.
pub(super) const PAGES_MAX: u32 = (ROOT * FAN * FAN) as u32;

impl Pages {
    /// The directory with page 0, whose buckets are in `state`.
    pub(super) fn new(memory: &Memory, tally: &Tally, pen: &Writer, state: u64) -> Result<Self, AllocError> {
        let pages = Self { root: std::array::from_fn(|_| AtomicU32::new(NIL)) };
        while !pages.prepare(memory, tally, pen, 0)? {}
        let first = pages.allocate(memory, tally, pen, state)?;
        pages.install(memory, 0, first);
        Ok(pages)
    }

    /// Takes one step towards a place for page `number`; answers whether it was there already.
    ///
    /// Only one thread at a time may prepare, allocate and install.
    pub(super) fn prepare(
        &self,
        memory: &Memory,
        tally: &Tally,
        pen: &Writer,
        number: u32,
    ) -> Result<bool, AllocError> {
        let (top, middle, _) = places(number);
        let top = &self.root[top];
        let place = match top.load(Ordering::Acquire) {
            NIL => top,
            node => &directory(memory, node)[middle],
        };
        if place.load(Ordering::Acquire) != NIL {
            return Ok(true);
        }
        let node = take_piece(memory, tally, pen, size_of::<Directory>())?;
        let empty: Directory = std::array::from_fn(|_| AtomicU32::new(NIL));
        // SAFETY: the piece was just taken, is aligned to a cache line and large enough for a directory.
        unsafe { memory.write(node, empty) };
        // Release: pairs with the Acquire on the way down.
        place.store(node, Ordering::Release);
        Ok(false)
    }

    /// Writes a page whose buckets are empty and in `state`, and returns its offset.
    pub(super) fn allocate(
        &self,
        memory: &Memory,
        tally: &Tally,
        pen: &Writer,
        state: u64,
    ) -> Result<u32, AllocError> {
        let page = take_piece(memory, tally, pen, size_of::<Page>())?;
        let slots = || std::array::from_fn(|_| AtomicU64::new(0));
        let bucket = |_| Bucket { state: AtomicU64::new(state), slots: slots() };
        let order = std::array::from_fn(|_| AtomicU32::new(NIL));
        // SAFETY: the piece was just taken, is aligned to a cache line and large enough for a page.
        unsafe { memory.write(page, Page { buckets: std::array::from_fn(bucket), order }) };
        Ok(page)
    }

    /// Makes the page at `page` findable as page `number`, whose place was prepared.
    pub(super) fn install(&self, memory: &Memory, number: u32, page: u32) {
        // Release: pairs with the Acquire in `get`.
        self.leaf(memory, number)[places(number).2].store(page, Ordering::Release);
    }

    #[inline]
    fn leaf<'m>(&self, memory: &'m Memory, number: u32) -> &'m Directory {
        let (top, middle, _) = places(number);
        // Acquire: pairs with the Release in `prepare`.
        let node = directory(memory, self.root[top].load(Ordering::Acquire));
        directory(memory, node[middle].load(Ordering::Acquire))
    }

    /// Where page `number` lies.
    #[inline]
    pub(super) fn offset(&self, memory: &Memory, number: u32) -> u32 {
        // Acquire: pairs with the Release in `install`.
        self.leaf(memory, number)[places(number).2].load(Ordering::Acquire)
    }

    /// Page `number`.
    ///
    /// # Panics
    ///
    /// If there is no such page.
    #[inline]
    pub(super) fn get<'m>(&self, memory: &'m Memory, number: u32) -> &'m Page {
        page_at(memory, self.offset(memory, number))
    }
}

/// The page at an offset that `allocate` or `offset` returned.
#[inline]
pub(super) fn page_at(memory: &Memory, page: u32) -> &Page {
    assert_ne!(page, NIL, "a page is found by a number that was published after it");
    // SAFETY: the directory shows pages only, and what is not nil was written before (invariants 1 and 2).
    unsafe { memory.get(page) }
}

#[inline]
fn directory(memory: &Memory, node: u32) -> &Directory {
    assert_ne!(node, NIL, "a directory node is installed before the pages below it");
    // SAFETY: upper levels show directory nodes only, and what is not nil was written before (invariants 1 and 2).
    unsafe { memory.get(node) }
}

/// Takes one piece and returns the first line boundary in it, from which on `used` bytes will be reachable.
fn take_piece(memory: &Memory, tally: &Tally, pen: &Writer, used: usize) -> Result<u32, AllocError> {
    // An alignment of 1 makes every piece take the same, wherever the pen stands.
    let taken = memory.take(pen, PIECE_BYTES, 1)?;
    let offset = taken.offset.next_multiple_of(PAGE_ALIGN as u32);
    tally.add_live(offset, used);
    tally.add_slack(offset, PIECE_BYTES - used + taken.slack);
    Ok(offset)
}

/// Writes a record that holds `word` and stands before `next`, and returns its offset.
#[cold]
pub(super) fn allocate_record(
    memory: &Memory,
    tally: &Tally,
    pen: &Writer,
    word: u64,
    next: u32,
) -> Result<u32, AllocError> {
    let taken = memory.take(pen, size_of::<Record>(), align_of::<Record>())?;
    tally.add_live(taken.offset, size_of::<Record>());
    tally.add_slack(taken.offset, taken.slack);
    // SAFETY: the bytes were just taken for a record.
    unsafe { memory.write(taken.offset, Record { word: AtomicU64::new(word), next }) };
    Ok(taken.offset)
}

/// The records of a list, with their offsets.
pub(super) fn records(memory: &Memory, first: u32) -> impl Iterator<Item = (u32, &Record)> {
    let mut at = first;
    std::iter::from_fn(move || {
        if at == NIL {
            return None;
        }
        // SAFETY: state words and records show records only (invariants 1 and 2).
        let record: &Record = unsafe { memory.get(at) };
        Some((std::mem::replace(&mut at, record.next), record))
    })
}
