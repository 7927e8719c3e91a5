//! A pool lends to any thread, so its objects may be sent.
use kausal_arena::{Budget, Pool};
use std::rc::Rc;

fn main() {
    let _pool = Pool::new(&Budget::unlimited("objects"), 1, || Rc::new(7_u32));
}
