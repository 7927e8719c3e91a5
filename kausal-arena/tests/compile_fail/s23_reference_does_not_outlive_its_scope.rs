//! What was allocated through a scope ends with it.
use kausal_arena::{Arena, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("local"));
    let scope = arena.scope();
    let word = scope.alloc_str("causal");
    drop(scope);
    assert_eq!(word, "causal");
}
