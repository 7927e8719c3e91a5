//! A reservation is written once: a permit is not cloned.

use kausal_arena::Permit;

fn cloned<T: Clone>() {}

fn main() {
    cloned::<Permit>();
}
