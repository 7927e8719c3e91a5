//! A ring needs a buffer to swap to.
use kausal_arena::{BufferRing, Budget};

fn main() {
    let _ring = BufferRing::<1>::new(&Budget::unlimited("log"), 1 << 16);
}
