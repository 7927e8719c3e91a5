//! Nor in a vector.
use kausal_arena::{Arena, ArenaVec, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let scope = arena.scope();
    let _vec: ArenaVec<'_, Box<u32>> = ArenaVec::new(&scope);
}
