//! A region comes back to its pool by itself: nobody resets it by hand.
use kausal_arena::{Budget, RegionPool, Retain};

fn main() {
    let pool = RegionPool::new(&Budget::unlimited("memtables"), 1 << 16, 1, || {}).unwrap();
    pool.coordinator().take().unwrap().reset(Retain::Capacity);
}
