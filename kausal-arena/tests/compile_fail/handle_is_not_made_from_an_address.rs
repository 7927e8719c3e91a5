//! Its constructor is the crate's own.
use kausal_arena::Handle;
use std::ptr::NonNull;

fn main() {
    let _forged = Handle::new(NonNull::<u32>::dangling(), 1);
}
