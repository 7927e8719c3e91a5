//! An arena has one owner: there is no second one to be had from it.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let _second_owner = arena.clone();
}
