//! Any thread may hold a lease, so what is resolved may be shared.
use kausal_arena::{Arena, Budget};
use std::cell::Cell;

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let handle = arena.coordinator().writer().unwrap().alloc_handle(Cell::new(7_u32));
    let _cell = arena.coordinator().lease().unwrap().resolve(handle);
}
