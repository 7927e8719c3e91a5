//! Nor in memory that its user writes.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.scope().alloc_uninit_slice::<String>(3);
}
