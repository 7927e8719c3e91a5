//! A result that lies in a request's arena does not outlive it.
use kausal_arena::{Budget, ScratchPool};

fn main() {
    let pool = ScratchPool::new(&Budget::unlimited("requests"), 1 << 18);
    let scratch = pool.take(1000).unwrap();
    let answer = scratch.try_alloc_slice_copy(b"forty-two").unwrap();
    drop(scratch);
    assert_eq!(answer, b"forty-two");
}
