//! The first gotcha: a door to a local arena does not leave the function.
use kausal_arena::{Arena, Budget, Scope};

fn broken() -> Scope<'static> {
    let arena = Arena::growing(&Budget::unlimited("local"));
    arena.scope()
}

fn main() {
    broken();
}
