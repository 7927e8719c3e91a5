//! Counts calls of the global allocator. A binary of its own: the counter sees the whole process, so the tests here
//! run as one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
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

/// Half of 1,000 keys in a table, half in the memtable; no job runs any more.
fn filled(folder: &std::path::Path, is_mapped: bool) -> StorageEngine {
    let options = Options::new().memory_budget(8 << 20).mapped_tables(is_mapped);
    let engine = StorageEngine::open(folder, options).unwrap();
    let put = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| engine.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap());
    };
    put(0..1000);
    engine.compact().unwrap();
    put(500..1000);
    engine
}

/// How often `work` calls the allocator the first time, and in a hundred times after that.
fn cold_and_warm(what: &str, mut work: impl FnMut()) -> (u64, u64) {
    let cold = calls_during(&mut work);
    let warm = calls_during(|| (0..100).for_each(|_| work()));
    println!("{what}: {cold} calls of the allocator the first time, {warm} in the next hundred");
    (cold, warm)
}

#[test]
fn s20_warm_request_look_ups_allocate_nothing() {
    for is_mapped in [false, cfg!(unix)] {
        let folder = tempfile::tempdir().unwrap();
        let engine = filled(folder.path(), is_mapped);
        assert_eq!(engine.stats().mapped_table_count > 0, is_mapped);
        warm_look_ups_allocate_nothing(&engine, is_mapped);
    }
}

fn warm_look_ups_allocate_nothing(engine: &StorageEngine, is_mapped: bool) {
    let expected = |number: u32| (number < 1000).then_some([number as u8; 100]);

    let (cold, warm) = cold_and_warm("100 gets in a request", || {
        let request = engine.request().unwrap();
        for number in (0..1100_u32).step_by(11) {
            let found = request.get(&number.to_be_bytes()).unwrap();
            assert_eq!(found, expected(number).as_ref().map(|value| &value[..]));
        }
    });
    assert!(cold > 0, "the counter counts");
    assert_eq!(warm, 0);

    let places = [("the table", 0..500), ("the memtable", 500..1000), ("nowhere", 1000..1100_u32)];
    let mut value = Vec::new();
    for (place, numbers) in places {
        let (_, warm) = cold_and_warm(&format!("gets into a buffer, from {place}"), || {
            for number in numbers.clone() {
                let is_there = engine.get_into(&number.to_be_bytes(), &mut value).unwrap();
                assert_eq!(is_there.then_some(&value[..]), expected(number).as_ref().map(|value| &value[..]));
            }
        });
        assert_eq!(warm, 0, "{place}");
    }

    let names: Vec<[u8; 4]> = (0..1100_u32).rev().step_by(11).map(u32::to_be_bytes).collect();
    let keys: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    let (_, warm) = cold_and_warm("a multi-get of 100 keys in a request", || {
        let request = engine.request().unwrap();
        let found = request.multi_get(&keys).unwrap();
        assert_eq!(found.iter().flatten().count(), 90);
    });
    assert_eq!(warm, 0);

    let (_, warm) = cold_and_warm("a value pinned in the cache", || {
        assert_eq!(engine.get_pinned(&7_u32.to_be_bytes()).unwrap().unwrap().is_copy(), is_mapped);
    });
    // A mapped table's is copied.
    assert_eq!(warm, if is_mapped { 100 } else { 0 });

    let mut cursor = engine.cursor(kausal_engine::KeyRange::all()).unwrap();
    let (_, warm) = cold_and_warm("a seek and 10 steps of a cursor", || {
        assert!(cursor.seek(&495_u32.to_be_bytes()).unwrap());
        (0..10).for_each(|_| assert!(cursor.next().unwrap()));
    });
    assert_eq!(warm, 0);

    let (_, warm) = cold_and_warm("a walk over the table and the memtable", || {
        let mut count = 0;
        let saw_all = cursor.walk_from(&400_u32.to_be_bytes(), |entry| {
            assert_eq!(Some(entry.key()), Some(&(400 + count as u32).to_be_bytes()[..]));
            count += 1;
            if count == 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(!saw_all.unwrap());
    });
    assert_eq!(warm, 0);
}
