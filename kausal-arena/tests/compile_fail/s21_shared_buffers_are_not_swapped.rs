//! Swapping takes exclusive access.
use kausal_arena::{Budget, DoubleBuffer};

fn main() {
    let buffers = DoubleBuffer::new(&Budget::unlimited("log"), 1 << 16).unwrap();
    let shared = &buffers;
    shared.swap().unwrap();
}
