//! An object is lent to one user at a time.

use kausal_arena::Pooled;

fn cloned<T: Clone>() {}

fn main() {
    cloned::<Pooled<u32>>();
}
