//! Nor used after the request's arena was reset.
use kausal_arena::{Budget, ScratchPool};

fn main() {
    let pool = ScratchPool::new(&Budget::unlimited("requests"), 1 << 18);
    let mut scratch = pool.take(1000).unwrap();
    let answer = scratch.try_alloc_slice_copy(b"forty-two").unwrap();
    scratch.reset();
    assert_eq!(answer, b"forty-two");
}
