//! A vector needs a pen: a lease is none.
use kausal_arena::{Arena, ArenaVec, Budget};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let lease = arena.coordinator().lease().unwrap();
    let mut vec = ArenaVec::new(&lease);
    vec.push(7_u32);
}
