//! Following a handle takes a lease.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let handle = arena.coordinator().writer().unwrap().alloc_handle(7_u32);
    assert_eq!(*handle, 7);
}
