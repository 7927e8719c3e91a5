//! A child writes into the active buffer; it does not swap.
use kausal_arena::{Budget, DoubleBuffer};

fn main() {
    let buffers = DoubleBuffer::new(&Budget::unlimited("log"), 1 << 16).unwrap();
    buffers.coordinator().swap();
}
