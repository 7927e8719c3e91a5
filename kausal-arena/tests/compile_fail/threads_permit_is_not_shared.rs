//! Nor is a permit, which has a pen.
use kausal_arena::Permit;

fn shared<T: Sync>() {}

fn main() {
    shared::<Permit>();
}
