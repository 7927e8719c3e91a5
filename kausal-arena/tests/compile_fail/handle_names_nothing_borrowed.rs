//! A handle has no lifetime, so what it names borrows nothing.
use kausal_arena::{Arena, Budget, Handle};

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let writer = arena.coordinator().writer().unwrap();
    let handle: Handle<&'static str>;
    {
        let word = String::from("causal");
        handle = writer.alloc_handle(word.as_str());
    }
    println!("{:?}", writer.lease().resolve(handle));
}
