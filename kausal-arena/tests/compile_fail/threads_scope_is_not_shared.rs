//! Nor is a scope, which is a borrowed writer.
use kausal_arena::Scope;

fn shared<T: Sync>() {}

fn main() {
    shared::<Scope<'static>>();
}
