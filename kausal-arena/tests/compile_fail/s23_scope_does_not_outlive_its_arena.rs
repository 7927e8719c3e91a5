//! A scope ends before its arena does.
use kausal_arena::{Arena, Budget};

fn main() {
    let scope;
    {
        let arena = Arena::growing(&Budget::unlimited("local"));
        scope = arena.scope();
    }
    scope.alloc(7_u32);
}
