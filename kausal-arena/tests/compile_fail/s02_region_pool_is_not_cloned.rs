//! A pool of regions has one owner.
use kausal_arena::{Budget, RegionPool};

fn main() {
    let pool = RegionPool::new(&Budget::unlimited("memtables"), 1 << 16, 1, || {}).unwrap();
    let _second_owner = pool.clone();
}
