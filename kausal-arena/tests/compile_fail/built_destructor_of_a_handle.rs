//! Nor under a handle.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.scope().alloc_handle(vec![7_u8]);
}
