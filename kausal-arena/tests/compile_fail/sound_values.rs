//! What may go into an arena: values without a destructor, whatever they borrow.

use kausal_arena::{Arena, ArenaVec, Budget};
use std::cell::Cell;

fn main() {
    let arena = Arena::growing(&Budget::unlimited("names"));
    let scope = arena.scope();
    let word = String::from("causal");
    let borrowed: &mut &str = scope.alloc(word.as_str());
    let cell = scope.alloc(Cell::new(borrowed.len()));
    cell.set(cell.get() + 1);
    let mut lengths = ArenaVec::new(&scope);
    lengths.push(cell.get());
    assert_eq!(lengths.into_slice(), [7]);
}
