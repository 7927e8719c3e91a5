//! What only the inside of the crate can see: sizes.

use crate::{Arena, ArenaCoordinator, Budget, Handle, Lease, RegionCoordinator, RegionPool, Retain, Writer};
use crate::{body, chunk, coordinator, fixed, guard};

/// On 64-bit targets, the only ones there are.
#[test]
fn s14_overhead_is_sixteen_bytes_a_chunk_and_eight_a_coordinator() {
    // The document counts 16 bytes per arena. In the realisation it describes, a coordinator had a pointer and a generation,
    // 16 bytes, and each chunk a header of 16. Ours are 8 and 16; the control block is one per arena, not per allocation.
    assert_eq!(chunk::HEADER_BYTES, 16);
    assert_eq!((size_of::<ArenaCoordinator>(), size_of::<RegionCoordinator>()), (8, 8));
    assert_eq!((size_of::<Arena>(), size_of::<RegionPool>()), (8, 8));
    assert_eq!((size_of::<Lease>(), size_of::<Handle<u8>>()), (16, 16));
    assert!(size_of::<Writer>() <= 56, "{}", size_of::<Writer>());
    let (control, body) = (size_of::<coordinator::Control>(), size_of::<body::Body>());
    println!(
        "control block {control} B, body {body} B, once per arena; chunk header {} B",
        chunk::HEADER_BYTES
    );
    assert!(control <= 64 && body <= 384, "{control} {body}");
    // The rest of the header's cache line is left free, so that objects of a line lie on one.
    assert_eq!(chunk::PAYLOAD_OFFSET, 64);
    // A fixed region gives up its first 128 bytes: the header, nil, and the rest of that line pair.
    assert_eq!(fixed::FIRST_OFFSET, 128);
}

#[test]
fn s14_an_arena_costs_a_line_per_chunk_and_nothing_per_allocation() {
    let budget = Budget::unlimited("test");
    let mut arena = Arena::growing(&budget);
    let overhead = |arena: &Arena| {
        let stats = arena.stats();
        stats.capacity - stats.chunks * (chunk::PAYLOAD_OFFSET + guard::CANARY_BYTES)
    };
    for count in [10, 1_000, 100_000] {
        {
            let scope = arena.scope();
            (0..count).for_each(|_| _ = scope.alloc([0_u64; 2]));
        }
        let stats = arena.stats();
        assert_eq!(stats.live(), 16 * count);
        assert!(stats.used <= overhead(&arena), "what is not in use is free, but for a line per chunk");
        arena.reset(Retain::Nothing).expect("nobody holds it");
    }
}
