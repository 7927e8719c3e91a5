//! A vector in an arena, and the slice it becomes, are borrowed from the writer.
use kausal_arena::{Arena, ArenaVec, Budget};

fn squares() -> &'static mut [u32] {
    let arena = Arena::growing(&Budget::unlimited("squares"));
    let scope = arena.scope();
    let mut squares = ArenaVec::new(&scope);
    squares.push(1_u32);
    squares.into_slice()
}

fn main() {
    squares();
}
