//! An object is borrowed from the guard that lends it.
use kausal_arena::{Budget, Pool};

fn main() {
    let pool = Pool::new(&Budget::unlimited("objects"), 1, || 7_u32).unwrap();
    let guard = pool.take().unwrap();
    let number = &*guard;
    drop(guard);
    assert_eq!(*number, 7);
}
