//! A child has a coordinator, and that has nothing that resets.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.coordinator().reset(Retain::Nothing);
}
