//! The parent is not reset while the child lives.
use kausal_arena::{Arena, Budget, Retain};

fn main() {
    let mut parent = Arena::growing(&Budget::unlimited("server"));
    let child = parent.child("session", 1 << 16).unwrap();
    parent.reset(Retain::Nothing).unwrap();
    child.scope().alloc(7_u32);
}
