//! A vector borrows its thread's writer, so it is not sent either.
use kausal_arena::ArenaVec;

fn sent<T: Send>() {}

fn main() {
    sent::<ArenaVec<'static, u32>>();
}
