//! The pen of a permit does not outlive it.
use kausal_arena::{Budget, RegionPool};

fn main() {
    let pool = RegionPool::new(&Budget::unlimited("memtables"), 1 << 16, 1, || {}).unwrap();
    let region = pool.coordinator().take().unwrap();
    let permit = region.permit(1000).unwrap();
    let pen = permit.pen();
    drop(permit);
    pen.alloc(7_u32);
}
