//! What the guards of an arena catch: reads of memory that is nobody's, and writes past its end.
//!
//! 1. Under AddressSanitizer (`cargo xtask sanitize address`) each test runs this very program again, as a child that does
//!    one forbidden read, and expects the sanitizer to end it with a report; the same child without that read ends well.
//! 2. In other debug builds a reset leaves a pattern, and panics if something was written past the end of a chunk.
//!
//! The only place in the tests where memory is read that was given back. It stays mapped, because its arena or pool lives.
#![cfg(all(any(debug_assertions, kausal_asan), not(any(loom, shuttle))))]

use std::alloc::Layout;
use std::ptr::NonNull;

use kausal_arena::{Arena, Budget, ChunkPool, RegionPool, Retain, Writer};

/// `bytes` bytes, each 7, of which only the address is kept.
fn sevens(writer: &Writer, bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, 16).expect("a small size");
    let start = writer.try_alloc_layout(layout).expect("memory for a test");
    for place in 0..bytes {
        write(start, place, 7);
    }
    start
}

fn write(start: NonNull<u8>, offset: usize, byte: u8) {
    // SAFETY: within the chunk that `start` points into, whose owner lives (see the top).
    let place = unsafe { start.add(offset) };
    // SAFETY: as above; no reference to the byte exists.
    unsafe { place.write_volatile(byte) };
}

fn read(start: NonNull<u8>, offset: usize) -> u8 {
    // SAFETY: within the chunk that `start` points into, whose owner lives (see the top).
    let place = unsafe { start.add(offset) };
    // SAFETY: as above. Whether the byte is anybody's is what the tests ask; if it is nobody's, the guards answer.
    unsafe { place.read_volatile() }
}

#[cfg(kausal_asan)]
mod poison {
    use std::process::Command;

    use kausal_arena::ArenaVec;

    use super::*;

    /// What the child does; nothing if unset.
    const SCENARIO: &str = "KAUSAL_POISON_SCENARIO";
    /// Set if the child does the forbidden read.
    const FORBIDDEN: &str = "KAUSAL_POISON_FORBIDDEN";

    /// Each does what is allowed, then returns where to read what is not.
    const SCENARIOS: [(&str, fn(&mut Stage) -> (NonNull<u8>, usize)); 8] = [
        ("growing arena, reset", |stage| {
            let start = sevens(&stage.growing.scope(), 100);
            assert_eq!(read(start, 99), 7);
            stage.growing.reset(Retain::Capacity).unwrap();
            (start, 99)
        }),
        ("fixed arena, reset", |stage| {
            let start = sevens(&stage.fixed.scope(), 100);
            assert_eq!(read(start, 0), 7);
            stage.fixed.reset(Retain::Capacity).unwrap();
            (start, 0)
        }),
        ("region, returned to its pool", |stage| {
            let region = stage.regions.coordinator().take().unwrap();
            let start = sevens(&region.writer(), 100);
            assert_eq!(read(start, 50), 7);
            drop(region);
            (start, 50)
        }),
        ("pooled arena, dropped", |stage| {
            let arena = Arena::pooled(&Budget::unlimited("short-lived"), &stage.chunks);
            let start = sevens(&arena.scope(), 100);
            assert_eq!(read(start, 50), 7);
            drop(arena);
            (start, 50)
        }),
        ("past the last allocation of a block", |stage| {
            let start = sevens(&stage.pen, 13);
            assert_eq!(read(start, 12), 7);
            (start, 13)
        }),
        ("alignment between two allocations", |stage| {
            let start = sevens(&stage.pen, 32);
            let next = stage.pen.try_alloc_layout(Layout::from_size_align(1, 128).unwrap()).unwrap();
            write(next, 0, 7);
            assert_eq!((read(start, 31), read(next, 0)), (7, 7));
            (start, if next.addr().get() - start.addr().get() > 32 { 32 } else { 33 })
        }),
        ("rest of a permit", |stage| {
            let region = stage.regions.coordinator().take().unwrap();
            let permit = region.permit(1000).unwrap();
            let start = sevens(permit.pen(), 16);
            assert_eq!(read(start, 15), 7);
            drop(permit);
            (start, 500)
        }),
        ("tail that a vector gave back", |stage| {
            let mut vec = ArenaVec::try_with_capacity(&stage.pen, 8).unwrap();
            vec.extend_from_slice(&[7_u64; 8]);
            let start = NonNull::from(&mut vec[0]).cast();
            assert_eq!(read(start, 40), 7);
            vec.truncate(3);
            assert_eq!(vec.into_slice(), [7; 3]);
            (start, 40)
        }),
    ];

    /// What lives for as long as the child, so that nothing is unmapped below a read.
    struct Stage {
        pen: Writer,
        growing: Arena,
        fixed: Arena,
        regions: RegionPool,
        chunks: ChunkPool,
        _arena_of_pen: Arena,
    }

    impl Stage {
        fn new() -> Self {
            let budget = Budget::unlimited("test");
            let arena_of_pen = Arena::growing(&budget);
            Self {
                pen: arena_of_pen.coordinator().writer().unwrap(),
                growing: Arena::growing(&budget),
                fixed: Arena::fixed(&budget, 1 << 16).unwrap(),
                regions: RegionPool::new(&budget, 1 << 16, 1, || {}).unwrap(),
                chunks: ChunkPool::new(&budget),
                _arena_of_pen: arena_of_pen,
            }
        }
    }

    /// Not a test of its own: what the child runs.
    #[test]
    fn child() {
        let Ok(name) = std::env::var(SCENARIO) else { return };
        let (_, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name).expect("a known scenario");
        let mut stage = Stage::new();
        let (start, offset) = scenario(&mut stage);
        if std::env::var_os(FORBIDDEN).is_some() {
            println!("survived the read of {}", read(start, offset));
        }
    }

    /// Whether the child ended well, and what it printed to standard error.
    fn run_child(scenario: &str, is_forbidden: bool) -> (bool, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "poison::child", "--nocapture"]).env(SCENARIO, scenario);
        if is_forbidden {
            command.env(FORBIDDEN, "1");
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn memory_that_was_given_back_is_poisoned() {
        for (name, _) in SCENARIOS {
            let (is_well, errors) = run_child(name, false);
            assert!(is_well, "{name}: failed without a forbidden read:\n{errors}");
            let (is_well, errors) = run_child(name, true);
            let is_reported = errors.contains("ERROR: AddressSanitizer: use-after-poison");
            assert!(!is_well && is_reported, "{name}: the read was not reported:\n{errors}");
        }
    }
}

#[cfg(all(debug_assertions, not(kausal_asan)))]
mod pattern {
    use super::*;

    /// What a byte of an ended generation looks like in debug builds.
    const DEAD_BYTE: u8 = 0xDD;

    #[test]
    fn a_reset_fills_a_growing_arena_with_the_pattern() {
        let mut arena = Arena::growing(&Budget::unlimited("test"));
        let start = sevens(&arena.scope(), 100);
        assert!((0..100).all(|offset| read(start, offset) == 7));
        arena.reset(Retain::Capacity).unwrap();
        assert!((0..100).all(|offset| read(start, offset) == DEAD_BYTE));
    }

    #[test]
    fn a_reset_fills_a_fixed_arena_with_the_pattern() {
        let mut arena = Arena::fixed(&Budget::unlimited("test"), 1 << 16).unwrap();
        let start = sevens(&arena.scope(), 100);
        arena.reset(Retain::Capacity).unwrap();
        assert!((0..100).all(|offset| read(start, offset) == DEAD_BYTE));
    }

    #[test]
    fn a_region_comes_back_to_its_pool_with_the_pattern() {
        let pool = RegionPool::new(&Budget::unlimited("test"), 1 << 16, 1, || {}).unwrap();
        let region = pool.coordinator().take().unwrap();
        let start = sevens(&region.writer(), 100);
        drop(region);
        assert!((0..100).all(|offset| read(start, offset) == DEAD_BYTE));
    }

    #[test]
    fn chunks_of_a_dropped_arena_lie_in_the_chunk_pool_with_the_pattern() {
        let budget = Budget::unlimited("test");
        let chunks = ChunkPool::new(&budget);
        let arena = Arena::pooled(&budget, &chunks);
        let start = sevens(&arena.scope(), 100);
        drop(arena);
        assert!((0..100).all(|offset| read(start, offset) == DEAD_BYTE));
    }

    /// Overwrites the first byte behind everything that a fixed arena of this capacity hands out.
    fn write_past_the_end(arena: &Arena) {
        let bytes = arena.stats().capacity;
        let start = sevens(&arena.scope(), bytes);
        write(start, bytes, 7);
    }

    #[test]
    #[should_panic(expected = "something was written past the end of an arena's chunk")]
    fn a_write_past_the_end_is_found_by_the_reset() {
        let mut arena = Arena::fixed(&Budget::unlimited("test"), 1 << 16).unwrap();
        write_past_the_end(&arena);
        let _ = arena.reset(Retain::Capacity);
    }

    #[test]
    #[should_panic(expected = "something was written past the end of an arena's chunk")]
    fn a_write_past_the_end_is_found_when_the_chunk_is_freed() {
        let arena = Arena::fixed(&Budget::unlimited("test"), 1 << 16).unwrap();
        write_past_the_end(&arena);
        drop(arena);
    }

    #[test]
    fn a_write_up_to_the_end_is_none_past_it() {
        let mut arena = Arena::fixed(&Budget::unlimited("test"), 1 << 16).unwrap();
        sevens(&arena.scope(), arena.stats().capacity);
        assert!(arena.reset(Retain::Capacity).is_ok());
    }
}
