//! What a writer allocated is borrowed from it.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let writer = arena.coordinator().writer().unwrap();
    let number = writer.alloc(7_u32);
    drop(writer);
    assert_eq!(*number, 7);
}
