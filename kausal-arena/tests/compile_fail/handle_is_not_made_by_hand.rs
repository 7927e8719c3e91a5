//! Only a writer makes handles.
use kausal_arena::Handle;
use std::ptr::NonNull;

fn main() {
    let _forged = Handle { address: NonNull::<u32>::dangling(), generation: 1 };
}
