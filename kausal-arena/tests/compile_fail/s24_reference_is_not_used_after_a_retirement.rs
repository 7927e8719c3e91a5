//! Nor does a reference survive that its arena is retired.
use kausal_arena::{Arena, Budget};

fn main() {
    let mut arena = Arena::growing(&Budget::unlimited("names"));
    let scope = arena.scope();
    let word = scope.alloc_str("causal");
    arena.retire().unwrap();
    assert_eq!(word, "causal");
}
