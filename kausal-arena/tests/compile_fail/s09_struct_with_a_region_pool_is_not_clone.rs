//! Nor can one that owns a pool of regions.
use kausal_arena::RegionPool;

#[derive(Clone)]
struct Manager {
    pool: RegionPool,
}

fn main() {}
