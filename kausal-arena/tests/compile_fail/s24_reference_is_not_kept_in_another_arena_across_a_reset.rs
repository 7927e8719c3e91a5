//! The second gotcha in full: one arena's reference, kept in another, does not survive a reset of the first.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let budget = Budget::unlimited("names");
    let (mut first, second) = (Arena::growing(&budget), Arena::growing(&budget));
    let (from, to) = (first.scope(), second.scope());
    let kept: &mut &str = to.alloc(from.alloc_str("causal"));
    first.reset(Retain::Capacity).unwrap();
    assert_eq!(*kept, "causal");
}
