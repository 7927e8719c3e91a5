//! Counts calls of the global allocator, for the indexes that claim to need none. A binary of its own, because a program
//! has one allocator. Each thread counts for itself, so tests do not disturb each other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kausal_index::conformance::{Law, Settings, Verdict, check_law};
use kausal_index::{
    ArtIndex, BTreeIndex, BlockIndex, EntryRef, HashIndex, Kind, SeqNo, SkipListIndex, TreeIndex,
};

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A constant without a destructor: reaching it allocates nothing, and it is there until the thread is gone.
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

fn calls() -> u64 {
    CALLS.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged; counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, and this is the same call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: the block came from `alloc` above, that is from the system's allocator, with this layout.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ENTRIES: u64 = 100_000;

/// Calls of the allocator during as many inserts and gets, on an empty index.
fn calls_of<I: BlockIndex>() -> u64 {
    let region =
        kausal_arena::testing::region(I::bytes_max(ENTRIES as usize, ENTRIES as usize * 36) + (1 << 20));
    let pen = region.writer();
    let index = I::create(region.lease(), &pen).unwrap();
    let key = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    let before = calls();
    for number in 0..ENTRIES {
        let seqno = SeqNo::new(number + 1).unwrap();
        let entry = EntryRef { key: &key(number), seqno, kind: Kind::Put, value: &[number as u8; 28] };
        index.insert(&pen, entry).unwrap();
    }
    for number in 0..ENTRIES {
        let found = index.get(&key(number), SeqNo::MAX).unwrap();
        assert!(found.value == [number as u8; 28]);
    }
    calls() - before
}

#[test]
fn s06_index_nodes_live_in_the_arena() {
    const { assert!(SkipListIndex::IN_ARENA && HashIndex::IN_ARENA && ArtIndex::IN_ARENA && TreeIndex::IN_ARENA) };
    assert_eq!(calls_of::<SkipListIndex>(), 0);
    assert_eq!(calls_of::<HashIndex>(), 0);
    assert_eq!(calls_of::<TreeIndex>(), 0);
    assert_eq!(calls_of::<ArtIndex>(), 0);

    // The counter counts: the oracle lives on the heap, and is seen there.
    const { assert!(!BTreeIndex::IN_ARENA) };
    assert!(calls_of::<BTreeIndex>() > ENTRIES);
}

/// The law of the kit, which needs this allocator; over every starting state and size of entry.
#[test]
fn the_law_of_the_silent_allocator_holds() {
    let settings = Settings::new().allocator_calls(calls);
    assert_eq!(check_law::<SkipListIndex>(Law::AllocatorSilent, &settings), Verdict::Held);
    assert_eq!(check_law::<ArtIndex>(Law::AllocatorSilent, &settings), Verdict::Held);
    assert_eq!(check_law::<TreeIndex>(Law::AllocatorSilent, &settings), Verdict::Held);
    assert_eq!(check_law::<HashIndex>(Law::AllocatorSilent, &settings), Verdict::Held);
}

mod on_the_heap {
    //! An index that claims the arena and keeps its entries elsewhere.

    use std::convert::Infallible;

    use kausal_arena::{AllocError, Lease, Writer};
    use kausal_index::{Cursor, IndexBytes, InsertError, Unordered};

    use super::*;

    pub(super) struct OnTheHeap(BTreeIndex);

    impl BlockIndex for OnTheHeap {
        const IN_ARENA: bool = true;
        const ORDERED_WHILE_LIVE: bool = true;

        fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
            BTreeIndex::create(lease, pen).map(Self)
        }

        fn bytes_max(entries: usize, payload: usize) -> usize {
            BTreeIndex::bytes_max(entries, payload)
        }

        fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
            self.0.insert(pen, entry)
        }

        fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
            self.0.get(key, at)
        }

        fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
            self.0.versions(key, at)
        }

        fn freeze(&self, pen: &Writer) -> Result<(), AllocError> {
            self.0.freeze(pen)
        }

        fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
            self.0.cursor()
        }

        fn len(&self) -> usize {
            self.0.len()
        }

        fn bytes(&self) -> IndexBytes {
            self.0.bytes()
        }
    }
}

#[test]
fn an_index_that_allocates_outside_its_lease_breaks_the_law_of_the_silent_allocator() {
    let report = kausal_index::conformance::check::<on_the_heap::OnTheHeap>(
        &Settings::new().cases(8).allocator_calls(calls),
    );
    let broken: Vec<_> = report.broken().map(|broken| broken.law).collect();
    assert_eq!(broken, [Law::AllocatorSilent], "{report}");
}
