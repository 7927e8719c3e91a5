//! A child arena that borrows its parent ends before it.
use kausal_arena::{Arena, Budget};

fn main() {
    let parent = Arena::growing(&Budget::unlimited("server"));
    let child = parent.child("session", 1 << 16).unwrap();
    drop(parent);
    child.scope().alloc(7_u32);
}
