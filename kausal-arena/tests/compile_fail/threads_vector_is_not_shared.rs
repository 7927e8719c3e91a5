//! Nor is a vector in an arena, which borrows a writer.
use kausal_arena::ArenaVec;

fn shared<T: Sync>() {}

fn main() {
    shared::<ArenaVec<'static, u32>>();
}
