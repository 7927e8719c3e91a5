//! A coordinator is counted: it is cloned in sight of the reader, never copied in silence.
use kausal_arena::ArenaCoordinator;

#[derive(Clone, Copy)]
struct Index {
    arena: ArenaCoordinator,
}

fn main() {}
