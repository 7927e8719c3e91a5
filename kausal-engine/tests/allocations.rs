//! Counts calls of the global allocator. A binary of its own: the counter sees the whole process, so the tests here
//! run as one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use kausal_engine::{Options, StorageEngine};

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator with its arguments unchanged; counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, and this is the same call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` above, that is from the system's allocator, with this layout.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls_during(work: impl FnOnce()) -> u64 {
    let before = CALLS.load(Ordering::Relaxed);
    work();
    CALLS.load(Ordering::Relaxed) - before
}

#[test]
fn s20_warm_request_look_ups_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20)).unwrap();
    for number in 0..1000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap();
    }
    // Half of the keys in a table, half in the memtable; no job runs any more.
    engine.compact().unwrap();
    for number in 500..1000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap();
    }
    let look_up = || {
        let request = engine.request().unwrap();
        for number in (0..1100_u32).step_by(11) {
            let expected = (number < 1000).then_some([number as u8; 100]);
            assert_eq!(
                request.get(&number.to_be_bytes()).unwrap(),
                expected.as_ref().map(|value| &value[..])
            );
        }
    };
    let cold = calls_during(look_up);
    assert!(cold > 0, "the counter counts");
    assert_eq!(calls_during(|| (0..100).for_each(|_| look_up())), 0);
}
