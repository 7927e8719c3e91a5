//! A coordinator does not give its arena away.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let _control = arena.coordinator().control;
}
