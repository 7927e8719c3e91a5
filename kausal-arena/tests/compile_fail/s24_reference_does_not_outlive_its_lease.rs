//! What a lease reads is borrowed from it.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let handle = arena.coordinator().writer().unwrap().alloc_handle(7_u32);
    let lease = arena.coordinator().lease().unwrap();
    let number = lease.resolve(handle).unwrap();
    drop(lease);
    assert_eq!(*number, 7);
}
