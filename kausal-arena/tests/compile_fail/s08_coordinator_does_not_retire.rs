//! Nor anything that retires.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.coordinator().retire();
}
