//! A sealed buffer is reset by the end of its last lease, and by nobody before.
use kausal_arena::{Budget, DoubleBuffer, Retain};

fn main() {
    let mut buffers = DoubleBuffer::new(&Budget::unlimited("log"), 1 << 16).unwrap();
    let sealed = buffers.swap().unwrap();
    sealed.reset(Retain::Capacity);
}
