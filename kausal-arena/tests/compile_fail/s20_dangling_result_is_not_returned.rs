//! Nor is it returned from the function that owns the request.
use kausal_arena::{Budget, ScratchPool};

fn query(pool: &ScratchPool) -> &[u8] {
    let scratch = pool.take(1000).unwrap();
    scratch.try_alloc_slice_copy(b"forty-two").unwrap()
}

fn main() {
    query(&ScratchPool::new(&Budget::unlimited("requests"), 1 << 18));
}
