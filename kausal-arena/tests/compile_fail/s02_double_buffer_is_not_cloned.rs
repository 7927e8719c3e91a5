//! A double buffer has one owner.
use kausal_arena::{Budget, DoubleBuffer};

fn main() {
    let buffers = DoubleBuffer::new(&Budget::unlimited("log"), 1 << 16).unwrap();
    let _second_owner = buffers.clone();
}
