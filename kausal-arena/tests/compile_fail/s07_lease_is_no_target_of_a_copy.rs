//! Copying from arena to arena needs a pen on the target: a lease is none.
use kausal_arena::{Arena, Budget};

fn main() {
    let budget = Budget::unlimited("names");
    let (first, second) = (Arena::growing(&budget), Arena::growing(&budget));
    let handle = first.coordinator().writer().unwrap().alloc_handle_slice_copy(b"causal");
    let (from, to) = (first.coordinator().lease().unwrap(), second.coordinator().lease().unwrap());
    from.dupe(handle, &to).unwrap();
}
