//! A lease copies nothing into the arena it reads.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let lease = arena.coordinator().lease().unwrap();
    lease.try_alloc_slice_copy(b"causal").unwrap();
}
