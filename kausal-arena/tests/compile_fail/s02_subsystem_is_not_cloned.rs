//! A subsystem owns its arena, so it is not cloned either.
use kausal_arena::{Arena, Budget, Subsystem};

fn main() {
    let parent = Arena::growing(&Budget::unlimited("server"));
    let child = Subsystem::new(&parent.coordinator(), "session", 1 << 16).unwrap();
    let _second_owner = child.clone();
}
