//! A lease reads. It has nothing that allocates.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let lease = arena.coordinator().lease().unwrap();
    lease.alloc(7_u32);
}
