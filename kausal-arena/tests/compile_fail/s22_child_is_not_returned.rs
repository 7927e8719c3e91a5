//! A child does not leave the function that owns its parent.
use kausal_arena::{Arena, Budget, ChildArena};

fn broken() -> ChildArena<'static> {
    let parent = Arena::growing(&Budget::unlimited("server"));
    parent.child("session", 1 << 16).unwrap()
}

fn main() {
    broken();
}
