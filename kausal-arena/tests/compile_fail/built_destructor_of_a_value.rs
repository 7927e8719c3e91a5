//! Nobody runs destructors in a bump arena, so nothing with one goes in.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    arena.scope().alloc(String::from("never dropped"));
}
