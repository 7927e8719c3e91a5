//! An arena does not go while a scope borrows it.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("local"));
    let scope = arena.scope();
    drop(arena);
    scope.alloc(7_u32);
}
