//! A lease pins a generation; it does not end it.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.coordinator().lease().unwrap().reset(Retain::Nothing);
}
