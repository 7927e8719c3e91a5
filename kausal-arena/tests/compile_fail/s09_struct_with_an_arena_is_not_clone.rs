//! A struct that owns an arena cannot be made copyable.
use kausal_arena::Arena;

#[derive(Clone)]
struct Manager {
    arena: Arena,
}

fn main() {}
