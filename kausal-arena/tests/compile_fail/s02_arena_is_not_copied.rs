//! An arena is moved, and who moved it away has none.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let moved = arena;
    arena.stats();
    moved.stats();
}
