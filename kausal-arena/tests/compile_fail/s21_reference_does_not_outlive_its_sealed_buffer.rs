//! What is read from a sealed buffer does not outlive it.
use kausal_arena::{Budget, DoubleBuffer};

fn main() {
    let mut buffers = DoubleBuffer::new(&Budget::unlimited("log"), 1 << 16).unwrap();
    let handle = buffers.coordinator().writer().unwrap().alloc_handle(7_u32);
    let sealed = buffers.swap().unwrap();
    let number = sealed.resolve(handle).unwrap();
    drop(sealed);
    assert_eq!(*number, 7);
}
