//! Nor in a request's arena.
use kausal_arena::{Budget, ScratchPool};

fn main() {
    let pool = ScratchPool::new(&Budget::unlimited("requests"), 1 << 18);
    let _kept = pool.take(1000).unwrap().try_alloc(String::from("never dropped")).is_ok();
}
