//! Nor is a request's arena.
use kausal_arena::Scratch;

fn shared<T: Sync>() {}

fn main() {
    shared::<Scratch>();
}
