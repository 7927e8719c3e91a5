//! The second gotcha: a reference does not survive a reset.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let mut arena = Arena::growing(&Budget::unlimited("names"));
    let scope = arena.scope();
    let word = scope.alloc_str("causal");
    arena.reset(Retain::Capacity).unwrap();
    assert_eq!(word, "causal");
}
