//! What a lease resolves is shared: it is not written.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let handle = arena.coordinator().writer().unwrap().alloc_handle(7_u32);
    let lease = arena.coordinator().lease().unwrap();
    *lease.resolve(handle).unwrap() += 1;
}
