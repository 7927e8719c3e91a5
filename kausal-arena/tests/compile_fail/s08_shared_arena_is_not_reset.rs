//! Who only shares the arena does not reset it: that takes exclusive access.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let shared = &arena;
    shared.reset(Retain::Nothing).unwrap();
}
