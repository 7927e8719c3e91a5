//! A writer writes; it does not reset.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.scope().reset(Retain::Nothing);
}
